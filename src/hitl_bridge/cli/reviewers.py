"""The people who review: their accounts, and how they do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hitl_bridge.cli.options import DryRun, Json, open_workspace
from hitl_bridge.cli.render import console, facts, grid, print_json

if TYPE_CHECKING:
    from hitl_bridge.services.desk.people import ReviewersResult

app = typer.Typer(no_args_is_help=True, help="The people who review: their accounts, and how they do.")

_WITH_PROBLEMS = 1


@app.callback()
def _group() -> None:
    """Makes `sync` a command of a group."""


@app.command()
def sync(
    context: typer.Context,
    make: Annotated[
        bool, typer.Option("--make", help="Make the accounts that are missing, with passwords to hand over.")
    ] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Compare the roster with Label Studio's accounts: who is missing, who has joined, who has left."""
    with open_workspace(context) as bridge:
        result = bridge.sync_reviewers(make=make, dry_run=dry_run)
        passwords = bridge.new_accounts_file
    if as_json:
        print_json(result)
    else:
        _tell(result)
        if result.made:
            console().print(f"Their first passwords are in {passwords}; hand them over and delete it.", markup=False)
    if result.missing:
        raise typer.Exit(_WITH_PROBLEMS)


def adopt(
    context: typer.Context,
    project: Annotated[int, typer.Option("--project", metavar="N", help="The project's number in Label Studio.")],
    control: Annotated[str, typer.Option("--control", help="The control of its label config that holds the answer.")],
    id_field: Annotated[
        str | None, typer.Option("--id-field", help="The field of the tasks' data that holds your own item id.")
    ] = None,
    by: Annotated[str | None, typer.Option("--by", help="Who takes it over; else git's user.name.")] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Take over the decisions that people made in a Label Studio project of your own; it is left as it is."""
    with open_workspace(context) as bridge:
        result = bridge.adopt(project, control, id_field=id_field, by=by, dry_run=dry_run)
    if as_json:
        print_json(result)
    else:
        counts = {"decisions": result.decisions, "there already": result.already_there, "disputed, left alone": result.disputed}
        facts(f"Would adopt from {result.project}" if dry_run else f"Adopted from {result.project}", counts)
        if result.problems:
            grid("Left alone, or in part", ("task", "why"), [(problem.row, problem.reason) for problem in result.problems])
    if result.problems or result.disputed:
        raise typer.Exit(_WITH_PROBLEMS)


@app.command()
def report(context: typer.Context, as_json: Json = False) -> None:
    """Tell how far people agree, how often they are right on gold items, and what showing the model's answer does to them."""
    from hitl_bridge.cli.reviewers_picture import tell_reviewers

    with open_workspace(context) as bridge:
        result = bridge.reviewers_report()
    if as_json:
        print_json(result)
    else:
        tell_reviewers(result)


def _tell(result: ReviewersResult) -> None:
    outside = [f"{each.email} ({each.pool}, {each.items} items)" for each in result.outside]
    lines = {
        "have an account": ", ".join(result.have),
        "are missing": ", ".join(result.missing),
        "made": ", ".join(result.made),
        "may decide from now on": ", ".join(f"{seat.email} ({seat.pool}, {seat.role})" for seat in result.joined),
        "may decide no more": ", ".join(f"{seat.email} ({seat.pool}, {seat.role})" for seat in result.left),
        "answered where they may not decide": ", ".join(outside),
        "have an account and no pool": ", ".join(result.unlisted),
    }
    facts("Reviewers", {says: who for says, who in lines.items() if who})
    if result.invitation:
        console().print(f"Those who are missing make their account here: {result.invitation}", markup=False)
