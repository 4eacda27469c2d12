"""What differs between two versions of the dataset: which items, by whom, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hitl_bridge.core.dataset.fold import Segment, fold_payloads, last_words
from hitl_bridge.core.model import Op

if TYPE_CHECKING:
    import pyarrow as pa

ADDED, CHANGED, REMOVED = "added", "changed", "removed"

_COMPARED = ("revision", "outcome", "decision", "reviewers", "annotations")


@dataclass(frozen=True, slots=True)
class ItemDifference:
    """What became of one item. `before` and `after` are decisions as canonical JSON (None: rejected, or no decision there).

    `cause` is `settled`, `withdrawn`, `reverted` or `reinstated` (None where the version is of before they were recorded), `by`
    the pseudonym of who reverted, `why` their reason, else the reviewers' rationale (empty where it was erased).
    """

    item_id: str
    what: str
    before: str | None
    after: str | None
    outcome: str | None
    reviewers: tuple[str, ...]
    cause: str | None
    by: str | None
    why: str
    reason_codes: tuple[str, ...]
    version: str
    decided_at: str


@dataclass(frozen=True, slots=True)
class DatasetDifference:
    """From one version to another. `by_reviewer` counts the items of each reviewer, by pseudonym."""

    older: str
    newer: str
    added: int
    changed: int
    removed: int
    causes: Mapping[str, int]
    by_reviewer: Mapping[str, int]
    items: tuple[ItemDifference, ...]


@dataclass(frozen=True, slots=True)
class Contents:
    """A version as it lies in its files."""

    version: str
    decisions: Sequence[Segment]
    payloads: Sequence[Segment]


def differences(older: Contents, newer: Contents) -> DatasetDifference:
    """What differs, an entry for each item that says something else at `newer` than at `older`, by item id.

    Costs what lies between the two, once the files are read: items in versions that both have are not looked at.
    """
    touched = _touched(older, newer)
    before, after = (_rows(each, touched) for each in (older, newer))
    rationales = _rationales(newer, touched)
    pairs = [(before.get(item_id), after.get(item_id)) for item_id in sorted(before.keys() | after.keys())]
    found = [_difference(was, now, rationales) for was, now in pairs if _differ(was, now)]
    counts = Counter(each.what for each in found)
    return DatasetDifference(
        older=older.version,
        newer=newer.version,
        added=counts[ADDED],
        changed=counts[CHANGED],
        removed=counts[REMOVED],
        causes=dict(sorted(Counter(each.cause for each in found if each.cause is not None).items())),
        by_reviewer=dict(Counter(reviewer for each in found for reviewer in each.reviewers).most_common()),
        items=tuple(found),
    )


def _touched(older: Contents, newer: Contents) -> pa.Array:
    """The ids of items in versions that only one of the two has."""
    import pyarrow as pa

    both = {name for name, _ in older.decisions} & {name for name, _ in newer.decisions}
    apart = [table["item_id"] for each in (older, newer) for name, table in each.decisions if name not in both]
    ids = pa.chunked_array([chunk for column in apart for chunk in column.chunks], pa.string())
    return ids.unique()


def _rows(contents: Contents, touched: pa.Array) -> dict[str, dict[str, Any]]:
    """The last word on each of these items."""
    latest = last_words([(name, _of_items(table, touched)) for name, table in contents.decisions])
    return {row["item_id"]: row for row in latest.to_pylist()}


def _rationales(contents: Contents, touched: pa.Array) -> dict[tuple[str, int], str]:
    kept = fold_payloads([(name, _of_items(table, touched)) for name, table in contents.payloads]).to_pylist()
    return {(row["item_id"], row["revision"]): row["rationale"] or "" for row in kept}


def _of_items(table: pa.Table, ids: pa.Array) -> pa.Table:
    import pyarrow.compute as pc

    return table.filter(pc.is_in(table["item_id"], value_set=ids))


def _holds(row: Mapping[str, Any] | None) -> bool:
    return row is not None and row["op"] != Op.REMOVE.value


def _differ(was: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> bool:
    if was is None or now is None or not _holds(was) or not _holds(now):
        return _holds(was) is not _holds(now)
    return any(was[name] != now[name] for name in _COMPARED)


def _difference(
    was: Mapping[str, Any] | None, now: Mapping[str, Any] | None, rationales: Mapping[tuple[str, int], str]
) -> ItemDifference:
    """`now` is None where the newer of the two versions, in the order asked for, is from before the item came."""
    said = now or was or {}
    what = REMOVED if not _holds(now) else CHANGED if _holds(was) else ADDED
    return ItemDifference(
        item_id=said["item_id"],
        what=what,
        before=was["decision"] if was is not None and _holds(was) else None,
        after=now["decision"] if now is not None and _holds(now) else None,
        outcome=said["outcome"],
        reviewers=tuple(said["reviewers"] or ()),
        cause=said["cause"] if now is not None else None,
        by=said["cause_by"],
        why=said["cause_reason"] or rationales.get((said["item_id"], said["revision"]), ""),
        reason_codes=tuple(said["reason_codes"] or ()),
        version=said["version"],
        decided_at=said["decided_at"],
    )
