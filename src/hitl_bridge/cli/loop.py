"""The steps of the loop, one command each; `sync` is all of them."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hitl_bridge.cli.options import DryRun, Json, open_workspace
from hitl_bridge.cli.render import console, facts, grid, listed, print_json, progress

if TYPE_CHECKING:
    from hitl_bridge.services.dataset.commit import CommitResult
    from hitl_bridge.services.sync.cycle import CycleResult
    from hitl_bridge.services.sync.troubles import Trouble

_WITH_PROBLEMS = 1
_SHOWN_PROBLEMS = 20


def ingest(
    context: typer.Context,
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="JSONL, CSV or Parquet; - reads JSONL from standard input.")],
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Read predictions, give each a risk tier with its receipt, and queue those that people should see."""
    with open_workspace(context) as bridge:
        results = []
        for file in files:
            with progress(f"Reading {Path(file).name}", hidden=as_json) as advance:
                results.append(bridge.ingest(file, dry_run=dry_run, progress=lambda done: advance(done, 0)))
    if as_json:
        print_json(results[0] if len(results) == 1 else results)
    else:
        for file, result in zip(files, results, strict=True):
            facts(
                f"{file}{' (dry run: nothing was written)' if dry_run else ''}",
                {
                    "read": f"{result.read:,}",
                    "accepted": f"{result.accepted:,}",
                    "duplicates": f"{result.duplicates:,}",
                    "tiers": listed(result.tiers),
                    "audits drawn": f"{result.audits:,}",
                    "uniform draws": f"{result.uniform:,} (shown blind, whatever their tier)",
                    "problems": f"{result.rejected:,}",
                },
            )
            if result.problems:
                shown = [(each.row, each.reason) for each in result.problems[:_SHOWN_PROBLEMS]]
                grid("Rows that were left out", ("row", "why"), shown)
                if result.rejects_path:
                    console().print(f"All of them: {result.rejects_path}", markup=False)
    if any(result.problems for result in results):
        raise typer.Exit(_WITH_PROBLEMS)


