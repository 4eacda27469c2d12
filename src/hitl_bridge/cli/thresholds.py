"""Thresholds from the error budget: what is in force, what the judged items say, and who lets more through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hitl_bridge.cli.options import DryRun, Json, open_workspace
from hitl_bridge.cli.render import console, facts, grid, plain, print_json
from hitl_bridge.core.model import JSON

if TYPE_CHECKING:
    from hitl_bridge.core.budget.calibrating import Reliability
    from hitl_bridge.core.budget.choosing import Outlook
    from hitl_bridge.core.budget.error_budget import Figures
    from hitl_bridge.core.triage.plan import Threshold
    from hitl_bridge.services.policy.thresholds import ModelThresholds, ThresholdsResult

app = typer.Typer(help="Thresholds chosen from the error budget, and who lets more through.", invoke_without_command=True)

_WIDTH = 30


@app.callback()
def _group(context: typer.Context) -> None:
    """Without a command: show."""
    if context.invoked_subcommand is None:
        _tell_all(context, as_json=False)


@app.command()
def show(context: typer.Context, as_json: Json = False) -> None:
    """Show what is in force, what it lets through, and how well confidences agree with what is right. Writes nothing."""
    _tell_all(context, as_json=as_json)


def _tell_all(context: typer.Context, *, as_json: bool) -> None:
    with open_workspace(context) as bridge:
        result = bridge.thresholds()
    _tell(result, as_json=as_json, curves=True)


@app.command()
def choose(context: typer.Context, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Choose thresholds now: tighter ones are in force at once, those that let more through wait for `approve`."""
    with open_workspace(context) as bridge:
        result = bridge.choose_thresholds(dry_run=dry_run, force=True)
    _tell(result, as_json=as_json, curves=False)


@app.command()
def approve(
    context: typer.Context,
    reason: Annotated[str, typer.Option("--reason", help="Why, for those who come after.")],
    model: Annotated[str | None, typer.Option("--model", help="One model version; else every one that waits.")] = None,
    as_json: Json = False,
) -> None:
    """Put thresholds that let more through in force, with an approver's access token (HITL_APPROVER_TOKEN or its file)."""
    with open_workspace(context) as bridge:
        signed = bridge.approve_thresholds(reason=reason, model_version=model)
    if as_json:
        print_json([{"model_version": row.model_version, "in_force": _bounds(row.thresholds), "by": row.by} for row in signed])
        return
    for row in signed:
        said = f"In force for {row.model_version}, signed off by {row.by}: {_said(row.thresholds)}"
        console().print(said, markup=False)


# ------------------------------------------------------------------------------------------------------------ JSON


def _tell(result: ThresholdsResult, *, as_json: bool, curves: bool) -> None:
    if as_json:
        models = [_model(each) for each in result.models]
        print_json({"by": result.by, "terms": result.terms, "hand_set": result.hand_set, "models": models})
        return
    _head(result)
    for model in result.models:
        _tell_model(result, model, curves=curves)


def _model(model: ModelThresholds) -> dict[str, JSON]:
    return {
        "model_version": model.model_version,
        "state": _state(model),
        "did": model.did,
        "in_force": _bounds(model.in_force),
        "in_force_because": model.in_force_because,
        "proposed": None if model.proposal is None else _bounds(model.proposal.thresholds),
        "judged": model.judged,
        "fitted_on": model.fitted_on,
        "waiting": model.waiting,
        "counted_wrong": model.counted_wrong,
        "overall": plain(model.choice.overall),
        "by_scenario": [plain(each) for each in model.choice.outlooks],
        "calibration": {"method": model.calibration.method, "parameters": list(model.calibration.parameters)},
        "before": plain(model.before),
        "after": plain(model.after),
    }


def _bounds(thresholds: tuple[Threshold, ...]) -> list[JSON]:
    return [{"scenario": each.scenario, "max_risk": each.max_risk} for each in thresholds]


def _state(model: ModelThresholds) -> str:
    return "open" if model.in_force else "closed"


# ---------------------------------------------------------------------------------------------------------- people


