"""A plan as a picture: an SVG of its own, which loads nothing and in which every text from data is escaped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from hitl_bridge.core.planning.forecast import Range
from hitl_bridge.core.planning.planned import UNKNOWN, PlannedPolicy, PlanResult, told

_WIDE, _LEFT, _RIGHT = 760, 190, 170
_ROW, _HEAD = 26, 34
_INKS = ("#1f4e79", "#b35900")
_LONGEST_NAME = 28


@dataclass(frozen=True, slots=True)
class _Panel:
    """One figure of all policies, on a scale of its own."""

    title: str
    ranges: Sequence[Range | None]
    percent: bool = False


def plan_chart(plan: PlanResult) -> str:
    """The text of an SVG file: a panel a figure; in each a row a policy, a bar from the low to the high end of its range and a
    mark at what is expected."""
    panels = _panels(plan)
    rows = len(plan.policies)
    high = 60 + len(panels) * (_HEAD + rows * _ROW)
    title = f"Plan for {plan.unit}: expected, and the {plan.level:.0%} range"
    body = [_text(16, 28, title, size=16, weight="bold")]
    top = 50
    for panel in panels:
        body += _drawn(panel, [policy.name for policy in plan.policies], top)
        top += _HEAD + rows * _ROW
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDE} {high}" width="{_WIDE}" height="{high}" role="img" '
        f'aria-label={quoteattr(title)} font-family="sans-serif">\n<rect width="100%" height="100%" fill="white"/>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def _panels(plan: PlanResult) -> list[_Panel]:
    def of(figure: Callable[[PlannedPolicy], Range | None]) -> list[Range | None]:
        return [figure(policy) for policy in plan.policies]

    return [
        _Panel("Reviews", of(lambda each: each.reviews)),
        _Panel("Hours of review", of(lambda each: each.hours)),
        _Panel("Errors let through", of(lambda each: each.escaped)),
        _Panel("Errors let through, share of all items", of(lambda each: each.escaped_share), percent=True),
        _Panel("Errors caught", of(lambda each: each.caught)),
        _Panel("Reviews for each error caught", of(lambda each: each.reviews_per_caught)),
        _Panel("Deadlines missed a day", of(lambda each: each.deadlines.a_day if each.deadlines else None)),
    ]


def _drawn(panel: _Panel, names: Sequence[str], top: int) -> list[str]:
    most = max((each.high for each in panel.ranges if each is not None), default=0.0) or 1.0
    parts = [_text(16, top + 18, panel.title, size=13, weight="bold")]
    for at, (name, found) in enumerate(zip(names, panel.ranges, strict=True)):
        middle = top + _HEAD + at * _ROW
        parts.append(_text(_LEFT - 10, middle + 4, _short(name), anchor="end"))
        parts += [] if found is None else _bar(found, most, middle, _INKS[at % len(_INKS)])
        parts.append(_text(_WIDE - _RIGHT + 10, middle + 4, UNKNOWN if found is None else told(found, percent=panel.percent)))
    return parts


def _bar(found: Range, most: float, middle: int, ink: str) -> list[str]:
    def across(value: float) -> float:
        return round(_LEFT + (_WIDE - _LEFT - _RIGHT) * min(1.0, max(0.0, value / most)), 1)

    low, high, expected = across(found.low), across(found.high), across(found.expected)
    width = max(1.0, round(high - low, 1))
    return [
        f'<line x1="{_LEFT}" y1="{middle}" x2="{_WIDE - _RIGHT}" y2="{middle}" stroke="#ddd"/>',
        f'<rect x="{low}" y="{middle - 6}" width="{width}" height="12" fill="{ink}" fill-opacity="0.35"/>',
        f'<rect x="{expected - 1.5}" y="{middle - 9}" width="3" height="18" fill="{ink}"/>',
    ]


def _text(x: int, y: int, text: str, *, size: int = 12, weight: str = "normal", anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}">{escape(text)}</text>'


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
