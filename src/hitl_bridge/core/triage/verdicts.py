"""From what an engine computed of each prediction to its receipt: tier, draws, purpose and side of the split.

An engine answers what is written in SQL (risk, rules, pools); everything else is here, over columns, so that every engine gives
the same receipts for the same answers, on any part of a batch: a receipt depends on its own row alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hitl_bridge.core import draws
from hitl_bridge.core.model import Purpose, Split
from hitl_bridge.core.triage.columns import RECEIPTS
from hitl_bridge.core.triage.normalise import canonical
from hitl_bridge.core.triage.plan import TriagePlan

if TYPE_CHECKING:
    import pyarrow as pa

_DOUBTS = ("energy", "disagreement")
"""Columns that few predictions have."""

FALSE, TRUE, UNKNOWN = 0, 1, 2
"""What a rule may say of a prediction."""

Numbers = NDArray[np.float64]
Places = NDArray[np.int64]
Codes = NDArray[np.int16]
Flags = NDArray[np.bool_]

_PURPOSES = (Purpose.UNIFORM, Purpose.REVIEW, Purpose.AUDIT)
_UNIFORM, _REVIEW, _AUDIT, _NOBODY = range(4)
_SPLITS = (Split.TRAIN, Split.HOLDOUT, Split.CALIBRATION)
_TRAIN, _HOLDOUT, _CALIBRATION = range(3)
_RECODE_AT = 25
"""So many answers of three kinds fit a code of 64 bits with room to spare."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What an engine says of each prediction, by row.

    `has_risk` is false where the confidence is no number in [0, 1]; `risk` is 1 there. `by_risk` is the place in `plan.tiers`
    of the first tier that takes this risk. `rules` has one array a rule (FALSE, TRUE, UNKNOWN), in the plan's order. `pool` is a
    place in `pools`, −1 where no condition held.
    """

    risk: Numbers
    has_risk: Flags
    by_risk: NDArray[np.int16]
    rules: Sequence[NDArray[np.int8]]
    pool: NDArray[np.int16]
    pools: Sequence[str] = ()


def receipts(predictions: pa.Table, answers: Answers, plan: TriagePlan, key: bytes) -> pa.Table:
    """One receipt for each prediction, in their order (columns: `core.triage.columns.RECEIPTS`).

    A column `revision` is taken over (1 without one); a revision after the first has draws of its own.
    """
    import pyarrow as pa

    columns = _columns(predictions, answers, plan, key)
    return pa.table({name: columns[name] for name in RECEIPTS})


def _columns(predictions: pa.Table, answers: Answers, plan: TriagePlan, key: bytes) -> dict[str, Any]:
    import pyarrow as pa

    rows = predictions.num_rows
    deciding, said = _deciding(answers.rules, rows)
    tiers = [tier.name for tier in plan.tiers]
    tier = _tier(answers, plan, deciding, said)
    edge = ~answers.has_risk | (answers.risk > plan.edge_risk) | ((deciding >= 0) & (said == TRUE))
    auto = tier == tiers.index(plan.auto_tier) if plan.auto_tier in tiers else np.zeros(rows, np.bool_)
    revision = _revision(predictions)
    unknown = {name: pa.nulls(rows, pa.float64() if name in _DOUBTS else pa.null()) for name in RECEIPTS}
    taken_over = {name: predictions[name] for name in predictions.column_names if name in RECEIPTS}
    decided = {
        "revision": _numbers(revision.astype(np.int32)),
        "policy_version": _named(np.zeros(rows, np.int8), (plan.policy_version,)),
        "tier": _named(tier, tiers),
        "risk": _numbers(answers.risk),
        "rule": _numbers(deciding.astype(np.int32), deciding < 0),
        "rule_values": _rule_values(answers.rules, rows),
        "edge": _numbers(edge),
        "pool": _named(answers.pool, answers.pools, answers.pool < 0),
    }
    return unknown | taken_over | decided | _drawn(predictions, revision, auto, plan, key)


def _drawn(predictions: pa.Table, revision: Places, auto: Flags, plan: TriagePlan, key: bytes) -> dict[str, Any]:
    """The draws, and what they make of each prediction. `auto`: which are in the auto tier."""
    rows = predictions.num_rows
    uniform, audit = _draws(predictions, revision, key)
    drawn = uniform < plan.uniform_rate
    audited = np.where(audit < plan.audit_rate, np.int8(_AUDIT), np.int8(_NOBODY))
    purpose = np.where(drawn, np.int8(_UNIFORM), np.where(auto, audited, np.int8(_REVIEW)))
    holdout = _holdout(predictions, np.flatnonzero(drawn), plan, key)
    side = np.where(holdout < plan.holdout_share, np.int8(_HOLDOUT), np.int8(_CALIBRATION))
    return {
        "purpose": _named(purpose, _PURPOSES, purpose == _NOBODY),
        "split": _named(np.where(drawn, side, np.int8(_TRAIN)), _SPLITS),
        "draw_form": _numbers(np.full(rows, draws.FORM, np.int32)),
        "uniform_draw": _numbers(uniform),
        "uniform_rate": _numbers(np.full(rows, plan.uniform_rate)),
        "audit_draw": _numbers(audit, ~(auto & ~drawn)),
        "audit_rate": _numbers(np.full(rows, plan.audit_rate)),
        "holdout_draw": _numbers(holdout, ~drawn),
    }


# ------------------------------------------------------------------------------------------------------ the tier


def _deciding(rules: Sequence[NDArray[np.int8]], rows: int) -> tuple[Codes, NDArray[np.int8]]:
    """The place of the first rule that is not false (−1: none), and what it said."""
    deciding: Codes = np.full(rows, -1, np.int16)
    said: NDArray[np.int8] = np.zeros(rows, np.int8)
    for place in range(len(rules) - 1, -1, -1):
        holds = rules[place] != FALSE
        deciding[holds] = place
        said = np.where(holds, rules[place], said)
    return deciding, said


def _tier(answers: Answers, plan: TriagePlan, deciding: Codes, said: NDArray[np.int8]) -> Codes:
    """By the deciding rule, else by risk; what can't be known goes to the strictest."""
    tiers = [tier.name for tier in plan.tiers]
    ruled = np.array([*(tiers.index(rule.tier) for rule in plan.rules), len(tiers) - 1], np.int16)
    tier = np.where(deciding >= 0, np.take(ruled, deciding), answers.by_risk)
    unknown = ~answers.has_risk | ((deciding >= 0) & (said == UNKNOWN))
    return np.where(unknown, np.int16(len(tiers) - 1), tier)


