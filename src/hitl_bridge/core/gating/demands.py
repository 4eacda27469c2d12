"""What the gate demands of a candidate by itself: no leakage, limits, and the user's own must-pass cases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hitl_bridge.core.gating.checks import CheckResult
from hitl_bridge.core.gating.policy import GatePolicy
from hitl_bridge.core.gating.report import LEAKAGE, Finding, GateTest, Leakage, PairedResults

_TOLD = 3
"""Failing checks that the reason tells of; the rest are in the table."""


def demands(results: PairedResults, policy: GatePolicy) -> Iterator[GateTest]:
    """The tests that need no champion; one for each limit that is set."""
    ours, theirs, n = results.candidate_measured, results.champion_measured, len(results.candidate)
    yield _leakage(results.leakage, n)
    if results.checks:
        yield _checks(results.checks)
    if policy.max_ece is not None:
        yield _within("calibration", "The calibration error (ECE) is {:.3f}; the limit is {:.3f}.", ours.ece, policy.max_ece, n)
    if policy.max_size_mb is not None:
        size = None if ours.size_bytes is None else ours.size_bytes / 1e6
        yield _within("size", "The model takes {:.3g} MB; the limit is {:.3g} MB.", size, policy.max_size_mb, n)
    if policy.max_latency_ms is not None:
        told = "An item takes {:.3g} ms by itself; the limit is {:.3g} ms."
        yield _within("latency", told, ours.latency_ms, policy.max_latency_ms, n)
    if policy.max_slower is not None and theirs.latency_ms:
        times = None if ours.latency_ms is None else ours.latency_ms / theirs.latency_ms
        told = "An item takes {:.3g} times as long as with the champion; the limit is {:.3g}."
        yield _within("latency against the champion", told, times, policy.max_slower, n)


def _leakage(leakage: Leakage, n: int) -> GateTest:
    by = ", ".join(name.replace("_", " ") for name in leakage.shared) or "nothing"
    leaks = sum(leakage.shared.values())
    if leaks:
        reason = f"{leaks} holdout items were trained on (compared by {by}): the figures mean nothing. Run `dvc repro` again."
        return GateTest(LEAKAGE, Finding.FAILED, reason, n)
    if not leakage.shared:
        return GateTest(LEAKAGE, Finding.UNCLEAR, "There is no proof that no holdout item was trained on.", n)
    return GateTest(LEAKAGE, Finding.PASSED, f"No holdout item was trained on (compared by {by}).", n)


def _within(name: str, told: str, value: float | None, limit: float, n: int) -> GateTest:
    if value is None:
        return GateTest(name, Finding.UNCLEAR, f"The {name} could not be measured.", n, threshold=limit)
    finding = Finding.PASSED if value <= limit else Finding.FAILED
    return GateTest(name, finding, told.format(value, limit), n, threshold=limit)


def _checks(checks: Sequence[CheckResult]) -> GateTest:
    cases, failed = sum(check.cases for check in checks), [check for check in checks if not check.passed]
    if not failed:
        return GateTest("checks", Finding.PASSED, f"All {len(checks)} checks of your own pass ({cases} cases).", cases)
    told = "; ".join(check.told() for check in failed[:_TOLD])
    more = f"; and {len(failed) - _TOLD} more" if len(failed) > _TOLD else ""
    return GateTest("checks", Finding.FAILED, f"{len(failed)} of {len(checks)} checks of your own fail: {told}{more}.", cases)
