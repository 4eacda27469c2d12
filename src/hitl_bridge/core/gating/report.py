"""What the gate is shown, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from hitl_bridge.core.gating.checks import CheckResult
from hitl_bridge.core.model import Verdict

LEAKAGE = "leakage"
"""The name of the test that cites the proof of no leakage."""


class Finding(StrEnum):
    """UNCLEAR: there were too few items to tell. NOT_TESTED: nothing to test, and nothing demanded."""

    PASSED = "passed"
    FAILED = "failed"
    UNCLEAR = "unclear"
    NOT_TESTED = "not_tested"


@dataclass(frozen=True, slots=True)
class Measured:
    """What else was measured of a model; None where it was not. `latency_ms` is the median time of a single item."""

    ece: float | None = None
    latency_ms: float | None = None
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Leakage:
    """The proof that the candidate was not trained on what measures it: how many holdout items share something with a
    training item, by what they share (`item_id`, `group`, `input` …). All must be 0."""

    shared: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PairedResults:
    """Both models on the same holdout: whether each was right, item by item and in parallel.

    `champion` is empty while there is none. `floor` is how always answering the commonest label would have done.
    `named` are the edge cases that no model chose: named by a rule or in the base data. `slices` holds for each way of
    cutting (`scenario`, `label`) the slice of each item, or None; or all its slices, where it can belong to several.
    """

    candidate_version: str
    champion_version: str | None
    candidate: Sequence[bool]
    champion: Sequence[bool]
    floor: Sequence[bool]
    named: Sequence[bool]
    candidate_confidence: Sequence[float] = ()
    champion_confidence: Sequence[float] = ()
    slices: Mapping[str, Sequence[str | Sequence[str] | None]] = field(default_factory=dict)
    candidate_measured: Measured = Measured()
    champion_measured: Measured = Measured()
    leakage: Leakage = Leakage()
    checks: Sequence[CheckResult] = ()


@dataclass(frozen=True, slots=True)
class GateTest:
    """One test with its figures. `difference` is candidate − reference in accuracy; `wins` and `losses` are the pairs
    that only the candidate, or only the reference, got right. `smallest_visible` is the smallest change that the test
    could have seen with so many items; `items_needed` says how many would have been enough, where they were not."""

    name: str
    finding: Finding
    reason: str
    n: int
    candidate_accuracy: float | None = None
    reference_accuracy: float | None = None
    difference: float | None = None
    wins: int = 0
    losses: int = 0
    lower_bound: float | None = None
    p_value: float | None = None
    threshold: float | None = None
    smallest_visible: float | None = None
    items_needed: int | None = None


@dataclass(frozen=True, slots=True)
class SliceRow:
    """One slice in the table: as in GateTest. `kind` says by what the holdout was cut."""

    kind: str
    slice: str
    finding: Finding
    n: int
    candidate_accuracy: float
    reference_accuracy: float
    wins: int
    losses: int
    p_value: float | None = None
    smallest_visible: float | None = None


@dataclass(frozen=True, slots=True)
class GateReport:
    """The verdict, its reasons as sentences, and every test behind it. `negative_flips` is a share of all items: right
    before, wrong now (Yan et al. 2021, CVPR)."""

    verdict: Verdict
    reasons: tuple[str, ...]
    tests: tuple[GateTest, ...]
    slices: tuple[SliceRow, ...]
    candidate_version: str
    champion_version: str | None
    n: int
    negative_flips: float | None
