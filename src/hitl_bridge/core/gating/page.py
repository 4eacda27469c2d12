"""The verdict as a page to read beside the code review of a retraining (Markdown)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from hitl_bridge.core.gating.checks import CheckResult
from hitl_bridge.core.gating.report import LEAKAGE, Finding, GateReport, GateTest, PairedResults, SliceRow
from hitl_bridge.core.model import JSON

_WORDS = {
    Finding.PASSED: "passed",
    Finding.FAILED: "**FAILED**",
    Finding.UNCLEAR: "**unclear**",
    Finding.NOT_TESTED: "not tested",
}
_TESTS = ("test", "finding", "items", "won", "lost", "difference", "p", "could have seen", "items needed")
_SLICES = ("by", "slice", "finding", "items", "won", "lost", "candidate", "champion", "p")
_CHECKS = ("check", "kind", "finding", "cases", "fail", "with the champion")
_MOST_SLICES = 20


def page(report: GateReport, results: PairedResults, leakage: Mapping[str, JSON]) -> str:
    """The verdict with its reasons, the table of tests, the slices that lost most, the checks and the proof of no leakage."""
    parts = [
        f"# {report.verdict.value}: {report.candidate_version}",
        _told(report),
        "\n".join(f"- {reason}" for reason in report.reasons),
        "## Tests",
        _table(_TESTS, _tests(report.tests)),
    ]
    if report.slices:
        parts += ["## Slices", _slices_told(report.slices), _table(_SLICES, _slices(report.slices))]
    if results.checks:
        parts += ["## Checks of your own", _table(_CHECKS, _checks(results.checks))]
    proven = next((test.reason for test in report.tests if test.name == LEAKAGE), "")
    parts += ["## Leakage", proven, "\n".join(_proof(leakage))]
    return "\n\n".join(parts) + "\n"


def _told(report: GateReport) -> str:
    against = f" against {report.champion_version}" if report.champion_version else ", the first model"
    told = f"{report.candidate_version}{against}, on {report.n} held-out items."
    if report.negative_flips is None:
        return told
    return f"{told} {report.negative_flips:.1%} of them the champion has right and the candidate wrong."


def _tests(tests: Sequence[GateTest]) -> Iterator[Sequence[object]]:
    for test in tests:
        compared = test.difference is not None
        yield (
            test.name,
            _WORDS[test.finding],
            test.n,
            test.wins if compared else None,
            test.losses if compared else None,
            None if test.difference is None else f"{test.difference:+.1%}",
            None if test.p_value is None else f"{test.p_value:.4f}",
            None if test.smallest_visible is None else f"{test.smallest_visible:.1%}",
            test.items_needed,
        )


def _slices_told(rows: Sequence[SliceRow]) -> str:
    shown = f", the {_MOST_SLICES} that lost most" if len(rows) > _MOST_SLICES else ""
    return f"{len(rows)} slices{shown}. All of them are in `verdict.json`."


def _slices(rows: Sequence[SliceRow]) -> Iterator[Sequence[object]]:
    for row in sorted(rows, key=lambda row: (row.p_value is None, row.p_value, row.slice))[:_MOST_SLICES]:
        p_value = None if row.p_value is None else f"{row.p_value:.4f}"
        shares = f"{row.candidate_accuracy:.1%}", f"{row.reference_accuracy:.1%}"
        yield row.kind, row.slice, _WORDS[row.finding], row.n, row.wins, row.losses, *shares, p_value


def _checks(checks: Sequence[CheckResult]) -> Iterator[Sequence[object]]:
    for each in checks:
        finding = "passed" if each.passed else "**FAILED**"
        yield each.name, each.kind.value, finding, each.cases, each.failed, each.champion_failed


def _proof(leakage: Mapping[str, JSON]) -> Iterator[str]:
    """Counts and digests as `prepare` wrote them, one a line."""
    for name, value in leakage.items():
        told = ", ".join(f"{key}: {_plain(each)}" for key, each in value.items()) if isinstance(value, Mapping) else str(value)
        yield f"- {name.replace('_', ' ')}: {told or 'none'}"


def _plain(value: JSON) -> str:
    return ", ".join(f"{key} {each}" for key, each in value.items()) if isinstance(value, Mapping) else str(value)


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(_cell(each) for each in line)} |" for line in lines)


def _cell(value: object) -> str:
    return "" if value is None else str(value).replace("|", "\\|").replace("\n", " ")
