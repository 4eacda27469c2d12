"""What a person settles: answers that can't be believed, and items that were set aside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hitl_bridge.cli.options import Json, open_workspace
from hitl_bridge.cli.render import console, grid, print_json
from hitl_bridge.errors import UsageError

if TYPE_CHECKING:
    from hitl_bridge.services.keeping.quarantine import Ruled

quarantine = typer.Typer(no_args_is_help=True, help="Answers that can't be believed: a person says whether they count.")
failures = typer.Typer(no_args_is_help=True, help="Items that were set aside: a person asks for another try.")

By = Annotated[str | None, typer.Option("--by", help="Who says so; else git's user.name.")]
Number = Annotated[int, typer.Argument(metavar="ID", help="The number of the answer, as in the list.")]
Why = Annotated[str, typer.Option("--reason", help="Why, for those who come after.")]


@quarantine.command("list")
def list_quarantined(context: typer.Context, as_json: Json = False) -> None:
    """List every answer that can't be believed, and what it says; then tasks that Label Studio can't show."""
    with open_workspace(context) as bridge:
        doubtful = bridge.quarantined()
    if as_json:
        print_json(doubtful)
        return
    if not doubtful:
        console().print("Nothing is in quarantine.")
        return
    rows = [(each.id, each.item_id, each.project, each.reviewer, each.says, each.reason) for each in doubtful]
    grid("In quarantine", ("id", "item", "project", "reviewer", "says", "why"), rows)
    for each in doubtful:
        if each.link:
            console().print(f"{each.item_id or 'task'}  {each.link}", markup=False)
    console().print('Next: hitl-bridge quarantine accept ID --reason "…", or drop ID.', markup=False)


@quarantine.command()
def accept(context: typer.Context, number: Number, reason: Why, by: By = None, as_json: Json = False) -> None:
    """Let an answer count, as given by its author; its item is settled anew."""
    with open_workspace(context) as bridge:
        ruled = bridge.accept_quarantined(number, reason=reason, by=by)
    _tell(ruled, as_json=as_json)


@quarantine.command()
def drop(context: typer.Context, number: Number, reason: Why, by: By = None, as_json: Json = False) -> None:
    """Take an answer off the list: it does not count, and is kept."""
    with open_workspace(context) as bridge:
        ruled = bridge.drop_quarantined(number, reason=reason, by=by)
    _tell(ruled, as_json=as_json)


def _tell(ruled: Ruled, *, as_json: bool) -> None:
    if as_json:
        print_json(ruled)
        return
    verdict = f"counts as {ruled.says!r}" if ruled.counts else "does not count"
    said = f"The answer of {ruled.reviewer} to {ruled.item_id or 'an unknown item'} {verdict}, says {ruled.by}."
    console().print(said, markup=False)
    console().print("Its item is settled anew by the next `hitl-bridge resolve`.", markup=False)


@failures.command("list")
def list_failures(context: typer.Context, as_json: Json = False) -> None:
    """List items that Label Studio refused (quarantined) or that the process died of (failed), each with the reason."""
    with open_workspace(context) as bridge:
        found = bridge.failures()
    if as_json:
        print_json(found)
        return
    if not found:
        console().print("No item was set aside.")
        return
    grid(
        "Set aside",
        ("item", "state", "round", "project", "why"),
        [(each.item_id, each.state, each.round, each.project or f"{each.pool} · {each.tier}", each.reason) for each in found],
    )
    console().print("Next: mend the cause, then hitl-bridge failures retry ITEM (or --all).", markup=False)


@failures.command()
def retry(
    context: typer.Context,
    item: Annotated[str | None, typer.Argument(metavar="ITEM", help="The item's id, as in the list.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every item in the list.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="What was mended, for those who come after.")] = "asked to try again",
    by: By = None,
    as_json: Json = False,
) -> None:
    """Queue an item that was set aside in a new round; the next push sends it."""
    if (item is None) is not everything:
        raise UsageError("Name one item, or give --all.", remedy="hitl-bridge failures list tells what can be retried.")
    with open_workspace(context) as bridge:
        retried = bridge.retry(item, reason=reason, by=by)
    if as_json:
        print_json(retried)
        return
    console().print(f"Queued again: {len(retried.item_ids)}. The next `hitl-bridge push` sends them.", markup=False)
