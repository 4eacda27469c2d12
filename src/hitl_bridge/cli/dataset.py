"""The dataset versions: can each be had again, what changed from one to the next, and taking decisions back."""

from __future__ import annotations

from typing import Annotated

import typer

from hitl_bridge.cli.options import DryRun, Json, open_workspace
from hitl_bridge.cli.render import console, facts, grid, listed, print_json

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


def diff(
    context: typer.Context,
    older: Annotated[str, typer.Argument(help="A dataset version, like v0.3.0.")],
    newer: Annotated[str | None, typer.Argument(help="Another one; the latest if not given.")] = None,
    limit: Annotated[int, typer.Option(metavar="N", help="How many items the table shows.", min=1)] = 50,
    as_json: Json = False,
) -> None:
    """What changed between two dataset versions: which items, by whom, and why."""
    with open_workspace(context) as bridge:
        found = bridge.diff(older, newer)
    if as_json:
        print_json(found)
        return
    counts = {"added": found.added, "changed": found.changed, "removed": found.removed}
    facts(
        f"From {found.older} to {found.newer}",
        {**counts, "because": listed(found.causes), "reviewers": listed(found.by_reviewer)},
    )
    rows = [
        (each.item_id, each.what, each.before, each.after, each.by or ", ".join(each.reviewers), each.why, each.version)
        for each in found.items[:limit]
    ]
    if rows:
        grid("Items", ("item", "what", "before", "after", "by", "why", "version"), rows)
    if len(found.items) > limit:
        console().print(f"… and {len(found.items) - limit:,} more; --limit shows more, --json all.")


def revert(
    context: typer.Context,
    reason: Annotated[str, typer.Option(help="Why, in one line that names nobody; stands in dataset and audit log.")],
    decision: Annotated[
        list[str] | None, typer.Option(help="A decision as `trace` names it, or an item for all of its decisions. Repeatable.")
    ] = None,
    reviewer: Annotated[str | None, typer.Option(help="All that this person had a part in: address or pseudonym.")] = None,
    since: Annotated[str | None, typer.Option(help="All since a time (ISO 8601), or after a version.")] = None,
    version: Annotated[str | None, typer.Option(help="All that came with that version.")] = None,
    by: Annotated[str | None, typer.Option(help="Who takes it back; else git's user.name.")] = None,
    ask_again: Annotated[bool, typer.Option("--ask-again", help="Send the items to people once more.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Take decisions back: a new dataset version without them, from which `dvc repro` trains."""
    from hitl_bridge.services.dataset.revert import RevertWish

    wish = RevertWish(reason, by or "", tuple(decision or ()), reviewer, since, version, ask_again)
    with open_workspace(context) as bridge:
        result = bridge.revert(wish, dry_run=dry_run)
    if as_json:
        print_json(result)
        return
    if not (result.removed or result.reinstated or result.answers or result.version):
        console().print("Nothing to take back: no decision that holds is among what was chosen.")
        return
    facts(
        "Would be taken back" if dry_run else "Taken back",
        {
            "without a decision now": result.removed,
            "back to the one before": result.reinstated,
            "answers that count no more": result.answers,
            "asked again": result.asked_again,
            "version": result.tag or "–",
        },
    )
    if result.version is not None:
        console().print("`hitl-bridge retrain` (or `dvc repro`) trains without them.")