def _head(result: ThresholdsResult) -> None:
    if result.by == "hand":
        what = "there is no tier `auto`" if result.hand_set is None else f"max_risk {result.hand_set:g} was set by hand"
        console().print(f"Thresholds: {what}. Nothing is promised about what it lets through.", markup=False)
    else:
        of = "of all items" if result.terms["of"] == "all" else "of the approved ones"
        each = ", in each scenario" if result.terms["per"] else ""
        mean = "cost at most" if result.terms["costs"] else "at most"
        share, sure = float(str(result.terms["error_budget"])), float(str(result.terms["confidence"]))
        said = f"Promised: {mean} {share:.2%} {of} approved without a look and wrong{each}; sure to {sure:.0%}."
        console().print(said, markup=False)
    if not result.models:
        console().print("No item of the uniform stream was judged since the last choice, or there is none yet.", markup=False)


def _tell_model(result: ThresholdsResult, model: ModelThresholds, *, curves: bool) -> None:
    by_hand = result.by == "hand"
    rows: dict[str, object] = {
        "in force": f"by hand, {result.hand_set}" if by_hand else _said(model.in_force),
        **({"because": model.in_force_because} if model.in_force_because else {}),
        "judged items": f"{model.judged:,} to choose by, {model.fitted_on:,} more to calibrate on"
        + (f"; {model.waiting:,} wait" if model.waiting else "")
        + (f"; {model.counted_wrong:,} not judged in time, counted as wrong" if model.counted_wrong else ""),
        "calibration": f"{model.calibration.method} {', '.join(f'{each:.3g}' for each in model.calibration.parameters[:2])}",
        "calibration error (ECE)": f"{model.before.ece:.3f} before, {model.after.ece:.3f} after",
        "Brier score": f"{model.before.brier:.4f} before, {model.after.brier:.4f} after",
    }
    if model.proposal is not None:
        waits = "the calibration" if by_hand else _said(model.proposal.thresholds)
        rows["waits for a sign-off"] = f'{waits}  → hitl-bridge thresholds approve --reason "…"'
    facts(f"Model version {model.model_version}", rows)
    heads = ("scenario", "max. risk", "approved", "of all, wrong", "of the approved, wrong")
    grid("As the judged items have it", heads, [_row(each) for each in model.choice.outlooks])
    for each in model.choice.outlooks:
        if each.mean_cost is not None:
            console().print(f"{each.scenario or 'All'}: mean cost {each.mean_cost:.3g} ordinary errors.", markup=False)
        if each.max_risk is None:
            console().print(f"{each.scenario or 'All'}: {_needed(each)}.", markup=False)
    if curves:
        _curve("Right by confidence, before", model.before)
        _curve("after", model.after)


def _said(thresholds: tuple[Threshold, ...]) -> str:
    if not thresholds:
        return "closed: nothing is approved without a look"
    return " · ".join((f"{each.scenario}: " if each.scenario else "") + f"risk up to {each.max_risk:.4g}" for each in thresholds)


def _row(outlook: Outlook) -> tuple[object, ...]:
    risk = "closed" if outlook.max_risk is None else f"{outlook.max_risk:.4g}"
    return (outlook.scenario or "all", risk, *_shares(outlook.figures))


def _shares(figures: Figures) -> tuple[str, str, str]:
    error = "–" if figures.error is None else f"{figures.error:.2%} (at most {figures.error_at_most:.2%})"
    return f"{figures.coverage:.1%}", f"{figures.share:.2%} (at most {figures.share_at_most:.2%})", error


def _needed(outlook: Outlook) -> str:
    if outlook.labels_needed is None:
        return "not with this model: even what it is most sure of is wrong too often"
    return f"not yet: {outlook.labels_needed:,} more labels needed"


def _curve(title: str, known: Reliability) -> None:
    """A bar of what was right, and a mark where the confidence says it should end."""
    rows = []
    for each in known.curve:
        bar = list("█" * round(each.right * _WIDTH) + "·" * (_WIDTH - round(each.right * _WIDTH)))
        bar[min(_WIDTH - 1, int(each.confidence * _WIDTH))] = "|"
        rows.append((f"{each.low:.2f}–{each.high:.2f}", each.items, f"{each.confidence:.3f}", f"{each.right:.3f}", "".join(bar)))
    grid(title, ("confidence", "items", "mean", "right", ""), rows)
