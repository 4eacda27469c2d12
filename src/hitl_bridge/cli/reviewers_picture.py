"""The reviewers' report for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hitl_bridge.cli.render import console, facts, grid

if TYPE_CHECKING:
    from hitl_bridge.core.review.records import AgreementLine, ReviewerLine
    from hitl_bridge.services.desk.agreement import ReviewersReport

_HEADS = ("answers", "keep what is filled in", "median time", "right on gold", "taken because shown")


def tell_reviewers(report: ReviewersReport) -> None:
    """Tables, then what somebody should look at."""
    facts("All reviewers", dict(zip(_HEADS, _cells(report.everybody), strict=True)) | {"gold items": report.gold})
    if report.reviewers:
        grid("By reviewer", ("reviewer", *_HEADS), [(line.name, *_cells(line)) for line in report.reviewers])
    if report.learning:
        learners = [(each.reviewer, each.pool, f"{each.right} of {each.answered}", each.needed) for each in report.learning]
        grid("Learning: their answers do not count yet", ("reviewer", "pool", "right at once", "needed"), learners)
    if report.scenarios:
        grid("By scenario", ("scenario", *_HEADS), [(line.name, *_cells(line)) for line in report.scenarios])
    _agreement("Agreement by project", "project", report.projects)
    _agreement("Agreement by scenario", "scenario", report.agreement if len(report.agreement) > 1 else ())
    _agreement("Agreement by pair", "pair", report.pairs)
    for notice in report.notices:
        console().print(f"Look at this: {notice}.", markup=False)


def _cells(line: ReviewerLine) -> tuple[object, ...]:
    kept = "–" if line.kept is None else f"{line.kept:.0%} of {line.shown}"
    seconds = "–" if line.seconds is None else f"{line.seconds:.0f} s"
    return line.answers, kept, seconds, _right(line), _excess(line)


def _right(line: ReviewerLine) -> str:
    if line.accuracy is None:
        return "–"
    return f"{line.right} of {line.gold} ({line.accuracy.low:.0%} to {line.accuracy.high:.0%})"


def _excess(line: ReviewerLine) -> str:
    seen = line.anchoring
    if seen.excess is None:
        return "–"
    return f"{seen.excess:+.0%} ({seen.low:+.0%} to {seen.high:+.0%})"


def _agreement(title: str, head: str, lines: Sequence[AgreementLine]) -> None:
    rows = [
        (
            line.name,
            line.items,
            "–" if line.alpha is None else f"{line.alpha:.2f}",
            *([f"{line.share:.0%}"] if head == "pair" else []),
        )
        for line in lines
        if line.items
    ]
    if rows:
        grid(title, (head, "common items", "alpha", *(["the same"] if head == "pair" else [])), rows)
