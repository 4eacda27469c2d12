"""The audit log: is it whole?"""

from __future__ import annotations

import typer

from hitl_bridge.cli.options import Json, open_workspace
from hitl_bridge.cli.render import console, facts, grid, print_json

app = typer.Typer(no_args_is_help=True, help="The log of everything that happened, each row chained to the one before it.")

_REFUSED = 4


@app.callback()
def _group() -> None:
    """Makes `verify` a command of a group, as others will follow."""


@app.command()
def verify(context: typer.Context, as_json: Json = False) -> None:
    """Compute the log anew; hold it against itself, the answers and decisions it tells of, and the dataset commits."""
    with open_workspace(context) as bridge:
        report = bridge.verify_audit()
    if as_json:
        print_json(report)
    else:
        facts(
            "Audit log: not what was written" if report.problems else "Audit log: whole",
            {"rows": report.head.seq, "head": report.head.hash, "held against dataset commits": report.anchors,
             "held against answers and decisions": report.records},
        )  # fmt: skip
        if report.problems:
            grid("What does not fit", ("row", "what"), [(each.seq or "–", each.what) for each in report.problems])
        for each in report.excused:
            console().print(f"Not held against it: {each}.", markup=False)
    if report.problems:
        raise typer.Exit(_REFUSED)
