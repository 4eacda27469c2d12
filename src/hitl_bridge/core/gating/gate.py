"""May the candidate replace the champion? All tests together, and a verdict with its reasons. A person still signs off."""

from __future__ import annotations

from hitl_bridge.core.gating.comparison import Comparison, above_floor, compare
from hitl_bridge.core.gating.demands import demands
from hitl_bridge.core.gating.policy import GatePolicy
from hitl_bridge.core.gating.report import Finding, GateReport, GateTest, PairedResults
from hitl_bridge.core.model import Verdict


def judge(results: PairedResults, policy: GatePolicy) -> GateReport:
    """The verdict: `hold` if a test failed, `unverified` if one could not tell, else `promote`."""
    compared = _compared(results, policy)
    tests = (*demands(results, policy), *compared.tests)
    verdict, telling = _verdict(tests)
    return GateReport(
        verdict=verdict,
        reasons=tuple(test.reason for test in tests if test.finding is telling),
        tests=tests,
        slices=compared.slices,
        candidate_version=results.candidate_version,
        champion_version=results.champion_version,
        n=len(results.candidate),
        negative_flips=_negative_flips(results),
    )


def _verdict(tests: tuple[GateTest, ...]) -> tuple[Verdict, Finding]:
    findings = {test.finding for test in tests}
    if Finding.FAILED in findings:
        return Verdict.HOLD, Finding.FAILED
    if Finding.UNCLEAR in findings:
        return Verdict.UNVERIFIED, Finding.UNCLEAR
    return Verdict.PROMOTE, Finding.PASSED


def _compared(results: PairedResults, policy: GatePolicy) -> Comparison:
    if results.champion_version is None:
        return Comparison((above_floor(results, policy),))
    if results.champion_version == results.candidate_version:
        reason = f"{results.candidate_version} is the champion already: there is nothing to promote."
        return Comparison((GateTest("difference", Finding.FAILED, reason, len(results.candidate)),))
    return compare(results, policy)


def _negative_flips(results: PairedResults) -> float | None:
    if not len(results.champion):
        return None
    lost = sum(was and not is_now for was, is_now in zip(results.champion, results.candidate, strict=True))
    return lost / len(results.champion)
