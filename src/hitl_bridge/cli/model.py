"""From decisions to a model: retrain, promote, predict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from hitl_bridge.cli.options import Json, open_workspace, workspace_root
from hitl_bridge.cli.render import console, facts, print_json, progress

_WITH_PROBLEMS = 1


def retrain(
    context: typer.Context,
    force: Annotated[bool, typer.Option(help="Train even if nothing is new.")] = False,
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
    reason: Annotated[str, typer.Option(help="Why, for those who come after.")],
    by: Annotated[str | None, typer.Option(help="Who signs off; else git's user.name.")] = None,
    override: Annotated[bool, typer.Option(help="Promote against the gate's verdict. Is recorded.")] = False,
    as_json: Json = False,
) -> None:
    """Make the candidate the champion, in a person's name."""
    with open_workspace(context) as bridge:
        result = bridge.promote(reason=reason, by=by, override=override)
    if as_json:
        print_json(result)
        return
    against = " against the gate's verdict" if result.overridden else ""
    already = " already" if result.git_commit is None else ""
    console().print(f"{result.champion} is{already} the champion, signed off by {result.by}{against}.", markup=False)


def predict(
    context: typer.Context,
    inputs: Annotated[Path, typer.Argument(help="JSONL, CSV or Parquet with item_id and input.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write the predictions (JSONL).")] = Path("predictions.jsonl"),
    candidate: Annotated[bool, typer.Option(help="Ask the candidate instead of the champion.")] = False,
    as_json: Json = False,
) -> None:
    """Score new inputs with the champion, in the form that `ingest` reads."""
    from hitl_bridge.stages.predict import predict as score

    root = workspace_root(context)
    with progress("Scoring", hidden=as_json) as advance:
        count = score(root, inputs, out, model="candidate" if candidate else "champion", progress=lambda done: advance(done, 0))
    problems = out.with_name(f"{out.name}.problems.jsonl")
    left_out = problems if problems.exists() else None
    written: Mapping[str, object] = {"predictions": count, "file": out, "problems_file": left_out}
    if as_json:
        print_json(written)
    else:
        facts("Predicted", {"predictions": count, "file": out, "rows left out, listed in": left_out or "none"})
    if left_out:
        raise typer.Exit(_WITH_PROBLEMS)
