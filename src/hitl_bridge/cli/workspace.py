"""Making a workspace and looking whether it is sound."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hitl_bridge.cli.options import Json, workspace_root
from hitl_bridge.cli.render import console, print_json

_WITH_PROBLEMS = 1


def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The workspace to make.")] = Path(),
    task: Annotated[
        str | None, typer.Option(help="text-classification, multi-label-text, entities or image-classification.")
    ] = None,
    labels: Annotated[str | None, typer.Option(help="a,b,c or @FILE (a JSON list, or one a line).")] = None,
    here: Annotated[bool, typer.Option("--here", help="Add to a repository that exists, touching nothing of it.")] = False,
    url: Annotated[str | None, typer.Option(help="The Label Studio to use, if you have one.")] = None,
    as_json: Json = False,
) -> None:
    """Make a git + DVC workspace: settings, label configs, pipeline."""
    from hitl_bridge.bootstrap import make_workspace
    from hitl_bridge.services.keeping.init import InitRequest, parse_labels

    result = make_workspace(
        InitRequest(
            target=directory,
            task=task,
            labels=parse_labels(labels) if labels is not None else None,
            here=here,
            label_studio_url=url,
        )
    )
    if as_json:
        print_json(result)
        return
    if not result.changed:
        console().print(f"{result.root} is a workspace already; nothing was changed.", markup=False)
    for path in result.created:
        console().print(f"  made  {path}", markup=False)
    for path in result.already if result.changed else ():
        console().print(f"  kept  {path}", markup=False)
    for note in result.notes:
        console().print(note, markup=False)
    if result.changed:
        console().print("Next: read hitl.yaml, then `hitl-bridge doctor`.", markup=False)


def doctor(context: typer.Context, as_json: Json = False) -> None:
    """Look whether everything that the bridge needs is there; each trouble with its remedy."""
    from hitl_bridge.bootstrap import check_workspace

    checks = check_workspace(workspace_root(context))
    if as_json:
        print_json(checks)
    else:
        for check in checks:
            mark = {True: "✓", False: "✗", None: "–"}[check.ok]
            console().print(f"{mark} {check.name}: {check.found}", markup=False)
            if check.remedy and check.ok is not True:
                console().print(f"    → {check.remedy}", markup=False)
    if any(check.ok is False for check in checks):
        raise typer.Exit(_WITH_PROBLEMS)
