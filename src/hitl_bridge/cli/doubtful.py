"""Labels that are probably wrong: shown, and sent back to people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hitl_bridge.cli.options import Json, open_workspace
from hitl_bridge.cli.render import console, grid, print_json

if TYPE_CHECKING:
    from hitl_bridge.services.model.doubtful_labels import DoubtfulLabel

_SHOWN = 50


def doubtful_labels(
    context: typer.Context,
    ask: Annotated[
        int | None, typer.Option("--ask", metavar="N", min=1, help="Send so many of the most doubtful back to people.")
    ] = None,
    by: Annotated[str | None, typer.Option("--by", help="Who asks; else git's user.name.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say which would be asked again, and write nothing.")] = False,
    as_json: Json = False,
) -> None:
    """List decided labels that are probably wrong, as the last training found; with --ask, have adjudicators look again."""
    with open_workspace(context) as bridge:
        found = bridge.doubtful_labels() if ask is None else bridge.ask_again(ask, by=by, dry_run=dry_run)
    if as_json:
        print_json(found)
        return
    console().print(f"{len(found.doubtful)} of {found.examined} labels are doubtful.", markup=False)
    if found.note:
        console().print(found.note, markup=False)
    if found.doubtful:
        rows = [_row(each) for each in found.doubtful[:_SHOWN]]
        grid("Most doubtful first", ("item", "label", "rather", "support", "against", "asked again?"), rows)
    if ask is None:
        console().print("Next: hitl-bridge doubtful-labels --ask N sends the first N that are ready to experts.", markup=False)
        return
    what = "Would be asked again" if dry_run else "Asked again"
    console().print(f"{what}: {len(found.asked)}. The next `hitl-bridge push` sends them.", markup=False)


def _row(each: DoubtfulLabel) -> tuple[object, ...]:
    against = f"{each.twin} says {each.twin_label}" if each.twin else ""
    support = "" if each.support is None else f"{each.support:.2f}"
    return each.item_id, each.label, each.rather or "", support, against, each.standing.value
