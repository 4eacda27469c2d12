"""The program and its commands, in groups, in the order in which a person meets them."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from hitl_bridge.cli import (
    audit,
    backup,
    daemon,
    dataset,
    deadlines,
    demo,
    doubtful,
    gold,
    labeling_server,
    loop,
    model,
    plan,
    policy,
    prior,
    quarantine,
    reviewers,
    status,
    thresholds,
    trace,
    workspace,
)
from hitl_bridge.cli.ending import Program

app = typer.Typer(
    name="hitl-bridge",
    help="Between a prediction pipeline and the people who check it in Label Studio.",
    no_args_is_help=True,
    cls=Program,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hitl-bridge {version('hitl-bridge')}")
        raise typer.Exit


@app.callback()
def _everywhere(
    context: typer.Context,
    directory: Annotated[
        Path | None,
        typer.Option("--directory", "-C", metavar="DIR", help="The workspace; else the first above here with a hitl.yaml."),
    ] = None,
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version this is, and exit.")
    ] = False,
) -> None:
    context.obj = directory


_START = "To begin with"
_LOOP = "The loop"
_MODEL = "Dataset and model"
_PEOPLE = "People"
_POLICY = "Policy and audits"
_RUNNING = "Keeping it running"

for _panel, _commands in {
    _START: (workspace.init, workspace.doctor, demo.demo),
    _LOOP: (loop.ingest, loop.push, loop.pull, loop.resolve, loop.commit, loop.sync, status.status, trace.trace),
    _MODEL: (
        reviewers.adopt,
        dataset.diff,
        dataset.revert,
        model.retrain,
        doubtful.doubtful_labels,
        model.promote,
        model.rollback,
        model.predict,
        model.effect,
    ),
    _PEOPLE: (prior.similar, prior.missing_labels, deadlines.deadlines),
    _POLICY: (plan.plan, audit.recall),
    _RUNNING: (daemon.daemon, daemon.serve, backup.backup),
}.items():
    for _command in _commands:
        app.command(rich_help_panel=_panel)(_command)

for _panel, _name, _group in (
    (_START, "label-studio", labeling_server.app),
    (_LOOP, "quarantine", quarantine.quarantine),
    (_LOOP, "failures", quarantine.failures),
    (_MODEL, "dataset", dataset.app),
    (_PEOPLE, "reviewers", reviewers.app),
    (_PEOPLE, "gold", gold.app),
    (_PEOPLE, "notices", deadlines.notices),
    (_POLICY, "policy", policy.app),
    (_POLICY, "thresholds", thresholds.app),
    (_POLICY, "audit", audit.app),
    (_RUNNING, "token", daemon.token),
):
    app.add_typer(_group, name=_name, rich_help_panel=_panel)
