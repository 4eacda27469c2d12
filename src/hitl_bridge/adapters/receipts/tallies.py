"""Receipts counted where they lie: for lots, drift and recalls."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from hitl_bridge.core.audits.lots import Lot
from hitl_bridge.core.model import Purpose
from hitl_bridge.errors import RefusedForSafety
from hitl_bridge.ports import DrawnReceipt, ReceiptFile, ReceiptGroup, Released

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_REMEDY = "Restore the file from a backup: what audits say of the rest would mislead."
_MEMORY = "1GB"
"""What DuckDB may take; the rest is spilled to disk."""


class ParquetTallies:
    """Implements `ports.ReceiptTallies` over the files that `adapters.receipts.files` writes into `folder`.

    Args:
        auto_tier: the tier that needs no person; None if there is none.
    """

    def __init__(self, folder: Path, auto_tier: str | None) -> None:
        self._folder = folder
        self._auto_tier = auto_tier

    def groups(self, file: ReceiptFile) -> list[ReceiptGroup]:
        query = """SELECT model_version, policy_version, scenario, uniform_rate, audit_rate,
            count(*) FILTER (approved), coalesce(sum(risk) FILTER (approved), 0.0),
            count(*) FILTER (NOT approved), coalesce(sum(risk) FILTER (NOT approved), 0.0)
            FROM receipts GROUP BY ALL ORDER BY ALL"""
        with self._reading([file]) as connection:
            return [ReceiptGroup(*row) for row in connection.execute(query).fetchall()]

    def drawn(self, file: ReceiptFile) -> list[DrawnReceipt]:
        query = """SELECT item_id, revision, model_version, policy_version, scenario, uniform_rate, audit_rate, risk, approved,
            output FROM receipts WHERE purpose IN ($audit, $uniform) ORDER BY item_id, revision, model_version"""
        purposes = {"audit": Purpose.AUDIT.value, "uniform": Purpose.UNIFORM.value}
        with self._reading([file]) as connection:
            rows = connection.execute(query, purposes).fetchall()
        return [DrawnReceipt(**_named(DrawnReceipt, row)) for row in rows]

    def confidences(self, files: Sequence[ReceiptFile], model_version: str, most: int) -> NDArray[np.float64]:
        import numpy as np

        found: NDArray[np.float64] = np.zeros(0)
        query = "SELECT confidence FROM receipts WHERE model_version = $version AND confidence IS NOT NULL LIMIT $most"
        for file in files:
            if len(found) < most:
                with self._reading([file]) as connection:
                    asked = {"version": model_version, "most": most - len(found)}
                    rows = connection.execute(query, asked).fetchnumpy()["confidence"]
                found = np.concatenate([found, np.asarray(rows, dtype=np.float64)])
        return found

    def unsure(self, file: ReceiptFile, below: Mapping[str, float]) -> Mapping[str, tuple[int, int]]:
        if not below:
            return {}
        cases = " ".join("WHEN ? THEN ?" for _ in below)
        values = [value for pair in below.items() for value in pair]
        query = f"""SELECT model_version, count(*), count(*) FILTER (confidence < limit_) FROM (
            SELECT model_version, confidence, CASE model_version {cases} END AS limit_ FROM receipts)
            WHERE limit_ IS NOT NULL GROUP BY model_version"""  # noqa: S608 (only question marks)
        with self._reading([file]) as connection:
            return {version: (items, low) for version, items, low in connection.execute(query, values).fetchall()}

    def released(self, files: Sequence[ReceiptFile], lot: Lot) -> Iterator[Released]:
        query = """SELECT item_id, revision, model_version, scenario, risk, output FROM receipts
            WHERE model_version = $model AND policy_version = $policy AND approved AND purpose IS NULL
            ORDER BY risk DESC, item_id, revision"""
        for file in files:
            with self._reading([file]) as connection:
                found = connection.execute(query, {"model": lot.model_version, "policy": lot.policy_version})
                while rows := found.fetchmany(10_000):
                    yield from (Released(**_named(Released, row)) for row in rows)

    @contextmanager
    def _reading(self, files: Sequence[ReceiptFile]) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection in which `receipts` is all the rows of these files, with `approved`: in the tier that nobody sees."""
        paths = [str(self._folder / file.path) for file in files]
        with duckdb.connect(":memory:", config={"memory_limit": _MEMORY, "threads": 2}) as connection:
            try:
                source = connection.read_parquet(paths, union_by_name=True)
                tier = "false" if self._auto_tier is None else "tier = '" + self._auto_tier.replace("'", "''") + "'"
                source.project(f"*, {tier} AS approved").create_view("receipts")
                yield connection
            except (duckdb.IOException, duckdb.InvalidInputException) as error:
                raise RefusedForSafety(
                    f"The receipts in {Path(paths[0]).name} can't be read: {str(error).splitlines()[0]}", remedy=_REMEDY
                ) from None


def _named(kind: type[DrawnReceipt | Released], row: Sequence[Any]) -> dict[str, Any]:
    """A row by the names of the fields, in whose order it was asked for; the last is JSON."""
    return dict(zip(kind.__slots__, [*row[:-1], json.loads(row[-1])], strict=True))
