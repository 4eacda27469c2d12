"""Triage computed again from receipts, which hold all that decided but the item itself.

A receipt keeps no scores (they would be most of its size) but the risk that was computed from them: replay begins there. All
that follows (rules, tier, draws, purpose, split, pool) comes from the same engine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hitl_bridge.core.model import JSON
from hitl_bridge.core.task_types.outputs import headline
from hitl_bridge.core.triage.columns import PREDICTIONS, RECEIPTS

if TYPE_CHECKING:
    import pyarrow as pa

NOT_KEPT = "the policy of that time was not kept"
BEGINS_AT = "risk"
"""The column that is taken from the receipt as it is."""

_AS_IT_WAS = (BEGINS_AT, "revision", "draw_form", "disagreement")
"""What a receipt knows and a prediction alone does not: the risk, the form in which the draws are to be made again, what other
models said at the time."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """A receipt computed again. `differs` names the columns that came out otherwise; `problem` says why it could not be
    computed (None: it was)."""

    revision: int
    model_version: str
    policy_version: str
    differs: tuple[str, ...] = ()
    problem: str | None = None

    @property
    def same(self) -> bool:
        return not self.differs and self.problem is None


def as_predictions(receipts: pa.Table) -> pa.Table:
    """What the triage engine takes, from receipts: their columns, the label out of the output, and the risk as it was.

    The input is not in a receipt and decides nothing.
    """
    import pyarrow as pa

    rows = receipts.num_rows
    made: dict[str, pa.Array | pa.ChunkedArray] = {
        "input": pa.repeat(pa.scalar("{}"), rows),
        "scores": pa.repeat(pa.scalar("{}"), rows),
        "label": _labels(receipts["output"]),
        "row": pa.array(range(1, rows + 1), pa.int64()),
    }
    columns: dict[str, pa.Array | pa.ChunkedArray] = {}
    for name, kind in PREDICTIONS.items():
        kept = receipts[name] if name in receipts.column_names else None
        columns[name] = made.get(name, kept if kept is not None else pa.nulls(rows, _arrow(kind)))
    taken = {name: receipts[name] for name in _AS_IT_WAS if name in receipts.column_names}
    return pa.table(columns | taken)


def _labels(outputs: pa.ChunkedArray) -> pa.Array:
    """The predicted labels. Models say few different things, so each is parsed once."""
    import pyarrow as pa

    said = outputs.combine_chunks().dictionary_encode() if outputs.num_chunks != 1 else outputs.chunk(0).dictionary_encode()
    labels = [_label(text) for text in said.dictionary.to_pylist()]
    return pa.array(labels, pa.string()).take(said.indices)


def _label(output: str | None) -> str | None:
    return headline(json.loads(output)) if output else None


def _arrow(kind: str) -> pa.DataType:
    import pyarrow as pa

    types = {"VARCHAR": pa.string(), "DOUBLE": pa.float64(), "BIGINT": pa.int64(), "INTEGER": pa.int32(), "BOOLEAN": pa.bool_()}
    return types[kind]


def receipt_table(receipt: Mapping[str, JSON]) -> pa.Table:
    """One receipt as a table. A column that is new since it was written is NULL."""
    import pyarrow as pa

    return pa.table({name: pa.array([receipt.get(name)], _arrow(kind)) for name, kind in RECEIPTS.items()})


def compared(receipt: Mapping[str, JSON], again: Mapping[str, JSON]) -> Replayed:
    """Every column of the receipt against the one computed again, value for value: numbers to the last bit."""
    differs = tuple(name for name in RECEIPTS if not _equal(receipt.get(name), again.get(name)))
    return Replayed(*_identity(receipt), differs=differs)


def not_replayed(receipt: Mapping[str, JSON], problem: str) -> Replayed:
    return Replayed(*_identity(receipt), problem=problem)


def _identity(receipt: Mapping[str, JSON]) -> tuple[int, str, str]:
    revision = receipt["revision"]
    return revision if isinstance(revision, int) else 0, str(receipt["model_version"]), str(receipt["policy_version"])


def _equal(one: JSON, other: JSON) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return one.hex() == other.hex()
    return type(one) is type(other) and one == other
