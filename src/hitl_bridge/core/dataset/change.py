"""Decisions × what is committed → the rows of the next dataset version."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from hitl_bridge.core.dataset.record import DataUse, Pseudonym, Unversioned, payload, record
from hitl_bridge.core.model import JSON, Op

_VERSION = re.compile(r"v(\d+)\.(\d+)\.(\d+)")

TAG = "decisions@"
"""What the tag of a dataset version starts with."""


@dataclass(frozen=True, slots=True)
class DatasetChange:
    """The next dataset version as values: its number, its rows, and the texts that lie apart so that they can be erased."""

    version: str
    records: tuple[Mapping[str, JSON], ...]
    payloads: tuple[Mapping[str, JSON], ...]
    added: int
    changed: int
    removed: int

    @property
    def tag(self) -> str:
        return TAG + self.version

    def summary(self) -> str:
        """For the commit message: counts alone, no text of anybody's."""
        return f"{self.tag}: {self.added} added, {self.changed} changed, {self.removed} removed"


def plan_change(
    settled: Sequence[Unversioned],
    last_version: str | None,
    pseudonym: Pseudonym,
    use: DataUse | None = None,
    *,
    new_form: bool = False,
) -> DatasetChange:
    """The version that holds `settled`. `new_form`: the label set or the schema is no longer that of `last_version`."""
    ordered = sorted(settled, key=lambda each: (each.item.item_id, each.item.revision))
    ops = [operation(each) for each in ordered]
    return DatasetChange(
        version=next_version(last_version, ops, new_form=new_form),
        records=tuple(record(each, op, pseudonym, use or DataUse()) for each, op in zip(ordered, ops, strict=True)),
        payloads=tuple(payload(each) for each, op in zip(ordered, ops, strict=True) if op is not Op.REMOVE),
        added=ops.count(Op.ADD),
        changed=ops.count(Op.CHANGE),
        removed=ops.count(Op.REMOVE),
    )


def operation(settled: Unversioned) -> Op:
    """What the version does with the item: whatever happened between two versions counts as one step."""
    if settled.decision.op is Op.REMOVE:
        return Op.REMOVE
    held = settled.committed is not None and settled.committed.op is not Op.REMOVE
    return Op.CHANGE if held else Op.ADD


def next_version(last: str | None, ops: Collection[Op], *, new_form: bool = False) -> str:
    """Patch: only corrected or reverted decisions. Minor: new ones. Major: the label set or the schema changed. The first is
    v0.1.0."""
    match = _VERSION.fullmatch(last or "v0.0.0")
    if match is None:
        raise ValueError(f"{last!r} is not a version like v0.12.0")
    major, minor, patch = (int(part) for part in match.groups())
    if new_form and last is not None:
        return f"v{major + 1}.0.0"
    if last is None or Op.ADD in ops:
        return f"v{major}.{minor + 1}.0"
    return f"v{major}.{minor}.{patch + 1}"


def version_order(version: str) -> tuple[int, int, int]:
    """Sorts v0.10.0 after v0.9.0. Raises ValueError on anything else."""
    match = _VERSION.fullmatch(version)
    if match is None:
        raise ValueError(f"{version!r} is not a version like v0.12.0")
    major, minor, patch = (int(part) for part in match.groups())
    return major, minor, patch
