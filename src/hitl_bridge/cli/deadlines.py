"""What is late, and who is told of it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from hitl_bridge.cli.options import Json, open_workspace
from hitl_bridge.cli.render import console, facts, grid, print_json
from hitl_bridge.errors import UsageError

if TYPE_CHECKING:
    from hitl_bridge.services.desk.escalation import LateItem

notices = typer.Typer(no_args_is_help=True, help="What people are told, by mail, chat or webhook.")

_SHOWN = 50
_PROBLEMS = 1


def deadlines(context: typer.Context, as_json: Json = False) -> None:
    """How deadlines stand by pool and tier, and each item that is overdue or at risk, with the steps taken for it."""
    with open_workspace(context) as bridge:
        found = bridge.deadlines()
    if as_json:
        print_json(found)
        return
    if not found.lines:
        console().print("Nothing waits for anybody.")
        return
    heads = ("pool", "tier", "in time", "at risk", "overdue", "next due")
    rows = [(each.pool, each.tier, each.due, each.at_risk, each.overdue, _minute(each.next_due)) for each in found.lines]
    grid("Deadlines", heads, rows)
    if found.items:
        some = found.items[:_SHOWN]
        shown = [
            (each.item_id, f"{each.pool} · {each.tier}", _minute(each.due_at), each.standing, ", ".join(each.steps), _next(each))
            for each in some
        ]
        grid("Late, or soon", ("item", "where", "due", "stands", "steps taken", "next step"), shown)
    if len(found.items) > _SHOWN:
        console().print(f"… and {len(found.items) - _SHOWN:,} more: --json lists them all.")


def _next(each: LateItem) -> str | None:
    return None if each.next_at is None else f"{each.next_step}, {_minute(each.next_at)}"


def _minute(moment: datetime | None) -> str | None:
    return None if moment is None else f"{moment:%Y-%m-%d %H:%M} UTC"


@notices.command("test")
def send_test(
    context: typer.Context,
    channel: Annotated[str | None, typer.Argument(help="A channel that hitl.yaml names; else all of them.")] = None,
    as_json: Json = False,
) -> None:
    """Send a message that says it is a test to each channel. Nothing is written down."""
    with open_workspace(context) as bridge:
        results = bridge.test_channels(channel)
    if not results:
        raise UsageError("hitl.yaml names no channels.", remedy="Name some under `notices` (docs/people.md).")
    if as_json:
        print_json(results)
    else:
        facts("Test messages", {name: "taken" if why is None else why for name, why in results.items()})
    if any(results.values()):
        raise typer.Exit(_PROBLEMS)


@notices.command("list")
def list_notices(context: typer.Context, as_json: Json = False) -> None:
    """Messages that were not taken yet, and how many notices wait for the next one, by channel."""
    with open_workspace(context) as bridge:
        found = bridge.channels()
    if as_json:
        print_json(found)
        return
    heads = ("channel", "waiting", "last message", "not taken", "tries", "last try")
    rows = [
        (each.channel, each.waiting, _minute(each.last_message), each.not_taken, each.tries, _minute(each.tried_at))
        for each in found
    ]
    grid("Channels", heads, rows)
