"""Dataset versions, read back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from hitl_bridge.core.dataset.change import TAG
from hitl_bridge.core.dataset.difference import Contents, DatasetDifference, differences
from hitl_bridge.core.dataset.fold import Segment, snapshot_with_payloads
from hitl_bridge.core.dataset.schema import from_parquet
from hitl_bridge.errors import UnknownName
from hitl_bridge.ports import DatasetStore
from hitl_bridge.services.dataset.commit import DECISIONS, PAYLOADS

if TYPE_CHECKING:
    import pyarrow as pa


def decisions_at(dataset: DatasetStore, version: str | None) -> pa.Table:
    """What held at `version` (the latest if None), one row an item, with inputs and rationales. Raises UnknownName.

    `v0.1.0`, `0.1.0` and `decisions@v0.1.0` are the same.
    """
    found = _contents(dataset, _tag(dataset, version))
    return snapshot_with_payloads(found.decisions, found.payloads)


def difference(dataset: DatasetStore, older: str, newer: str | None) -> DatasetDifference:
    """What differs between two versions (the second the latest if None). Raises UnknownName."""
    tags = (_tag(dataset, older), _tag(dataset, newer))
    return differences(*(_contents(dataset, tag) for tag in tags))


def _tag(dataset: DatasetStore, version: str | None) -> str:
    tag = f"{TAG}v{(version or '').removeprefix(TAG).removeprefix('v')}"
    if version is None or dataset.published(tag) is None:  # only what is not known is asked for elsewhere
        tags = dataset.versions()
        tag = tags[-1] if version is None and tags else tag
        if tag not in tags:
            known = ", ".join(each.removeprefix(TAG) for each in tags) or "none yet"
            raise UnknownName("dataset version", version or "", remedy=f"Versions here: {known}.")
    return tag


def _contents(dataset: DatasetStore, tag: str) -> Contents:
    content = dataset.read(tag)
    return Contents(tag.removeprefix(TAG), _segments(content, DECISIONS), _segments(content, PAYLOADS))


def _segments(content: Mapping[str, bytes], folder: str) -> list[Segment]:
    return [
        (PurePosixPath(path).stem, from_parquet(data))
        for path, data in sorted(content.items())
        if path.startswith(f"{folder}/") and path.endswith(".parquet")
    ]
