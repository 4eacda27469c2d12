"""Triage: predictions in, receipts out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hitl_bridge.core.model import JSON, BatchId, ItemId, Problem
from hitl_bridge.core.triage.plan import TriagePlan

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ReceiptFile:
    """A Parquet file of receipts. It counts once its path and digest are committed in the store with its batch."""

    path: str
    sha256: str
    rows: int


class TriageEngine(Protocol):
    """Carries out the plan that `core.triage` makes over a batch of checked predictions, columnar and in bounded memory."""

    def triage(self, predictions: pa.Table, plan: TriagePlan, key: bytes) -> pa.Table:
        """Predictions in (columns: `core.triage.columns.PREDICTIONS`), receipts out (`core.triage.columns.RECEIPTS`)."""


class RuleChecker(Protocol):
    """Says beforehand whether an expression of a rule can be evaluated."""

    def problem(self, expression: str, attributes: Mapping[str, str]) -> str | None:
        """What is wrong with `expression`, given the attributes and their types; None if nothing."""


class Receipts(Protocol):
    """The receipts of all triaged predictions, immutable columnar files."""

    def write(self, batch_id: BatchId, receipts: pa.Table) -> ReceiptFile:
        """Writes one file, durable when this returns; writing the same batch again gives the same file."""

    def known(self, files: Sequence[ReceiptFile], predictions: pa.Table) -> pa.Table:
        """Of `predictions`, those with a receipt of the same item: item_id, revision, model_version and both digests."""

    def repeated(
        self, files: Sequence[ReceiptFile], hashes: Iterable[NDArray[np.uint64]], rows: int
    ) -> NDArray[np.uint64] | None:
        """Hashes (`core.macs.item_hashes`), sorted, of the items among these (in pieces, each sorted) that are there twice or
        have receipts; None if they are too many to be told."""

    def with_disagreement(self, files: Sequence[ReceiptFile], predictions: pa.Table) -> pa.Table:
        """The predictions (with `item_hash` and `revision`) and a column `disagreement`: of the models that predicted the same
        revision of the item, itself among them, the share that says something else; NULL without a label."""

    def of_item(self, files: Sequence[ReceiptFile], item_id: ItemId) -> list[Mapping[str, JSON]]:
        """Every receipt of one item, oldest first."""


@dataclass(frozen=True, slots=True)
class PredictionChunk:
    """Some rows of an input file: the good ones as a table (`core.triage.columns.PREDICTIONS`), the bad ones as problems.

    Where `whole` is there, the table lacks what only people look at, and has columns that save work (`item_hash`; digests as
    bytes; attributes in their own type): `whole` gives the rows with these numbers, in their order, with all columns.
    """

    predictions: pa.Table
    problems: tuple[Problem, ...]
    read: int
    file: str = ""
    whole: Callable[[Sequence[int]], pa.Table] | None = None
