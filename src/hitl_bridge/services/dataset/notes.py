"""What stands beside a version's data in git: its card and its description, made from those of the version before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from hitl_bridge.core.dataset import card, croissant
from hitl_bridge.core.dataset.change import TAG, DatasetChange
from hitl_bridge.core.dataset.fold import fold
from hitl_bridge.core.dataset.schema import from_parquet
from hitl_bridge.core.model import JSON, Op
from hitl_bridge.ports import DatasetStore, NewFile


def version_notes(
    dataset: DatasetStore,
    last_version: str | None,
    change: DatasetChange,
    files: Sequence[NewFile],
    gone: Iterable[Mapping[str, JSON]],
    now: datetime,
) -> list[NewFile]:
    """Card and description of the version that `change` makes of `last_version`.

    Args:
        files: the version's data files.
        gone: the rows that held until now of the items in the change.

    Costs what is new. Where the version before has no card of ours, its data are read and counted once.
    """
    before = None if last_version is None else TAG + last_version
    notes = dataset.notes(before) if before is not None else {}
    known = card.read_totals(notes.get(card.PATH, b"").decode("utf-8", "replace"))
    listed = croissant.read_files(notes.get(croissant.PATH, b"").decode("utf-8", "replace"))
    totals = card.Totals() if before is None else known[1] if known and TAG + known[0] == before else _counted(dataset, before)
    totals = totals.after(gone, [row for row in change.records if row["op"] != Op.REMOVE.value])
    digests = {} if before is None else _digests(dataset, before) if listed is None else dict(listed)
    digests |= {file.path: hashlib.sha256(file.content).hexdigest() for file in files}
    at = now.astimezone(UTC).date().isoformat()
    counted = f"it added {change.added:,}, changed {change.changed:,} and removed {change.removed:,}"
    said = f"{totals.decisions:,} hold at this version; {counted}."
    return [
        NewFile(card.PATH, card.render(change, totals, last_version, at).encode()),
        NewFile(croissant.PATH, croissant.describe(change.version, digests, at, said).encode()),
    ]


def _counted(dataset: DatasetStore, tag: str) -> card.Totals:
    content = dataset.read(tag)
    segments = [
        (path.rpartition("/")[2].removesuffix(".parquet"), from_parquet(data))
        for path, data in content.items()
        if path.startswith("data/decisions/")
    ]
    return card.totals_of(fold(segments))


def _digests(dataset: DatasetStore, tag: str) -> dict[str, str]:
    return {path: hashlib.sha256(data).hexdigest() for path, data in dataset.read(tag).items()}
