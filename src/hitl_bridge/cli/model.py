"""From decisions to a model, and back: retrain, promote, rollback, predict."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from hitl_bridge.cli.options import DryRun, Json, Sign, Why, open_workspace, workspace_root
from hitl_bridge.cli.render import console, facts, grid, print_json, progress

_WITH_PROBLEMS = 1
_SHOWN = 20  # of flipped answers; --json has them all


def retrain(
    context: typer.Context,
    force: Annotated[bool, typer.Option("--force", help="Train even if nothing is new.")] = False,
    as_json: Json = False,
) -> None:
    """Run the pipeline (`dvc repro`): fine-tune, evaluate, gate; and commit what it reports."""
    with open_workspace(context) as bridge:
        result = bridge.retrain(force=force, progress=None if as_json else lambda line: console().print(line, markup=False))
    if as_json:
        print_json(result)
        return
    facts(
        "Retrained" if result.ran else "Nothing new to train on",
        {"candidate": result.candidate, "verdict": result.verdict, "because": "\n".join(result.reasons)},
    )


def promote(
    context: typer.Context,
    reason: Why,
    override: Annotated[bool, typer.Option("--override", help="Promote against the gate's verdict. Is recorded.")] = False,
    sign: Sign = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Make the candidate the champion, with the sign-off of an approver: HITL_APPROVER_TOKEN (or its file), or a signed tag."""
    with open_workspace(context) as bridge:
        result = bridge.promote(reason=reason, override=override, sign=sign, dry_run=dry_run)
    if as_json:
        print_json(result)
        _leave(result.unpublished)
        return
    for why in result.against:
        console().print(f"AGAINST THE GATE: {why}", markup=False, style="bold red")
    trained = ", ".join(result.trained_by) or "somebody unknown"
    if dry_run:
        said = f"Would promote {result.champion} as {result.version}, number {result.number} in production; trained by {trained}."
        console().print(said, markup=False)
        return
    against = " against the gate's verdict" if result.overridden else ""
    already = " already" if result.git_commit is None else ""
    said = f"{result.champion} ({result.version}) is{already} the champion, signed off by {result.by} ({result.method}){against}."
    console().print(said, markup=False)
    console().print(f"Tags: {', '.join(result.tags)}", markup=False)
    if result.thresholds == "proposed":
        said = 'Its thresholds were chosen and wait: hitl-bridge thresholds show, then approve --reason "…".'
        console().print(said, markup=False)
    _leave(result.unpublished)


def rollback(
    context: typer.Context,
    reason: Why,
    to: Annotated[str | None, typer.Option("--to", help="A version (v1.2.0) or model version; else the one before.")] = None,
    by: Annotated[str | None, typer.Option("--by", help="Who goes back; else git's user.name.")] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Put the champion before the present one into production again: it was signed off, and that has to hold still."""
    with open_workspace(context) as bridge:
        result = bridge.rollback(reason=reason, by=by, to=to, dry_run=dry_run)
    if as_json:
        print_json(result)
        _leave(result.unpublished)
        return
    would = "Would go back" if dry_run else "Back"
    said = f"{would} to {result.champion} ({result.version}, signed off by {result.signed_off_by}) from {result.instead_of}."
    console().print(said, markup=False)
    if not dry_run:
        console().print(f"Tags: {', '.join(result.tags)}", markup=False)
    _leave(result.unpublished)


def _leave(unpublished: str | None) -> None:
    """What was done stands; that others can't see it yet is a problem to tell."""
    if unpublished is not None:
        sys.stderr.write(f"Its tags are not published: {unpublished}\n")
        raise typer.Exit(_WITH_PROBLEMS)


def predict(
    context: typer.Context,
    inputs: Annotated[Path, typer.Argument(help="JSONL, CSV or Parquet with item_id and input.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where to write the predictions (JSONL).")] = Path(
        "predictions.jsonl"
    ),
    candidate: Annotated[bool, typer.Option("--candidate", help="Ask the candidate instead of the champion.")] = False,
    as_json: Json = False,
) -> None:
    """Score new inputs with the champion, in the form that `ingest` reads."""
    from hitl_bridge.stages.predict import predict as score

    root = workspace_root(context)
    by = None
    if not candidate:
        with open_workspace(context) as bridge:
            by = bridge.champion_signed_off_by()
    with progress("Scoring", hidden=as_json) as advance:
        count = score(root, inputs, out, model="candidate" if candidate else "champion", progress=lambda done: advance(done, 0))
    problems = out.with_name(f"{out.name}.problems.jsonl")
    left_out = problems if problems.exists() else None
    written: Mapping[str, object] = {"predictions": count, "file": out, "problems_file": left_out, "signed_off_by": by}
    if as_json:
        print_json(written)
    else:
        who = by or ("nobody: a candidate" if candidate else "not known to this store")
        left = left_out or "none"
        facts("Predicted", {"predictions": count, "file": out, "rows left out, listed in": left, "model signed off by": who})
    if left_out:
        raise typer.Exit(_WITH_PROBLEMS)


def effect(
    context: typer.Context,
    version: Annotated[str, typer.Option("--version", help="The dataset version that is left out, as v0.4.0.")],
    as_json: Json = False,
) -> None:
    """What a dataset version did to the model, by training with it and without it."""
    from hitl_bridge.stages.effect import effect as measured

    found = measured(workspace_root(context), version)
    if as_json:
        print_json({**asdict(found), "seen": found.is_seen})
        return
    interval = f"95 % interval {100 * found.low:+.2f} to {100 * found.high:+.2f} points"
    facts(
        f"What {found.version} did",
        {
            "accuracy without it": f"{found.accuracy_without:.1%} of {found.n:,} held-out items",
            "with it": f"{found.accuracy_with:.1%}",
            "gain": f"{100 * found.gain:+.2f} points, {interval}",
            "which says": "an effect beyond chance" if found.is_seen else "nothing: zero lies in the interval",
            "training items that differ": f"{found.items:,}",
            "answers that flip": f"{len(found.flips):,}",
        },
    )
    if found.flips:
        rows = [(each.item_id, each.label, each.without, each.with_it) for each in found.flips[:_SHOWN]]
        grid("Held-out items that it answers differently", ("item", "right", "without", "with"), rows)
