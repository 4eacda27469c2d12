"""The snapshot: the labelled items that hold at this moment, divided into training, holdout and calibration.

It lies in `data/snapshot/` and is made again whenever it is needed. It holds texts, so DVC does not cache it and git
ignores it: erasing a payload and running `dvc repro` leaves no copy here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hitl_bridge.core.dataset.schema import canonical_bytes
from hitl_bridge.core.dataset.splits import Keys, input_key
from hitl_bridge.core.model import JSONObject
from hitl_bridge.core.task_types import TaskType
from hitl_bridge.errors import UsageError
from hitl_bridge.stages.files import canonical, sha256, write_bytes

if TYPE_CHECKING:
    import pyarrow as pa

BASE = "base"
DECISIONS = "decisions"
FOLDER = Path("data/snapshot")
_NESTED = ("input", "output")


@dataclass(frozen=True, slots=True)
class Example:
    """A labelled item. `output` is the true answer, `label` the same in words (where an item has one label, that label).
    `source` is `base` or `decisions`; `version` the dataset version it came with (empty for base).

    `doubted`: it is an edge case only because the model of that time doubted it, not because a rule named it.
    """

    item_id: str
    input: JSONObject
    label: str
    scenario: str | None
    edge: bool
    group: str | None
    source: str
    version: str = ""
    doubted: bool = False
    output: JSONObject = field(default_factory=dict)


def keys(examples: Sequence[Example], kind: TaskType) -> Keys:
    """Texts are the same whatever their case and white space; addresses of images only to the letter."""
    same = input_key if kind.input_field == "text" else str
    return Keys(
        item_ids=[example.item_id for example in examples],
        groups=[example.group for example in examples],
        input_keys=[same(str(example.input[kind.input_field])) for example in examples],
    )


def known(examples: Sequence[Example], kind: TaskType, labels: Sequence[str]) -> list[Example]:
    """Those whose labels the workspace has (still)."""
    there = set(labels)
    if not kind.several:
        return [example for example in examples if example.label in there]
    return [example for example in examples if {kind.label_of(part) for part in kind.parts(example.output)} <= there]


def labels_of(example: Example, kind: TaskType) -> list[str]:
    """The label of each part of its answer."""
    return sorted(map(kind.label_of, kind.parts(example.output))) if kind.several else [example.label]


def write_examples(path: Path, examples: Sequence[Example]) -> str:
    """Writes the examples in their one canonical form; returns the file's SHA-256."""
    import pyarrow as pa

    schema = _schema()
    columns: Mapping[str, list[object]] = {
        name: [canonical(getattr(e, name)) if name in _NESTED else getattr(e, name) for e in examples] for name in schema.names
    }
    content = canonical_bytes(pa.table(columns, schema=schema))
    write_bytes(path, content)
    return sha256(content)


def read_examples(path: Path) -> list[Example]:
    """Raises UsageError if the snapshot has not been made."""
    import pyarrow.parquet as pq

    if not path.is_file():
        raise UsageError(f"There is no {path.parent.name}/{path.name}.", remedy="Run `dvc repro`: its first stage makes it.")
    rows = pq.read_table(path).to_pylist()
    return [Example(**{**row, **{name: json.loads(row[name]) for name in _NESTED if name in row}}) for row in rows]


def _schema() -> pa.Schema:
    import pyarrow as pa

    text = pa.string()
    columns = ("item_id", "input", "label", "scenario", "edge", "group", "source", "version", "doubted", "output")
    return pa.schema([pa.field(name, pa.bool_() if name in ("edge", "doubted") else text) for name in columns])
