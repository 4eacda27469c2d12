"""Items whose answer is known: they measure reviewers, who can't tell them from others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hitl_bridge.cli.options import Json, open_workspace
from hitl_bridge.cli.render import console, facts, print_json

if TYPE_CHECKING:
    from hitl_bridge.services.desk.agreement import GoldResult

app = typer.Typer(no_args_is_help=True, help="Items whose answer is known: they measure reviewers.")

By = Annotated[str | None, typer.Option("--by", help="Who says so; else git's user.name.")]


@app.command()
def add(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="JSON lines or CSV with item_id and label.")],
    by: By = None,
    as_json: Json = False,
) -> None:
    """Say what the true answers of items are, before or after they come in. Nothing on their pages tells."""
    with open_workspace(context) as bridge:
        result = bridge.add_gold(file.resolve(), by=by)
    if as_json:
        print_json(result)
        return
    facts("Gold items", {"new or changed": result.added, **_standing(result)})


@app.command("list")
def list_gold(context: typer.Context, as_json: Json = False) -> None:
    """Tell how many items have a known answer, and how many of them somebody has answered."""
    with open_workspace(context) as bridge:
        result = bridge.gold()
    if as_json:
        print_json(result)
        return
    facts("Gold items", _standing(result))


def _standing(result: GoldResult) -> dict[str, object]:
    return {"in all": result.known, "of these answered": result.answered, "to be mixed in yet": result.left}


@app.command()
def remove(
    context: typer.Context,
    items: Annotated[list[str], typer.Argument(metavar="ITEM", help="Ids of items.")],
    by: By = None,
    as_json: Json = False,
) -> None:
    """Take items off the gold: they measure nobody any more. Their reviews stay as they are."""
    with open_workspace(context) as bridge:
        removed = bridge.remove_gold(items, by=by)
    if as_json:
        print_json({"removed": removed})
        return
    console().print(f"Gold no more: {removed}.", markup=False)
