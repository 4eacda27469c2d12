"""Versions of the dataset, folded into what holds.

For each item the row of the highest revision counts; of that revision the one in the latest dataset version; of that
version the highest `seq`. If that row says `remove`, the item has no decision: an earlier revision is not brought back,
because its input is not the item's input any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from hitl_bridge.core.dataset.change import version_order
from hitl_bridge.core.model import Op

if TYPE_CHECKING:
    import pyarrow as pa

Indices: TypeAlias = npt.NDArray[np.int64]

Segment: TypeAlias = "tuple[str, pa.Table]"
"""A dataset version's name (`v0.12.0`) and its table."""


def fold(segments: Sequence[Segment]) -> pa.Table:
    """The decisions that hold, one row an item, sorted by item id; a column `version` says which version each came with."""
    import pyarrow.compute as pc

    latest = last_words(segments)
    return latest.filter(pc.not_equal(latest["op"], Op.REMOVE.value))


def last_words(segments: Sequence[Segment]) -> pa.Table:
    """Like `fold`, with the items that have no decision any more: their row says `remove`, and why."""
    from hitl_bridge.core.dataset.schema import decision_schema

    table, position = _stack(segments, decision_schema())
    return table.take(_last_of_each(_places(table["item_id"]), (_numbers(table["seq"]), position, _numbers(table["revision"]))))


def fold_payloads(segments: Sequence[Segment]) -> pa.Table:
    """The latest payload of each revision of each item."""
    import pyarrow.compute as pc

    from hitl_bridge.core.dataset.schema import payload_schema

    table, position = _stack(segments, payload_schema())
    return table.take(_last_of_each(_item_keys(table, pc.unique(table["item_id"])), (position,)))


def snapshot_with_payloads(decisions: Sequence[Segment], payloads: Sequence[Segment]) -> pa.Table:
    """`fold(decisions)` with the columns `input` and `rationale`, which are null where a payload has been erased."""
    import pyarrow as pa
    import pyarrow.compute as pc

    held, kept = fold(decisions), fold_payloads(payloads)
    known = pc.unique(kept["item_id"])
    found = pc.index_in(pa.array(_item_keys(held, known)), value_set=pa.array(_item_keys(kept, known)))
    for name in ("input", "rationale"):
        held = held.append_column(name, kept[name].take(found))
    return held


def measured_items(segments: Sequence[Segment]) -> frozenset[str]:
    """Items that were a holdout or calibration item in any revision of any version: they never train again."""
    import pyarrow.compute as pc

    from hitl_bridge.core.dataset.schema import decision_schema
    from hitl_bridge.core.model import Split

    table, _ = _stack(segments, decision_schema())
    outside = pc.fill_null(pc.not_equal(table["split"], Split.TRAIN.value), True)
    return frozenset(table.filter(outside)["item_id"].to_pylist())


def _stack(segments: Sequence[Segment], schema: pa.Schema) -> tuple[pa.Table, Indices]:
    """All rows in version order with a column `version`, and for each row the position of its version."""
    import pyarrow as pa

    ordered = sorted(segments, key=lambda segment: version_order(segment[0]))
    if not ordered:
        return schema.empty_table().append_column("version", pa.array([], pa.string())), np.empty(0, np.int64)
    marked = [table.append_column("version", pa.repeat(version, table.num_rows)) for version, table in ordered]
    position = np.repeat(np.arange(len(ordered)), [table.num_rows for _, table in ordered])
    return pa.concat_tables(marked), position


def _last_of_each(places: Indices, ranks: tuple[Indices, ...]) -> Indices:
    """Row numbers of the highest-ranked row of each place, in the order of the places.

    `ranks` come least important first, as in `numpy.lexsort`.
    """
    order = np.lexsort((*ranks, places))
    ordered = places[order]
    is_last = np.ones(len(order), bool)
    is_last[:-1] = ordered[1:] != ordered[:-1]
    return np.asarray(order[is_last])


def _places(column: pa.ChunkedArray) -> Indices:
    """Where each value stands among the sorted distinct values: integers sort many times faster than texts."""
    import pyarrow.compute as pc

    encoded = _one_chunk(column).dictionary_encode()
    places = np.empty(len(encoded.dictionary), np.int64)
    places[pc.sort_indices(encoded.dictionary).to_numpy()] = np.arange(len(places))
    return np.asarray(places[encoded.indices.to_numpy()])


def _numbers(column: pa.ChunkedArray) -> Indices:
    return np.asarray(_one_chunk(column).to_numpy(zero_copy_only=False))


def _item_keys(table: pa.Table, known: pa.Array) -> Indices:
    """Item id (as its place in `known`) and revision in one number; negative where `known` lacks the item."""
    import pyarrow.compute as pc

    place = _numbers(pc.fill_null(pc.index_in(table["item_id"], value_set=known), -1)).astype(np.int64)
    return (place << 31) + _numbers(table["revision"])


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    import pyarrow as pa

    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
