"""The program and its commands, in the order in which a person meets them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hitl_bridge.cli import (
    audit,
    context,
    daemon,
    dataset,
    deadlines,
    demo,
    doubtful,
    gold,
    keep,
    labeling_server,
    loop,
    model,
    people,
    plan,
    policy,
    read,
    reviewers,
    thresholds,
    workspace,
)

app = typer.Typer(
    name="hitl-bridge",
    help="Between a prediction pipeline and the people who check it in Label Studio.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def _everywhere(
    context: typer.Context,
    directory: Annotated[
        Path | None, typer.Option("--directory", "-C", help="The workspace; else the first above here with a hitl.yaml.")
    ] = None,
) -> None:
    context.obj = directory


app.command()(workspace.init)
app.command()(workspace.doctor)
app.add_typer(labeling_server.app, name="label-studio")
app.command()(loop.ingest)
app.command()(loop.push)
app.command()(loop.pull)
app.command()(loop.resolve)
app.command()(loop.commit)
app.command()(loop.sync)
app.command()(daemon.daemon)
app.command()(daemon.serve)
app.add_typer(daemon.token, name="token")
app.command()(read.status)
app.command()(read.trace)
app.command()(context.similar)
app.command()(context.missing_labels)
app.command()(deadlines.deadlines)
app.add_typer(deadlines.notices, name="notices")
app.command()(plan.plan)
app.add_typer(audit.app, name="audit")
app.command()(audit.recall)
app.add_typer(thresholds.app, name="thresholds")
app.add_typer(policy.app, name="policy")
app.add_typer(dataset.app, name="dataset")
app.command()(dataset.diff)
app.command()(dataset.revert)
app.add_typer(people.quarantine, name="quarantine")
app.add_typer(people.failures, name="failures")
app.add_typer(reviewers.app, name="reviewers")
app.add_typer(gold.app, name="gold")
app.command()(reviewers.adopt)
app.command()(keep.backup)
app.command()(model.retrain)
app.command()(doubtful.doubtful_labels)
app.command()(model.promote)
app.command()(model.rollback)
app.command()(model.predict)
app.command()(model.effect)
app.command()(demo.demo)
