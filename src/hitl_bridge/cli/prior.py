"""What was decided before on similar items, and which labels reviewers miss."""

from __future__ import annotations

from typing import Annotated

import typer

from hitl_bridge.cli.options import Json, open_workspace
from hitl_bridge.cli.render import console, grid, print_json


def similar(
    context: typer.Context,
    item: Annotated[str, typer.Argument(metavar="ITEM", help="The id of an item that people see or saw.")],
    most: Annotated[int, typer.Option("--most", metavar="N", min=1, max=100, help="How many are shown.")] = 10,
    as_json: Json = False,
) -> None:
    """Show the decided items that are most like this one, each with its decision and why."""
    with open_workspace(context) as bridge:
        found = bridge.similar(item, most)
    if as_json:
        print_json(found)
        return
    if not found.similar:
        console().print(f"Of {found.among:,} decided items none is like {item}.", markup=False)
        return
    rows = [(each.item_id, f"{each.alike:.0%}", each.text, each.decided, each.rationale or None) for each in found.similar]
    grid(f"Like {item}, of {found.among:,} decided items", ("item", "alike", "it says", "decided", "why"), rows)


def missing_labels(context: typer.Context, as_json: Json = False) -> None:
    """List the labels that reviewers say are missing: how often, by how many people, and on which items."""
    with open_workspace(context) as bridge:
        found = bridge.missing_labels()
    if as_json:
        print_json(found)
        return
    if not found:
        console().print("Nobody has missed a label.")
        return
    rows = [(each.name, each.times, each.reviewers, ", ".join(each.items), ", ".join(each.names[1:]) or None) for each in found]
    grid("Labels that reviewers miss", ("label", "times", "people", "items", "also written"), rows)
    console().print("Next: add a label to `labels` in hitl.yaml; `hitl-bridge trace ITEM` tells what was said.", markup=False)
