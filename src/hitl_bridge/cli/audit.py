"""What audits tell, what follows from it; and the audit log: is it whole?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hitl_bridge.cli.audit_picture import show_picture
from hitl_bridge.cli.options import DryRun, Json, open_workspace
from hitl_bridge.cli.render import console, facts, grid, print_json

app = typer.Typer(no_args_is_help=True, help="What audits tell of the auto tier, and whether the audit log is whole.")

_WITH_PROBLEMS, _REFUSED = 1, 4


@app.command()
def report(context: typer.Context, as_json: Json = False) -> None:
    """Tell the auto tier's true error overall, by scenario and by lot, the whole traffic's accuracy, and drift."""
    with open_workspace(context) as bridge:
        picture = bridge.audit_picture()
    if as_json:
        print_json(picture)
    else:
        show_picture(picture)
    if picture.held:
        raise typer.Exit(_WITH_PROBLEMS)


@app.command("lower-rate")
def lower_rate(
    context: typer.Context,
    reason: Annotated[str, typer.Option("--reason", help="What was found, for those who come after.")],
    by: Annotated[str | None, typer.Option("--by", help="Who says so; else git's user.name.")] = None,
    as_json: Json = False,
) -> None:
    """Put the settings' audit rate in force again after drift has raised it; what comes now counts as usual."""
    with open_workspace(context) as bridge:
        row = bridge.lower_audit_rate(reason=reason, by=by)
    if as_json:
        print_json(row)
    else:
        console().print(f"The audit rate of hitl.yaml is in force again, says {row.by}.", markup=False)


def recall(
    context: typer.Context,
    lot: Annotated[str, typer.Argument(metavar="LOT", help="The lot's id, as in `audit report`.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Where to list them: .jsonl or .csv; else .hitl/recalls/LOT.jsonl."),
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """List every item that a lot released without a look, and tell the recall webhook if there is one."""
    with open_workspace(context) as bridge:
        result = bridge.recall(lot, out=out, dry_run=dry_run)
    if as_json:
        print_json(result)
    else:
        said = {None: "there is none (audit.recall_webhook)", True: "told", False: f"not told: {result.trouble}"}
        facts(
            "Would recall" if dry_run else "Recalled",
            {
                "lot": result.lot_id,
                "items": f"{result.items:,}",
                "listed in": result.path or "nothing: a dry run",
                "webhook": "not called: a dry run" if dry_run else said[result.delivered],
            },
        )
    if result.trouble:
        raise typer.Exit(_WITH_PROBLEMS)


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
