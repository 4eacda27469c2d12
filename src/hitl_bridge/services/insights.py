"""The one read model: how things stand, and one item's whole life. Every face shows these, none asks the store itself."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from hitl_bridge.core.dataset.change import TAG
from hitl_bridge.core.model import JSON, ItemId, Op, Outcome, Split
from hitl_bridge.core.triage.columns import RECEIPTS
from hitl_bridge.errors import UnknownName
from hitl_bridge.ports import Clock, Insights, OnlineStore, Receipts, StateStore, WorkspacePaths
from hitl_bridge.services.desk.escalation import DeadlineLine
from hitl_bridge.services.model.lineage import is_in_snapshot
from hitl_bridge.services.model.reports import read_json


@dataclass(frozen=True, slots=True)
class Status:
    """How a workspace stands. Keys of `items` are item states, of `decisions` outcomes, of `lots` verdicts; `held` are the held
    lots, `audit_rate_raised` says why the audit rate is raised. `deadlines` tell by pool and tier what is `at_risk`,
    `nobody_settles` by pool how many items wait for an adjudicator whom nobody there may be."""

    items: Mapping[str, int]
    tiers: Mapping[str, int]
    decisions: Mapping[str, int]
    audits: Mapping[str, int]
    projects: Sequence[Mapping[str, JSON]]
    overdue: int
    waiting: int
    problems: Sequence[Mapping[str, JSON]]
    last_cycle: str | None
    champion: str | None
    candidate: Mapping[str, JSON]
    dataset_version: str | None
    lots: Mapping[str, int] = field(default_factory=dict)
    held: Sequence[str] = ()
    audit_rate_raised: str | None = None
    at_risk: int = 0
    deadlines: Sequence[DeadlineLine] = ()
    notices_waiting: int = 0
    nobody_settles: Mapping[str, int] = field(default_factory=dict)


def status(store: StateStore, insights: Insights, paths: WorkspacePaths, clock: Clock, tiers: Sequence[str] = ()) -> Status:
    """Reads how things stand now; asks nobody outside. `tiers` gives the order in which tiers are shown."""
    triaged = insights.tier_counts()
    versions = store.dataset_versions()
    last = insights.last_event("cycle")
    return Status(
        items=insights.item_counts(),
        tiers={name: triaged[name] for name in dict.fromkeys((*tiers, *triaged)) if name in triaged},
        decisions=insights.decision_counts(),
        audits=insights.audit_counts(),
        projects=insights.project_counts(),
        overdue=len(insights.overdue(clock.now())),
        waiting=store.waiting_count(),
        problems=insights.problems(),
        last_cycle=last.at.isoformat(timespec="seconds") if last else None,
        champion=_text(read_json(paths.champion).get("model_version")),
        candidate=_verdict(paths),
        dataset_version=versions[-1].version if versions else None,
    )


def trace(
    store: StateStore, online: OnlineStore, insights: Insights, receipts: Receipts, paths: WorkspacePaths, item_id: ItemId
) -> Mapping[str, JSON]:
    """An item's whole life: receipts, route, tasks, every annotation revision, decisions, versions, models trained on it.

    Raises UnknownName for an item that has neither a receipt nor a row.
    """
    life = dict(insights.life_of(item_id))
    waiting = [json.loads(receipt) for receipt in online.waiting_for(item_id)]  # first: they may be in a file a moment later
    found = receipts.of_item(store.receipt_files(), item_id)
    found += [{name: receipt[name] for name in RECEIPTS} for receipt in waiting if receipt not in found]
    if not life and not found:
        raise UnknownName("item", item_id, remedy="Item ids are those of the predictions file; `status` shows what is here.")
    return {
        "item_id": item_id,
        "receipts": found,
        **{name: life.get(name, []) for name in ("revisions", "tasks", "annotations", "decisions")},
        "versions": [str(tag).removeprefix(TAG) for tag in _rows_of(life, "versions")],
        "events": life.get("events", []),
        "models": _models_trained_on(life, paths),
    }


def _split(revision: Mapping[str, JSON]) -> JSON:
    triage = revision.get("triage")
    return triage.get("split") if isinstance(triage, Mapping) else None


def _rows_of(life: Mapping[str, JSON], name: str) -> Sequence[JSON]:
    found = life.get(name)
    return found if isinstance(found, list) else ()


def _models_trained_on(life: Mapping[str, JSON], paths: WorkspacePaths) -> list[JSON]:
    """The candidate and the champion, where the item was in their training data."""
    found: list[JSON] = []
    for role in ("candidate", "champion"):
        card = read_json(paths.root / "models" / role / "model.json")
        trained_on = card.get("trained_on")
        if isinstance(trained_on, Mapping) and _is_trained_on(life, paths, trained_on):
            found.append({"role": role, "model_version": card.get("model_version")})
    return found


def _is_trained_on(life: Mapping[str, JSON], paths: WorkspacePaths, trained_on: Mapping[str, JSON]) -> bool:
    """The training file itself knows, while it is there: what is nearly the same as a held-out item, for one, was left out."""
    used = trained_on.get("versions")
    if not isinstance(used, list) or not _trains(life, used):
        return False
    return is_in_snapshot(paths, trained_on, str(life["item_id"])) is not False


def _trains(life: Mapping[str, JSON], versions: Collection[JSON]) -> bool:
    """Whether a model of these dataset versions was trained on the item: by the last decision that they hold of it.

    What measures is never trained on, and neither is a rejection or a decision that was taken back.
    """
    revisions = [each for each in _rows_of(life, "revisions") if isinstance(each, Mapping)]
    training = {each.get("revision") for each in revisions if _split(each) == Split.TRAIN}
    decisions = [each for each in _rows_of(life, "decisions") if isinstance(each, Mapping)]
    held = [each for each in decisions if each.get("version") in versions]
    if not held:
        return False
    last = held[-1]
    usable = last.get("op") != Op.REMOVE and last.get("outcome") != Outcome.REJECTED
    return usable and last.get("revision", 1) in training


def _verdict(paths: WorkspacePaths) -> Mapping[str, JSON]:
    """The gate's last word on the candidate."""
    return read_json(paths.root / "reports" / "verdict.json")


def _text(value: JSON) -> str | None:
    return value if isinstance(value, str) else None
