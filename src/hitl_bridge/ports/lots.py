"""Lots, their audits, drift, and what was called back: what the store keeps of them, and what receipts tell."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from hitl_bridge.core.audits.audited import Stratum
from hitl_bridge.core.audits.drift import DriftLook, Reference
from hitl_bridge.core.audits.lots import Lot, LotVerdict
from hitl_bridge.core.model import ItemId, JSONObject
from hitl_bridge.ports.triage import ReceiptFile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


CEILING = "hand_set_lowered_to"
"""Of the figures of a verdict: to what it lowered a threshold that was set by hand; `settings_version` says in which settings."""


@dataclass(frozen=True, slots=True)
class UncountedFile:
    """A file of receipts that was not counted yet; `number` is in the order in which files were committed."""

    number: int
    file: ReceiptFile
    received_at: datetime


@dataclass(frozen=True, slots=True)
class ReceiptGroup:
    """Receipts of one file that were treated alike: their number and the sum of their risks, approved without a look or not."""

    model_version: str
    policy_version: str
    scenario: str | None
    uniform_rate: float
    audit_rate: float
    approved: int
    approved_risk: float
    other: int
    other_risk: float


@dataclass(frozen=True, slots=True)
class DrawnReceipt:
    """A receipt that was drawn to be looked at blind, as an audit or for the uniform stream."""

    item_id: ItemId
    revision: int
    model_version: str
    policy_version: str
    scenario: str | None
    uniform_rate: float
    audit_rate: float
    risk: float
    approved: bool
    output: JSONObject


@dataclass(frozen=True, slots=True)
class Released:
    """An item that was approved without a look, and that nobody has seen."""

    item_id: ItemId
    revision: int
    model_version: str
    scenario: str | None
    risk: float
    output: JSONObject


class ReceiptTallies(Protocol):
    """What files of receipts say, counted where they lie. Raises RefusedForSafety where a file is missing or damaged."""

    def groups(self, file: ReceiptFile) -> list[ReceiptGroup]: ...
    def drawn(self, file: ReceiptFile) -> list[DrawnReceipt]: ...
    def confidences(self, files: Sequence[ReceiptFile], model_version: str, most: int) -> NDArray[np.float64]:
        """Of the model's first `most` receipts in these files."""

    def unsure(self, file: ReceiptFile, below: Mapping[str, float]) -> Mapping[str, tuple[int, int]]:
        """For each of these model versions how many receipts there are, and how many with a confidence below that number."""

    def released(self, files: Sequence[ReceiptFile], lot: Lot) -> Iterator[Released]:
        """Items of the lot, the riskiest of each file first."""


@dataclass(frozen=True, slots=True)
class CountedFile:
    """What one file brought: to which lot each group and each drawn receipt belongs, and how many were unsure by model."""

    number: int
    groups: Sequence[tuple[Lot, ReceiptGroup]]
    drawn: Sequence[tuple[Lot, DrawnReceipt]]
    unsure: Mapping[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class LotPart:
    """The approved items of a lot in one scenario that were drawn with the same probability, and what became of those drawn;
    `traffic` are all its items, approved or not."""

    lot_id: str
    scenario: str | None
    stratum: Stratum
    traffic: int


@dataclass(frozen=True, slots=True)
class LotRow:
    """A verdict on a lot and the figures behind it. Rows are added when the verdict changes."""

    lot: Lot
    verdict: LotVerdict
    figures: JSONObject
    at: datetime


@dataclass(frozen=True, slots=True)
class Recall:
    """The released items of a held lot are to be called back. `delivered_at` None: the webhook has not taken it yet."""

    lot_id: str
    at: datetime
    delivered_at: datetime | None
    tries: int


@dataclass(frozen=True, slots=True)
class RaisedRate:
    """The audit rate that is in force in place of the settings' own, since when and why; `rate` None: the settings' is again."""

    rate: float | None
    reason: str
    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class DriftState:
    """Where watching a model stands: its reference, the items counted since the last look, and that look."""

    model_version: str
    reference: Reference
    since: int
    since_low: int
    last: DriftLook | None
    last_at: datetime | None


@dataclass(frozen=True, slots=True)
class Blind:
    """Blind looks that are decided: the model was `right`, and so often the first answer had said otherwise (`alarms`)."""

    right: int
    alarms: int


@dataclass(frozen=True, slots=True)
class LookedAt:
    """All blind looks that are decided, for the whole traffic: an entry each; and the traffic that they are drawn from."""

    probability: Sequence[float]
    risk: Sequence[float]
    wrong: Sequence[bool]
    items: int
    total_risk: float
    waiting: int


class LotStore(Protocol):
    """Every verdict, recall and change of the audit rate comes with its event in the audit log, in one transaction."""

    def uncounted(self, most: int) -> list[UncountedFile]:
        """The first so many, in the order in which they were committed; cheap."""

    def files_of(self, lot: Lot) -> list[ReceiptFile]:
        """The files that came in during the lot's period."""

    def files_with(self, model_version: str, most: int) -> list[ReceiptFile]:
        """The first counted files with receipts of the model since a person last lowered the audit rate."""

    def record_counts(self, counted: CountedFile) -> None:
        """Once a file; the same again changes nothing."""

    def mark(self) -> str:
        """Changes when a file was counted or something was settled; cheap."""

    def lots(self) -> list[Lot]:
        """All that have items, oldest first."""

    def parts(self, lot_ids: Collection[str] | None = None) -> list[LotPart]:
        """Of these lots; of all if None."""

    def verdicts(self) -> Mapping[str, LotRow]:
        """The newest of each lot."""

    def risks_of(self, lot_id: str) -> list[tuple[float, bool]]:
        """Of the lot's approved and drawn items, by rising risk: the risk, and whether it is not known to be right."""

    def record_verdict(self, row: LotRow, *, recall: bool) -> None:
        """With `recall` its released items are to be called back."""

    def ceilings(self, settings_version: str) -> Mapping[str, float]:
        """By model version, to what held lots have lowered the threshold that these settings set by hand."""

    def newest(self) -> str:
        """Changes with a new verdict and with a new audit rate; cheap."""

    def recalls(self) -> list[Recall]: ...
    def record_try(self, lot_id: str, at: datetime, *, delivered: bool) -> None: ...
    def blind(self) -> Blind: ...
    def looked_at(self) -> LookedAt: ...

    # drift
    def drift(self) -> Mapping[str, DriftState]:
        """By model version, those that have a reference."""

    def record_reference(self, model_version: str, reference: Reference, at: datetime) -> None: ...
    def record_look(self, model_version: str, look: DriftLook, raised: RaisedRate | None, at: datetime) -> None:
        """The counts since the last look are looked at; with `raised` the audit rate is another from now on."""

    def audit_rate(self) -> RaisedRate | None:
        """The newest row."""

    def lower_audit_rate(self, row: RaisedRate) -> None:
        """A person has looked: the settings' rate is in force again, and what comes now is the new reference."""
