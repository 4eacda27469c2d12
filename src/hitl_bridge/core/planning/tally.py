"""Recorded predictions counted by what a policy would do with them and by the chance with which they were looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hitl_bridge.core.model import Purpose
from hitl_bridge.core.planning.forecast import Cell

if TYPE_CHECKING:
    import pyarrow as pa

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Tally:
    """A part of the record under a policy: its cells, and how many predictions each tier and pool would get."""

    cells: tuple[Cell, ...]
    loads: Mapping[tuple[str, str | None], int]


def tally(recorded: pa.Table, replayed: pa.Table, wrong: pa.Array, *, recorded_auto: str, auto_tier: str | None) -> Tally:
    """Counts the rows of one part of the record.

    Args:
        recorded: receipts as they are kept (tier, purpose, uniform_rate, audit_rate).
        replayed: receipts of the same rows under the policy (tier, pool), in the same order.
        wrong: whether the decision on the item is another than the prediction; NULL where there is none.
        recorded_auto: the tier that needed nobody when the record was made.
        auto_tier: the tier that needs nobody under the policy.
    """
    import pyarrow as pa

    was_auto, drawn, chance = looks(recorded, recorded_auto)
    is_auto = _equal(replayed["tier"], auto_tier)
    # What people saw in the ordinary way counts as seen for certain, and only where they are to see it again: the prediction
    # was in front of them, which is how it will be, but no measure of what is approved unseen.
    seen_anyway = ~is_auto & ~was_auto
    decided = np.asarray(wrong.is_valid())
    counts = decided & (drawn | seen_anyway)
    rows = pa.table(
        {
            "tier": replayed["tier"],
            "chance": np.where(seen_anyway, 1.0, chance),
            "looked": counts.astype(np.int64),
            "wrong": (counts & np.asarray(wrong.fill_null(False), dtype=np.bool_)).astype(np.int64),
        }
    )
    grouped = rows.group_by(["tier", "chance"]).aggregate([([], "count_all"), ("looked", "sum"), ("wrong", "sum")])
    cells = tuple(
        Cell(row["tier"], row["chance"], row["count_all"], row["looked_sum"], row["wrong_sum"]) for row in grouped.to_pylist()
    )
    return Tally(cells, _loads(replayed))


def looks(recorded: pa.Table, auto_tier: str) -> tuple[Flags, Flags, NDArray[np.float64]]:
    """For each receipt: whether it would have been approved without a look, whether it was drawn for a blind one, and the
    probability with which it was."""
    purpose = recorded["purpose"]
    uniform = _equal(purpose, Purpose.UNIFORM)
    drawn = uniform | _equal(purpose, Purpose.AUDIT)
    was_auto = (~_equal(purpose, Purpose.REVIEW) & ~uniform) | (uniform & _equal(recorded["tier"], auto_tier))
    by_uniform = recorded["uniform_rate"].to_numpy()
    by_audit = np.where(was_auto, recorded["audit_rate"].to_numpy(), 0.0)
    return was_auto, drawn, by_uniform + (1.0 - by_uniform) * by_audit


def _equal(column: pa.ChunkedArray, value: str | None) -> Flags:
    import pyarrow.compute as pc

    if value is None:
        return np.zeros(len(column), dtype=np.bool_)
    return np.asarray(pc.fill_null(pc.equal(column, str(value)), False), dtype=np.bool_)


def _loads(replayed: pa.Table) -> Mapping[tuple[str, str | None], int]:
    counted = replayed.select(["tier", "pool"]).group_by(["tier", "pool"]).aggregate([([], "count_all")])
    return {(row["tier"], row["pool"]): row["count_all"] for row in counted.to_pylist()}
