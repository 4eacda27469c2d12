"""The dataset versions: can each be had again?"""

from __future__ import annotations

from typing import Annotated

import typer

from hitl_bridge.cli.options import Json, open_workspace
from hitl_bridge.cli.render import console, facts, print_json

app = typer.Typer(no_args_is_help=True, help="Dataset versions: whether each can be had again.")

_WITH_PROBLEMS = 1


@app.callback()
def _group() -> None:
    """Makes `verify` a command of a group, as others will follow."""


@app.command()
def verify(
    context: typer.Context,
    heal: Annotated[bool, typer.Option("--heal", help="Upload anew what the remote lacks or holds damaged.")] = False,
    deep: Annotated[bool, typer.Option("--deep", help="Read each object there and hash it.")] = False,
    as_json: Json = False,
) -> None:
    """Look on the DVC remote for every file of every version."""
    with open_workspace(context) as bridge:
        report = bridge.verify_dataset(heal=heal, deep=deep)
    if as_json:
        print_json(report)
    elif report.looked_for is None:
        console().print(
            "There is no DVC remote: the versions lie in this machine's cache alone. `dvc remote add -d …` names one."
        )
    else:
        facts(
            "On the DVC remote",
            {"looked for": report.looked_for, "missing": len(report.missing), "damaged": len(report.damaged),
             "healed": len(report.healed), "lost (not in the cache either)": len(report.lost)},
        )  # fmt: skip
        for name in report.lost:
            console().print(f"lost: {name}", markup=False)
    if not report.is_sound:
        raise typer.Exit(_WITH_PROBLEMS)
