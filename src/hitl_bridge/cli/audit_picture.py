"""The audit report for people: tables, and each interval as a small picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hitl_bridge.cli.render import console, facts, grid

if TYPE_CHECKING:
    from hitl_bridge.core.audits.audited import AutoError
    from hitl_bridge.services.audits.audit_report import AuditPicture, DriftLine, LotLine

_WIDTH = 32
_HEADS = ("items", "audits", "wrong", "error", "interval")


def show_picture(picture: AuditPicture) -> None:
    top = _top(picture)
    facts(f"What audits tell, {picture.confidence:.0%} sure at every look", _overall(picture))
    if picture.scenarios:
        rows = [(line.scenario or "–", *_cells(line.error), drawn(line.error, None, top)) for line in picture.scenarios]
        grid(
            "The auto tier's error by scenario",
            ("scenario", *_HEADS, f"0 … {_share(top)}"),
            rows,
            spare=1,
        )
    if picture.lots:
        heads = ("lot", "model", "verdict", *_HEADS, f"0 … {_share(top)}  (¦ budget)")
        grid("Lots", heads, [_lot(line, top) for line in picture.lots], spare=1)
        _tell(picture.lots)
    if picture.drift:
        columns = ("model", "unsure usually", "unsure at the last look", "chance of that", "")
        grid("Drift: items in which the model is unsure", columns, [_drift(line) for line in picture.drift])
    if picture.raised is not None:
        said = f"The audit rate is raised to {picture.audit_rate:.1%}: {picture.raised.reason}."
        console().print(f"{said}\nAfter looking into it: hitl-bridge audit lower-rate --reason …", markup=False)


def _overall(picture: AuditPicture) -> dict[str, object]:
    error, accuracy = picture.overall, picture.accuracy
    looks = f"{error.audits:,} blind looks at {error.items:,} approved items: {error.wrong:,} wrong, {error.waiting:,} waiting"
    return {
        "auto tier's error": f"{_estimate(error.value)}, between {_share(error.low)} and {_share(error.high)}",
        "from": looks,
        **({"not measured": f"{error.unmeasured:,} approved items that could not be drawn"} if error.unmeasured else {}),
        "whole traffic's accuracy": "too few blind looks yet"
        if accuracy is None
        else f"{accuracy.value:.1%}, between {accuracy.low:.1%} and {accuracy.high:.1%} ({accuracy.looks:,} blind looks)",
        "reviewers' own errors": picture.reviewers.says,
        "audit rate": f"{picture.audit_rate:.1%}",
    }


def _lot(line: LotLine, top: float) -> tuple[object, ...]:
    state = "measured" if line.verdict is None else str(line.verdict)
    verdict = state if line.closed else f"{state}, open"
    return (line.lot.lot_id, line.lot.model_version, verdict, *_cells(line.error), drawn(line.error, line.budget, top))


def _tell(lots: Sequence[LotLine]) -> None:
    for line in lots:
        if line.recalled_at is not None:
            told = f", told to the webhook {line.delivered_at:%Y-%m-%d %H:%M}" if line.delivered_at else ""
            console().print(f"{line.lot.lot_id} is held{told}. Next: hitl-bridge recall {line.lot.lot_id}", markup=False)
        elif line.further_audits is not None:
            console().print(f"{line.lot.lot_id}: about {line.further_audits:,} audits more would settle it.", markup=False)
        elif line.budget is None:
            console().print(f"{line.lot.lot_id} is not judged: name triage.error_budget or audit.lot_budget.", markup=False)


def _drift(line: DriftLine) -> tuple[object, ...]:
    last = None if line.last is None else f"{line.last:.1%} of {line.last_items:,}"
    chance = None if line.p_value is None else f"{line.p_value:.2g}"
    return line.model_version, f"{line.usual:.1%} of {line.reference_items:,}", last, chance, "ALARM" if line.alarm else ""


def _cells(error: AutoError) -> tuple[object, ...]:
    interval = f"{_share(error.low)} – {_share(error.high)}"
    return f"{error.items:,}", f"{error.audits:,}", f"{error.wrong:,}", _estimate(error.value), interval


def drawn(error: AutoError, budget: float | None, top: float) -> str:
    """`··──●───····¦··`: the interval, the estimate in it, and the budget."""
    line = ["·"] * _WIDTH
    for place in range(_place(error.low, top), _place(error.high, top) + 1):
        line[place] = "─"
    if budget is not None and budget <= top:
        line[_place(budget, top)] = "¦"
    if error.value is not None:
        line[_place(error.value, top)] = "●"
    return "".join(line)


def _place(share: float, top: float) -> int:
    return min(_WIDTH - 1, int(share / top * (_WIDTH - 1) + 0.5))


def _top(picture: AuditPicture) -> float:
    """The right end of all pictures, so that they can be compared: twice the largest number that matters."""
    errors = [picture.overall, *(line.error for line in picture.scenarios), *(line.error for line in picture.lots)]
    seen = [each.value for each in errors if each.value is not None] + [line.budget or 0.0 for line in picture.lots]
    return min(1.0, max(0.01, 2 * max(seen, default=0.0)))


def _estimate(value: float | None) -> str:
    return "–" if value is None else _share(value)


def _share(value: float) -> str:
    return f"{value:.2%}" if value < 0.1 else f"{value:.1%}"