def push(
    context: typer.Context,
    dry_run: DryRun = False,
    replace_gone: Annotated[
        bool, typer.Option("--replace-gone", help="Give up projects that were deleted; ask what was open there in a new one.")
    ] = False,
    restore_label_config: Annotated[
        bool, typer.Option("--restore-label-config", help="Put our label config back where somebody changed it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Create a pre-annotated task in Label Studio for every queued item."""
    with open_workspace(context) as bridge, progress("Pushing tasks", hidden=as_json or dry_run) as advance:
        result = bridge.push(
            dry_run=dry_run, replace_gone=replace_gone, restore_label_config=restore_label_config, progress=advance
        )
    if as_json:
        print_json(result)
    else:
        title = "Would push" if dry_run else "Pushed"
        facts(
            title,
            {
                "created": result.created,
                "already there": result.already_there,
                "rejected": result.rejected,
                **({"set aside (the process died of them)": result.failed} if result.failed else {}),
                "pending (outcome unclear, looked up next time)": result.pending,
                **({"waiting for room in the review budget": f"{result.waiting:,}"} if result.waiting else {}),
                **{f"nobody can take: {why}": count for why, count in Counter(each.reason for each in result.unassigned).items()},
                **({"projects replaced": result.replaced} if replace_gone else {}),
                **({"label configs put back": result.restored} if restore_label_config else {}),
                **{f"  {name}": count for name, count in result.projects.items()},
            },
        )
        for each in result.not_foreseen:
            console().print(f"• not foreseen: {each}", markup=False)
    _leave(result.troubles, problems=result.rejected + result.failed + len(result.unassigned))


def pull(
    context: typer.Context,
    accept_lost: Annotated[
        bool, typer.Option("--accept-lost", help="Believe it when most tasks of a project are gone, and ask again.")
    ] = False,
    accept_restored: Annotated[
        bool,
        typer.Option("--accept-restored", help="Believe it when Label Studio was restored from a backup; keep what it lost."),
    ] = False,
    sweep: Annotated[bool, typer.Option("--sweep", help="Compare every project as a whole, not just what changed.")] = False,
    as_json: Json = False,
) -> None:
    """Bring back the answers that changed since the last time."""
    with open_workspace(context) as bridge:
        result = bridge.pull(accept_lost=accept_lost, accept_restored=accept_restored, sweep=sweep)
    if as_json:
        print_json(result)
    else:
        facts(
            "Pulled",
            {
                "new revisions": result.revisions,
                "deleted answers": result.tombstones,
                "in quarantine": result.quarantined,
                "deleted tasks": result.lost,
                **({"doubled tasks, deleted": result.doubles} if result.doubles else {}),
                **({"tasks that Label Studio can't show": result.unreadable} if result.unreadable else {}),
                **({"projects compared as a whole": result.swept} if result.swept else {}),
                "requests": result.requests,
            },
        )
    _leave(result.troubles, problems=result.quarantined + result.unreadable)


def resolve(context: typer.Context, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Settle items whose answers changed: decided, to an adjudicator, or still waiting."""
    with open_workspace(context) as bridge:
        result = bridge.resolve(dry_run=dry_run)
    if as_json:
        print_json(result)
        _leave((), problems=result.failed)
        return
    facts(
        "Would resolve" if dry_run else "Resolved",
        {
            "decisions": result.decisions,
            "disputed (to an adjudicator)": result.disputed,
            "escalated (to an adjudicator)": result.escalated,
            "incomplete": result.incomplete,
            "of these asked again (the answers do not count)": result.asked_again,
            **({"of these with one more reviewer": result.added} if result.added else {}),
            **({"set aside (the process died of them)": result.failed} if result.failed else {}),
        },
    )
    _leave((), problems=result.failed)


def commit(context: typer.Context, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Commit new decisions as a dataset version: Parquet, DVC, git, tag."""
    with open_workspace(context) as bridge:
        result = bridge.commit(dry_run=dry_run)
    if as_json:
        print_json(result)
    elif result.version is None:
        console().print("Nothing new to commit.")
    else:
        facts(
            "Would commit" if dry_run else "Committed",
            {
                "version": result.version,
                "tag": result.tag,
                "git commit": result.git_commit,
                "added": result.added,
                "changed": result.changed,
                "removed": result.removed,
            },
        )
    _leave((), problems=_tell_tags(result))


def _tell_tags(result: CommitResult) -> int:
    """What became of tags that the git remote lacked; returns whether that is a problem to look at."""
    if result.caught_up:
        sys.stderr.write(f"Published now: {', '.join(result.caught_up)}\n")
    if result.unpublished is not None:
        sys.stderr.write(f"Tags of models are not published: {result.unpublished}\n")
    return int(result.unpublished is not None)


def sync(
    context: typer.Context,
    accept_restored_store: Annotated[
        bool, typer.Option("--accept-restored-store", help="Go on with a store that was restored from a backup.")
    ] = False,
    as_json: Json = False,
) -> None:
    """One cycle: push, pull, resolve, push next rounds, commit."""
    with open_workspace(context) as bridge:
        result = bridge.sync(accept_restored_store=accept_restored_store)
    quarantined, rejected = result.pull.quarantined, result.push.rejected + result.next_rounds.rejected
    if as_json:
        print_json(result)
    else:
        facts(
            "One cycle",
            {
                "pushed": f"{result.push.created} new, {result.push.already_there} already there, {rejected} rejected",
                "pulled": f"{result.pull.revisions} revisions, {result.pull.tombstones} deletions, "
                f"{quarantined} in quarantine, {result.pull.lost} deleted tasks",
                "resolved": f"{result.resolve.decisions} decisions, {result.resolve.disputed} disputed, "
                f"{result.resolve.escalated} escalated, {result.resolve.incomplete} incomplete, "
                f"{result.resolve.asked_again} of these asked again",
                "next rounds": result.next_rounds.created,
                "committed": result.commit.tag or "nothing new",
            },
        )
    for lot_id in result.lots.held:
        sys.stderr.write(
            f"Lot {lot_id} is held.\n→ hitl-bridge audit report tells why; hitl-bridge recall {lot_id} lists what it let out\n"
        )
    for why in (*result.lots.troubles, *(f"Notices wait for {each}" for each in result.notices.troubles)):
        sys.stderr.write(f"{why}\n")
    held = len(result.lots.held) + len(result.lots.troubles) + len(result.notices.troubles) + _tell_tags(result.commit)
    _leave(result.troubles, problems=quarantined + rejected + _failed(result) + held)


def _failed(result: CycleResult) -> int:
    return result.push.failed + result.resolve.failed + result.next_rounds.failed


def _leave(troubles: Sequence[Trouble], *, problems: int) -> None:
    """Tells each trouble with its remedy, and exits with the worst code: 4 over 3 over 1 for mere problems."""
    for each in troubles:
        sys.stderr.write(f"{each.project}: {each.reason}\n" + (f"→ {each.remedy}\n" if each.remedy else ""))
    worst = max((each.exit_code for each in troubles), default=0)
    if worst or problems:
        raise typer.Exit(max(worst, _WITH_PROBLEMS))