def _rule_values(rules: Sequence[NDArray[np.int8]], rows: int) -> pa.Array:
    """What every rule said, as a JSON list: few different ones, however many rows."""
    codes: Places = np.zeros(rows, np.int64)
    lists: list[tuple[int, ...]] = [()]
    for at in range(0, len(rules), _RECODE_AT):
        codes, lists = _together(codes, lists, rules[at : at + _RECODE_AT])
    return _named(codes, [json.dumps([_WORDS[value] for value in values], separators=(",", ":")) for values in lists])


_WORDS = {FALSE: False, TRUE: True, UNKNOWN: None}


def _together(
    codes: Places, lists: Sequence[tuple[int, ...]], rules: Sequence[NDArray[np.int8]]
) -> tuple[Places, list[tuple[int, ...]]]:
    """Codes of longer lists: what the next rules said behind what those before them did."""
    combined = codes.copy()
    for values in rules:
        combined = combined * 3 + values
    kinds, places = distinct(combined)
    longer = []
    for kind in kinds.tolist():
        before, said = divmod(kind, 3 ** len(rules))
        longer.append((*lists[before], *(said // 3**power % 3 for power in range(len(rules) - 1, -1, -1))))
    return places, longer


def distinct(codes: Places) -> tuple[Places, Places]:
    """Different codes, and the place of each row's among them; without sorting where they are small."""
    if len(codes) and 0 <= (highest := int(codes.max())) < 1 << 16:
        there = np.zeros(highest + 1, np.bool_)
        there[codes] = True
        return np.flatnonzero(there), (np.cumsum(there) - 1)[codes]
    kinds, places = np.unique(codes, return_inverse=True)
    return kinds, places.astype(np.int64)


# ----------------------------------------------------------------------------------------------------- the draws


def _revision(predictions: pa.Table) -> Places:
    if "revision" not in predictions.column_names:
        return np.ones(predictions.num_rows, np.int64)
    return np.asarray(predictions["revision"].to_numpy(), np.int64)


def _draws(predictions: pa.Table, revision: Places, key: bytes) -> tuple[Numbers, Numbers]:
    """Uniform and audit draw of each row, model version by model version."""
    subjects = _subjects(predictions, revision)
    uniform, audit = np.zeros(len(subjects)), np.zeros(len(subjects))
    for version, places in _by_version(predictions["model_version"]):
        own = subjects if places is None else subjects.take(places)
        here = slice(None) if places is None else places
        uniform[here], audit[here] = draws.all_draws(key, version, own)
    return uniform, audit


def _subjects(predictions: pa.Table, revision: Places) -> pa.Array:
    """The item's id; of a later revision with its number, so that it has draws of its own."""
    import pyarrow as pa
    import pyarrow.compute as pc

    ids = predictions["item_id"].combine_chunks()
    if isinstance(ids, pa.ChunkedArray):
        ids = pa.concat_arrays(ids.chunks) if ids.num_chunks else pa.array([], pa.string())
    later = np.flatnonzero(revision > 1)
    if not len(later):
        return ids
    named = [f"{ids[place].as_py()}\x1f{revision[place]}" for place in later.tolist()]
    return pc.replace_with_mask(ids, pa.array(revision > 1), pa.array(named, ids.type))


def _by_version(column: pa.ChunkedArray) -> Iterator[tuple[str, Places | None]]:
    """Each model version with the places of its rows; None for all of them."""
    import pyarrow as pa

    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(whole, pa.ChunkedArray):
        whole = pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([], pa.string())
    coded = whole if pa.types.is_dictionary(whole.type) else whole.dictionary_encode()
    codes = np.asarray(coded.indices)
    versions = coded.dictionary.to_pylist()
    used = np.unique(codes).tolist()
    for code in used:
        yield versions[code], None if len(used) == 1 else np.flatnonzero(codes == code)


def _holdout(predictions: pa.Table, places: Places, plan: TriagePlan, key: bytes) -> Numbers:
    """For the uniform stream; without the model version, so that every model is kept from the same items."""
    found = np.ones(predictions.num_rows)
    if len(places):
        some = predictions.select(["item_id", "attributes"]).take(places)
        groups = _groups(some["item_id"].to_pylist(), some["attributes"].to_pylist(), plan.group_by)
        found[places] = [draws.draw(key, "holdout", "", group) for group in groups]
    return found


def _groups(item_ids: Sequence[str], attributes: Sequence[str], group_by: str | None) -> Iterator[str]:
    for item_id, text in zip(item_ids, attributes, strict=True):
        group = None if group_by is None else json.loads(text).get(group_by)
        yield item_id if group is None else group if isinstance(group, str) else canonical(group)


# ----------------------------------------------------------------------------------------------------- as columns


def _named(codes: NDArray[Any], names: Sequence[str], missing: Flags | None = None) -> pa.Array:
    """Few different texts over many rows."""
    import pyarrow as pa

    indices = pa.array(codes.astype(np.int32), mask=missing)
    return pa.DictionaryArray.from_arrays(indices, _words(tuple(map(str, names))))


@lru_cache(maxsize=256)
def _words(names: tuple[str, ...]) -> pa.Array:
    import pyarrow as pa

    return pa.array(names, pa.string())


def _numbers(values: NDArray[Any], missing: Flags | None = None) -> pa.Array:
    import pyarrow as pa

    return pa.array(values, mask=missing)
