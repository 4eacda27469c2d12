"""From checked predictions to the items that a person is to see: the same for a file of them and for a single one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, cast

from hitl_bridge.core import draws
from hitl_bridge.core.model import JSON, BatchId, Item, ItemId, ItemState, JSONObject, Prediction, Purpose
from hitl_bridge.core.routing import BlindOrder, Pool, blind_draw, choose_route, with_blind_draw
from hitl_bridge.core.triage import normalise
from hitl_bridge.core.triage.normalise import canonical
from hitl_bridge.core.triage.revisions import Digests
from hitl_bridge.core.triage.tiers import Receipt, triage_of

if TYPE_CHECKING:
    from hitl_bridge.core.policy import ReviewPolicy

CONFLICT = "differs from what the same model version said of the same input before"
"""Why a prediction is refused whose twin with other scores was triaged before."""

_BLIND = (Purpose.AUDIT, Purpose.UNIFORM)


def queued_item(
    policy: ReviewPolicy, key: bytes, batch_id: BatchId, row: Mapping[str, JSON], receipt: Receipt, received_at: datetime
) -> Item:
    """The item of a checked prediction (`row`: columns of `core.triage.columns.PREDICTIONS`) that a person is to see.

    Args:
        key: the workspace's, for the order in which blind items are served.
    """
    prediction = prediction_of(row)
    torn = policy.kind.torn_between(prediction.scores)
    triage = triage_of(receipt, prediction, policy.kind.brief(prediction.output), policy.plan, torn)
    tier = policy.tier(policy.plan.first_review_tier if triage.purpose in _BLIND else triage.tier)
    mix = draws.draw(key, "order", prediction.model_version, prediction.item_id)
    route = choose_route(triage, pool_of(policy, receipt), tier, received_at, BlindOrder(policy.audit_sla, mix))
    if triage.purpose is Purpose.REVIEW and tier.blind:
        triage, route = with_blind_draw(triage, route, tier.blind, blind_draw(key, prediction.model_version, prediction.item_id))
    return Item(
        item_id=prediction.item_id,
        revision=cast("int", receipt["revision"]),
        state=ItemState.QUEUED,
        round=1,
        prediction=prediction,
        triage=triage,
        route=route,
        batch_id=batch_id,
        received_at=received_at,
    )


def first_digests(key: bytes, row: Mapping[str, JSON]) -> Digests:
    """The digests of a checked prediction (`row`: columns of `core.triage.columns.PREDICTIONS`) in the first form."""
    texts = {name: str(row[name]) for name in ("input", "output", "scores", "attributes")}
    said = (texts["output"], texts["scores"], repr(row["confidence"]), canonical(row["scenario"]), texts["attributes"])
    return Digests(normalise.first_input_digest(key, texts["input"]), normalise.first_content_digest(key, *said))


def prediction_of(row: Mapping[str, JSON]) -> Prediction:
    """A row of checked predictions as the value that it stands for."""
    return Prediction(
        item_id=ItemId(str(row["item_id"])),
        input=_object(row["input"]),
        output=_object(row["output"]),
        confidence=cast("float", row["confidence"]),
        model_version=str(row["model_version"]),
        scores=cast("Mapping[str, float]", _object(row["scores"])),
        scenario=cast("str | None", row["scenario"]),
        attributes=_object(row["attributes"]),
        predicted_at=cast("str | None", row["predicted_at"]),
    )


def pool_of(policy: ReviewPolicy, receipt: Receipt) -> Pool:
    """The pool that the engine chose. Where no condition held, the last one takes it: nothing goes unseen."""
    pools = policy.pools
    return pools[str(receipt["pool"])] if receipt["pool"] in pools else list(pools.values())[-1]


def _object(text: JSON) -> JSONObject:
    return cast("JSONObject", json.loads(str(text)))
