"""Commands that only look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from hitl_bridge.cli.options import Json, open_workspace
from hitl_bridge.cli.render import console, facts, grid, listed, print_json
from hitl_bridge.core.model import JSON


def status(context: typer.Context, as_json: Json = False) -> None:
    """How things stand: items, projects, deadlines, the last cycle, champion and dataset version."""
    with open_workspace(context) as bridge:
        result = bridge.status()
    if as_json:
        print_json(result)
        return
    facts(
        "Status",
        {
            "items": listed(result.items),
            "tiers": listed(result.tiers),
            "decisions": listed(result.decisions),
            "audits": listed(result.audits),
            "overdue": result.overdue,
            "last cycle": result.last_cycle or "none yet",
            "dataset version": result.dataset_version or "none yet",
            "champion": result.champion or "none yet",
            "gate on the candidate": _said(result.candidate),
        },
    )
    if result.projects:
        rows = [[project.get(name) for name in ("title", "tasks", "answered", "open")] for project in result.projects]
        grid("Projects", ("project", "tasks", "answered", "open"), rows)
        for project in result.projects:
            console().print(f"{project.get('url')}  {project.get('title')}", markup=False)
    if result.problems:
        grid(
            "Somebody should look at",
            ("what", "item", "why"),
            [[p.get(k) for k in ("what", "item_id", "reason")] for p in result.problems],
        )


def _said(verdict: Mapping[str, JSON]) -> str:
    return f"{verdict['verdict']}: {verdict.get('candidate')}" if verdict.get("verdict") else "nothing yet"


def trace(
    context: typer.Context,
    item: Annotated[str, typer.Argument(metavar="ITEM", help="The item's id, as in the predictions file.")],
    as_json: Json = False,
) -> None:
    """Tell the whole life of an item."""
    with open_workspace(context) as bridge:
        life = bridge.trace(item)
    if as_json:
        print_json(life)
        return
    console().print(f"Item {item}", style="bold", markup=False)
    for line in tell(life):
        console().print(line, markup=False)


def tell(life: Mapping[str, JSON]) -> list[str]:
    """An item's life as sentences, in the order in which things happened."""
    lines = [line for receipt in _rows(life, "receipts") for line in _receipt(receipt)]
    lines += [_routed(revision) for revision in _rows(life, "revisions")]
    lines += [_asked(task) for task in _rows(life, "tasks")]
    lines += [_answered(annotation) for annotation in _rows(life, "annotations")]
    lines += [_decided(decision) for decision in _rows(life, "decisions")]
    lines += [f"  trained    {model.get('role')} {model.get('model_version')}" for model in _rows(life, "models")]
    return lines


def _rows(life: Mapping[str, JSON], name: str) -> list[Mapping[str, JSON]]:
    value = life.get(name)
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, Sequence) else []


def _receipt(receipt: Mapping[str, JSON]) -> list[str]:
    sure = receipt.get("confidence")
    shown = f"{round(100 * sure)} %" if isinstance(sure, int | float) else "?"
    purpose = receipt.get("purpose")
    seen = "nobody needs to see it" if purpose is None else f"goes to people: {purpose}"
    rule = receipt.get("rule")
    by = "by its risk" if rule is None else f"by rule {int(rule) + 1 if isinstance(rule, int) else rule}"
    return [
        f"  predicted  {receipt.get('output')} by {receipt.get('model_version')}, {shown} sure",
        f"  triaged    {receipt.get('tier')} {by}, policy {receipt.get('policy_version')}; {seen} "
        f"(uniform draw {_number(receipt, 'uniform_draw')} against {_number(receipt, 'uniform_rate')}, "
        f"audit draw {_number(receipt, 'audit_draw')} against {_number(receipt, 'audit_rate')})",
    ]


def _number(row: Mapping[str, JSON], name: str) -> str:
    value = row.get(name)
    return f"{value:.3f}" if isinstance(value, int | float) else "–"


def _routed(revision: Mapping[str, JSON]) -> str:
    route = revision.get("route")
    place = route if isinstance(route, Mapping) else {}
    return f"  routed     to {place.get('pool')} / {place.get('tier')}, due {place.get('due_at')}; now {revision.get('state')}"


def _asked(task: Mapping[str, JSON]) -> str:
    return (
        f"  asked      round {task.get('round')}: task {task.get('task_id')} in {task.get('pool')} / {task.get('tier')}, "
        f"{task.get('state')}"
    )


def _answered(annotation: Mapping[str, JSON]) -> str:
    said = annotation.get("answer") or annotation.get("reason") or ""
    return f"  answered   {annotation.get('updated_at')} {annotation.get('reviewer')}: {annotation.get('state')} {said}"


def _decided(decision: Mapping[str, JSON]) -> str:
    version = decision.get("version")
    held = f"in {version}" if version else "in no dataset version yet"
    why = f" “{decision.get('rationale')}”" if decision.get("rationale") else ""
    return f"  decided    {decision.get('outcome')} ({decision.get('op')}): {decision.get('output')}{why}; {held}"
