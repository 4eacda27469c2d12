"""How things stand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import typer

from hitl_bridge.cli.options import Json, open_workspace
from hitl_bridge.cli.render import console, facts, grid, listed, print_json
from hitl_bridge.core.model import JSON

if TYPE_CHECKING:
    from hitl_bridge.services.insights import Status


def status(context: typer.Context, as_json: Json = False) -> None:
    """How things stand: items, projects, deadlines, the last cycle, champion and dataset version."""
    with open_workspace(context) as bridge:
        result = bridge.status()
    if as_json:
        print_json(result)
        return
    facts("Status", _told(result))
    if result.projects:
        _tell_projects(result)
    if result.problems:
        rows = [[problem.get(name) for name in ("kind", "item_id", "reason")] for problem in result.problems]
        grid("Somebody should look at", ("what", "item", "why"), rows)


def _told(result: Status) -> Mapping[str, object]:
    return {
        "items": listed(result.items),
        "tiers": listed(result.tiers),
        "decisions": listed(result.decisions),
        "audits": listed(result.audits),
        **_out_of_the_ordinary(result),
        "overdue": result.overdue,
        "at risk": result.at_risk,
        **_waiting(result),
        "last cycle": result.last_cycle or "none yet",
        "dataset version": result.dataset_version or "none yet",
        "champion": result.champion or "none yet",
        "gate on the candidate": _said(result.candidate),
    }


def _out_of_the_ordinary(result: Status) -> Mapping[str, object]:
    told = {
        "lots": listed(result.lots) if result.lots else None,
        "held lots": ", ".join(result.held),
        "audit rate raised": result.audit_rate_raised,
    }
    return {name: each for name, each in told.items() if each}


def _waiting(result: Status) -> Mapping[str, object]:
    """What waits for somebody or something, as far as there is any."""
    told = {
        "nobody may settle": f"{listed(result.nobody_settles)} (doctor says why)" if result.nobody_settles else None,
        "notices not sent yet": f"{result.notices_waiting:,}" if result.notices_waiting else None,
        "waiting for room in the review budget": f"{result.waiting:,}" if result.waiting else None,
    }
    return {name: each for name, each in told.items() if each}


def _tell_projects(result: Status) -> None:
    rows = [[project.get(name) for name in ("title", "tasks", "closed", "open", "open_answered")] for project in result.projects]
    grid("Projects", ("project", "tasks", "closed", "open", "open, with an answer"), rows)
    for project in result.projects:
        console().print(f"{project.get('url')}  {project.get('title')}", markup=False)


def _said(verdict: Mapping[str, JSON]) -> str:
    return f"{verdict['verdict']}: {verdict.get('candidate')}" if verdict.get("verdict") else "nothing yet"
