"""What a policy would cost, before it is in force."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hitl_bridge.cli.options import Json, open_workspace
from hitl_bridge.cli.render import console, facts, grid, print_json, progress
from hitl_bridge.errors import UsageError

if TYPE_CHECKING:
    from hitl_bridge.core.planning.planned import BudgetOutlook, PlanResult

_MOST_DAYS = 366


def plan(
    context: typer.Context,
    policy: Annotated[
        Path | None, typer.Option("--policy", metavar="FILE", help="Another hitl.yaml, to see beside today's policy.")
    ] = None,
    days: Annotated[
        int, typer.Option("--days", metavar="N", min=1, max=_MOST_DAYS, help="Plan for so many days; figures are a day's.")
    ] = 7,
    items: Annotated[
        int | None, typer.Option("--items", metavar="N", min=1, help="Plan for the next so many items instead.")
    ] = None,
    hours_a_day: Annotated[
        float | None,
        typer.Option("--hours-a-day", metavar="N", min=0.1, help="Hours that all reviewers together have; else as was worked."),
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="The model version to look at; else the newest.")] = None,
    last: Annotated[int | None, typer.Option("--last", metavar="N", min=1, help="Only the last so many recorded days.")] = None,
    chart: Annotated[Path | None, typer.Option("--chart", metavar="FILE.svg", help="Draw the figures into this file.")] = None,
    as_json: Json = False,
) -> None:
    """Say what policies would ask of reviewers and let through, from what was recorded."""
    from hitl_bridge.services.policy.plan import PlanWish

    if chart is not None and chart.suffix != ".svg":
        raise UsageError(f"{chart} is no name for a chart.", remedy="End it in .svg.")
    wish = PlanWish(days, items, hours_a_day, model, last)
    with open_workspace(context) as bridge, progress("Replaying", hidden=as_json) as advance:
        found = bridge.plan(policy, wish, progress=advance)
    if chart is not None:
        _draw(found, chart)
    if as_json:
        print_json(found)
    else:
        _show(found, chart)


def _draw(found: PlanResult, chart: Path) -> None:
    from hitl_bridge.core.planning.plan_chart import plan_chart

    try:
        chart.write_text(plan_chart(found), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{chart} can't be written: {error.strerror}.", remedy="Name a file in a folder of yours.") from None


def _show(found: PlanResult, chart: Path | None) -> None:
    from hitl_bridge.core.planning.planned import lines_of

    recorded = found.recorded
    facts(
        f"Plan for {found.unit}",
        {
            "from": f"{recorded.predictions:,} predictions of {recorded.model_version}, {recorded.since} to {recorded.until}",
            "a day": f"{recorded.items_a_day:,.0f} items",
            **({"error budget": _budget(found.budget)} if found.budget else {}),
            **({"chart": chart} if chart else {}),
        },
    )
    heads = ("", *(policy.name for policy in found.policies))
    grid(f"Expected, and the {found.level:.0%} range", heads, [(line.says, *line.values) for line in lines_of(found)])
    for note in found.notes:
        console().print(f"• {note}", markup=False)


def _budget(ahead: BudgetOutlook) -> str:
    promise = f"{100 * ahead.share:g} % at {100 * ahead.confidence:g} % confidence"
    if ahead.needed is None:
        return f"{promise}: no number of labels would do; the model errs too often where it is surest"
    if not ahead.more:
        return f"{promise}: {ahead.labels:,} labels, which is enough (hitl-bridge thresholds)"
    days = "no uniform stream is drawn" if ahead.days is None else f"about {ahead.days:,.0f} days of the uniform stream"
    return f"{promise}: not yet, {ahead.more:,} more labels needed beside {ahead.labels:,} ({days})"
