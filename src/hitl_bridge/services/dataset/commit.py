"""New decisions become a dataset version.

The batch is named by the decisions in it, so a commit that was cut off half-way is found again by its trailer; and a
version that git has but the store does not know (a crash between the two, a store restored from a backup) is taken into the
store first. Decisions that are made again after a restore are held against what such versions say: what is there already is
not committed a second time.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hitl_bridge.core import draws
from hitl_bridge.core.dataset.change import TAG, DatasetChange, plan_change, version_order
from hitl_bridge.core.dataset.columns import table_of
from hitl_bridge.core.dataset.record import (
    DataUse,
    Pseudonym,
    Unversioned,
    record,
    rests_on_what_was_taken_back,
    says_the_same,
)
from hitl_bridge.core.dataset.reverting import TakenBack
from hitl_bridge.core.dataset.schema import SCHEMA_VERSION, decision_schema, from_parquet, payload_schema, to_parquet
from hitl_bridge.core.model import JSON, DatasetVersion, Decision, ItemId, Op
from hitl_bridge.errors import RefusedForSafety
from hitl_bridge.ports import (
    AuditHead,
    Clock,
    DatasetStore,
    Event,
    Insights,
    NewFile,
    Published,
    Revert,
    Reverts,
    StateStore,
    UncommittedDecision,
)
from hitl_bridge.services.dataset.notes import version_notes

DECISIONS = "data/decisions"
PAYLOADS = "data/payloads"
AUDIT_TRAILER = "Audit-Head"
TAKEN_IN = "versions_taken_in"


@dataclass(frozen=True, slots=True)
class CommitResult:
    """`version` is None where there was nothing to commit. `caught_up` are tags of models that the git remote lacked and has now;
    `unpublished` says why it did not take them."""

    version: str | None = None
    tag: str | None = None
    git_commit: str | None = None
    added: int = 0
    changed: int = 0
    removed: int = 0
    caught_up: tuple[str, ...] = ()
    unpublished: str | None = None


@dataclass(frozen=True, slots=True)
class CommitPorts:
    """`use` is what decisions are collected for, as the settings say; `reverts` may be None where nothing was ever reverted."""

    store: StateStore
    insights: Insights
    dataset: DatasetStore
    clock: Clock
    key: bytes
    reverts: Reverts | None = None
    use: DataUse = field(default_factory=DataUse)


def commit(
    ports: CommitPorts, labels: Sequence[str], *, dry_run: bool = False, only: Collection[ItemId] | None = None
) -> CommitResult:
    """Commits the decisions that are in no version yet (on these items alone, with `only`). With `dry_run` says what the
    version would hold."""
    uncommitted = ports.store.uncommitted()
    if not uncommitted:
        return CommitResult()
    tags = ports.dataset.versions()
    found = _compared(ports, tags, uncommitted)
    if not dry_run:
        _take_in(ports, found)
    if only is not None:
        found = replace(found, waiting=[each for each in found.waiting if each.decision.item_id in only])
    if not found.waiting:
        return CommitResult()
    change = _planned(ports, found.waiting, tags, labels)
    if dry_run:
        return CommitResult(change.version, change.tag, None, change.added, change.changed, change.removed)
    # Before the commit is built: whatever it holds is in the log by then.
    trailers = {AUDIT_TRAILER: _text(ports.store.audit_head())}
    batch_id = _batch_id(ports.key, found.waiting)
    files = dataset_files(change)
    notes = version_notes(ports.dataset, _last_version(tags), change, files, _gone(ports, found), ports.clock.now())
    published = ports.dataset.publish(change.tag, [*files, *notes], change.summary(), batch_id, trailers)
    _record(ports, change, published, found.waiting, labels)
    return CommitResult(change.version, published.tag, published.git_commit, change.added, change.changed, change.removed)


def _text(head: AuditHead) -> str:
    return f"{head.seq}:{head.hash}"


def _planned(
    ports: CommitPorts, waiting: Sequence[UncommittedDecision], tags: Sequence[str], labels: Sequence[str]
) -> DatasetChange:
    last = ports.insights.last_event("committed")
    known = last.detail.get("labels") if last else None
    schema = last.detail.get("schema", 1) if last else SCHEMA_VERSION
    return plan_change(
        [_unversioned(each) for each in waiting],
        _last_version(tags),
        _pseudonym(ports),
        ports.use,
        new_form=schema != SCHEMA_VERSION or (known is not None and known != sorted(labels)),
    )


def _last_version(tags: Sequence[str]) -> str | None:
    return max((tag.removeprefix(TAG) for tag in tags), key=version_order, default=None)


def _batch_id(key: bytes, waiting: Sequence[UncommittedDecision]) -> str:
    """By what is decided and not only by number: after a restore the numbers are given again."""
    decided = [
        json.dumps([each.decision_id, each.outcome, each.output, sorted(each.annotations)], sort_keys=True)
        for each in map(_decision, waiting)
    ]
    return draws.digest(key, "batch", *sorted(decided))[:32]


def _decision(each: UncommittedDecision) -> Decision:
    return each.decision


def _unversioned(each: UncommittedDecision) -> Unversioned:
    return Unversioned(each.decision, each.item, each.committed, each.answered_at, each.context)


def _gone(ports: CommitPorts, found: _Compared) -> list[Mapping[str, JSON]]:
    """The rows that held until now of the items in the change."""
    rows: list[Mapping[str, JSON]] = []
    for each in found.waiting:
        held = found.rows.get(each.decision.item_id)
        if held is None and each.committed is not None:
            before = Unversioned(each.committed, each.committed_item or each.item, None, None)
            held = record(before, each.committed.op, _pseudonym(ports), ports.use)
        if held is not None and held["op"] != Op.REMOVE.value:
            rows.append(held)
    return rows


def _pseudonym(ports: CommitPorts) -> Pseudonym:
    return lambda person: draws.pseudonym(ports.key, person)


def dataset_files(change: DatasetChange) -> list[NewFile]:
    """The files of a version; the same change always gives the same bytes."""
    records = table_of(change.records, decision_schema())
    payloads = table_of(change.payloads, payload_schema())
    return [
        NewFile(f"{DECISIONS}/{change.version}.parquet", to_parquet(records)),
        NewFile(f"{PAYLOADS}/{change.version}.parquet", to_parquet(payloads)),
    ]


def _record(
    ports: CommitPorts,
    change: DatasetChange,
    published: Published,
    waiting: Sequence[UncommittedDecision],
    labels: Sequence[str],
) -> None:
    now = ports.clock.now()
    version = DatasetVersion(
        published.tag.removeprefix(TAG), published.tag, published.git_commit, change.added, change.changed, change.removed, now
    )
    ports.store.record_version(version, [each.decision for each in waiting])
    detail: dict[str, JSON] = {"version": change.version, "labels": sorted(labels), "schema": SCHEMA_VERSION}
    ports.store.record_events([Event(now, "committed", detail=detail)])


# ----------------------------------------------------------------------- versions that git has and the store has not


@dataclass(frozen=True, slots=True)
class _Compared:
    """What waits, held against versions that the store did not make, or does not remember to have made.

    `unknown`: those that it does not know yet. `awaited`: versions with decisions that the store has not made again yet.
    `settled`: by version, the decisions that are in it already. `waiting`: the rest, in no version. `rows`: what versions say
    of items that wait, where the store did not know it. `taken_back`: by version, decisions that a revert, of which the store
    does not know, had taken back, and the row that says so.
    """

    unknown: tuple[DatasetVersion, ...]
    awaited: tuple[str, ...]
    awaited_before: tuple[str, ...]
    settled: Mapping[str, Sequence[Decision]]
    waiting: Sequence[UncommittedDecision]
    rows: Mapping[ItemId, Mapping[str, JSON]]
    taken_back: Mapping[str, Sequence[tuple[Decision, Mapping[str, JSON]]]]


def _compared(ports: CommitPorts, tags: Sequence[str], waiting: Sequence[UncommittedDecision]) -> _Compared:
    known = {version.tag for version in ports.store.dataset_versions()}
    before = _awaited(ports)
    unknown = [tag.removeprefix(TAG) for tag in tags if tag not in known]
    rows = {version: _rows(ports, version) for version in sorted({*before, *unknown}, key=version_order)}
    newest = {str(row["item_id"]): (version, row) for version, each in rows.items() for row in each}
    settled: dict[str, list[Decision]] = {}
    taken_back: dict[str, list[tuple[Decision, Mapping[str, JSON]]]] = {}
    held: dict[ItemId, Mapping[str, JSON]] = {}
    left = []
    for each in waiting:
        version, row = newest.get(each.decision.item_id, ("", None))
        if row is None or _is_past(ports, each, version):
            left.append(each)
        elif says_the_same(row, _unversioned(each), _pseudonym(ports)):
            settled.setdefault(version, []).append(each.decision)
        elif ports.reverts is not None and rests_on_what_was_taken_back(row, _unversioned(each)):
            taken_back.setdefault(version, []).append((each.decision, row))
        else:
            held[each.decision.item_id] = row
            settled.setdefault(version, []).extend(_earlier(row, each.decision))
            left.append(replace(each, committed=_as_committed(row, each.decision)))
    seen = {each.decision.item_id for each in waiting}
    awaited = tuple(version for version, each in rows.items() if any(row["item_id"] not in seen for row in each))
    recorded = tuple(_version(ports, version, rows[version]) for version in unknown)
    return _Compared(recorded, awaited, before, settled, left, held, taken_back)


def _is_past(ports: CommitPorts, each: UncommittedDecision, version: str) -> bool:
    """Whether the store itself has put the item into that version or a later one: then what it says there holds no more."""
    if each.committed is None:
        return False
    tags = ports.insights.life_of(each.decision.item_id).get("versions")
    held = [str(tag).removeprefix(TAG) for tag in tags] if isinstance(tags, list) else []
    return any(version_order(other) >= version_order(version) for other in held)


def _awaited(ports: CommitPorts) -> tuple[str, ...]:
    last = ports.insights.last_event(TAKEN_IN)
    noted = last.detail.get("awaited") if last else None
    return tuple(str(version) for version in noted) if isinstance(noted, list) else ()


def _rows(ports: CommitPorts, version: str) -> list[Mapping[str, JSON]]:
    path = f"{DECISIONS}/{version}.parquet"
    rows: list[Mapping[str, JSON]] = from_parquet(ports.dataset.read(TAG + version, [path])[path]).to_pylist()
    return rows


def _earlier(row: Mapping[str, JSON], decision: Decision) -> list[Decision]:
    """The decision that `row` holds, as far as a store needs it, if it is one that `decision` came after."""
    revision, seq = int(str(row["revision"])), int(str(row["seq"]))
    return [replace(decision, revision=revision, seq=seq)] if (revision, seq) < (decision.revision, decision.seq) else []


def _as_committed(row: Mapping[str, JSON], decision: Decision) -> Decision:
    return replace(decision, revision=int(str(row["revision"])), seq=int(str(row["seq"])), op=Op(str(row["op"])))


def _version(ports: CommitPorts, version: str, rows: Sequence[Mapping[str, JSON]]) -> DatasetVersion:
    published = ports.dataset.published(TAG + version)
    if published is None:
        raise RefusedForSafety(f"{TAG}{version} was taken away just now.", remedy="Look who moves tags, then run it again.")
    ops = [Op(str(row["op"])) for row in rows]
    counts = (ops.count(Op.ADD), ops.count(Op.CHANGE), ops.count(Op.REMOVE))
    return DatasetVersion(version, published.tag, published.git_commit, *counts, ports.clock.now())


def _take_in(ports: CommitPorts, found: _Compared) -> None:
    """Notes first what is awaited: were we killed in between, it is compared again."""
    if found.unknown or found.awaited != found.awaited_before:
        detail: dict[str, JSON] = {"versions": [each.version for each in found.unknown], "awaited": list(found.awaited)}
        ports.store.record_events([Event(ports.clock.now(), TAKEN_IN, detail=detail)])
    _take_back(ports, found)
    unknown = {each.version for each in found.unknown}
    for version in found.unknown:
        ports.store.record_version(version, found.settled.get(version.version, ()))
    for version in ports.store.dataset_versions():
        if version.version not in unknown and found.settled.get(version.version):
            ports.store.record_version(version, found.settled[version.version])


def _take_back(ports: CommitPorts, found: _Compared) -> None:
    """Reverts that versions tell of and the store, restored from an older backup, has forgotten: said to it once more."""
    for version, taken in found.taken_back.items():
        undone = []
        for decision, row in taken:
            removal = replace(
                decision, seq=decision.seq + 1, op=Op.REMOVE, output=None, rationale="", decided_at=ports.clock.now()
            )
            gone = row["taken_back"]
            answers = frozenset(map(str, gone)) if isinstance(gone, list) else frozenset[str]()
            undone.append(TakenBack(removal, (decision,), answers, frozenset()))
        reason = str(taken[0][1]["cause_reason"])
        name = draws.digest(ports.key, "revert", version, *sorted(each.decision.decision_id for each in undone))[:16]
        again = Revert(name, str(taken[0][1]["cause_by"]), reason, {"taken_in_from": version}, ports.clock.now())
        if ports.reverts is not None:
            ports.reverts.record(again, undone)
