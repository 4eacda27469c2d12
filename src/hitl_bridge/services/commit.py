"""New decisions become a dataset version.

The batch is named by the decisions in it, so a commit that was cut off half-way is found again by its trailer; and a
version that git has but the store does not know (a crash between the two) is taken into the store first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hitl_bridge.core import draws
from hitl_bridge.core.dataset.change import TAG, DatasetChange, Unversioned, operation, plan_change, version_order
from hitl_bridge.core.dataset.schema import decision_schema, from_parquet, payload_schema, to_parquet
from hitl_bridge.core.model import DatasetVersion, Decision, DecisionId, Op
from hitl_bridge.ports import Clock, DatasetStore, Event, Insights, NewFile, Published, StateStore, UncommittedDecision

DECISIONS = "data/decisions"
PAYLOADS = "data/payloads"


@dataclass(frozen=True, slots=True)
class CommitResult:
    """`version` is None where there was nothing to commit."""

    version: str | None = None
    tag: str | None = None
    git_commit: str | None = None
    added: int = 0
    changed: int = 0
    removed: int = 0


@dataclass(frozen=True, slots=True)
class CommitPorts:
    store: StateStore
    insights: Insights
    dataset: DatasetStore
    clock: Clock
    key: bytes


def commit(ports: CommitPorts, labels: Sequence[str], *, dry_run: bool = False) -> CommitResult:
    """Commits the decisions that are in no version yet. With `dry_run` says what the version would hold."""
    if not dry_run:
        _take_in_unknown_versions(ports)
    waiting = ports.store.uncommitted()
    if not waiting:
        return CommitResult()
    change = _planned(ports, waiting, labels)
    if dry_run:
        return CommitResult(change.version, change.tag, None, change.added, change.changed, change.removed)
    ports.dataset.check()
    published = ports.dataset.publish(change.tag, _files(change), change.summary(), _batch_id(ports.key, waiting))
    _record(ports, change, published, waiting, labels)
    return CommitResult(change.version, published.tag, published.git_commit, change.added, change.changed, change.removed)


def _planned(ports: CommitPorts, waiting: Sequence[UncommittedDecision], labels: Sequence[str]) -> DatasetChange:
    last = ports.insights.last_event("committed")
    known = last.detail.get("labels") if last else None
    return plan_change(
        [Unversioned(each.decision, each.item, each.committed, each.answered_at) for each in waiting],
        _last_version(ports.dataset.versions()),
        lambda person: draws.pseudonym(ports.key, person),
        new_labels=known is not None and known != sorted(labels),
    )


def _last_version(tags: Sequence[str]) -> str | None:
    return max((tag.removeprefix(TAG) for tag in tags), key=version_order, default=None)


def _batch_id(key: bytes, waiting: Sequence[UncommittedDecision]) -> str:
    return draws.digest(key, "batch", *sorted(each.decision.decision_id for each in waiting))[:32]


def _files(change: DatasetChange) -> list[NewFile]:
    import pyarrow as pa

    records = pa.Table.from_pylist(list(change.records), schema=decision_schema())
    payloads = pa.Table.from_pylist(list(change.payloads), schema=payload_schema())
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
    version = DatasetVersion(change.version, change.tag, published.git_commit, change.added, change.changed, change.removed, now)
    ports.store.record_version(version, [each.decision for each in waiting])
    ports.store.record_events([Event(now, "committed", detail={"version": change.version, "labels": sorted(labels)})])


def _take_in_unknown_versions(ports: CommitPorts) -> None:
    """Versions that git has and the store has not: a crash came between publishing and writing it down."""
    known = {version.tag for version in ports.store.dataset_versions()}
    missing = [tag for tag in ports.dataset.versions() if tag not in known]
    waiting = {each.decision.decision_id: each for each in ports.store.uncommitted()} if missing else {}
    for tag in missing:
        published = ports.dataset.published(tag)
        if published is not None:
            _take_in(ports, published, waiting)


def _take_in(ports: CommitPorts, published: Published, waiting: Mapping[DecisionId, UncommittedDecision]) -> None:
    version = published.tag.removeprefix(TAG)
    records = from_parquet(ports.dataset.read(published.tag)[f"{DECISIONS}/{version}.parquet"]).to_pylist()
    ids = {f"{row['item_id']}#{row['revision']}.{row['seq']}" for row in records}
    held = [each for decision_id, each in waiting.items() if decision_id in ids]
    ops = [operation(Unversioned(each.decision, each.item, each.committed, each.answered_at)) for each in held]
    decisions: list[Decision] = [each.decision for each in held]
    ports.store.record_version(
        DatasetVersion(
            version,
            published.tag,
            published.git_commit,
            ops.count(Op.ADD),
            ops.count(Op.CHANGE),
            ops.count(Op.REMOVE),
            ports.clock.now(),
        ),
        decisions,
    )
