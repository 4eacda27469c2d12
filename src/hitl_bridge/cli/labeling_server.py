"""A Label Studio of the workspace's own, to try things with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hitl_bridge.cli.options import Json, workspace_root
from hitl_bridge.cli.render import console, facts, print_json

if TYPE_CHECKING:
    from hitl_bridge.adapters.label_studio.local_server import LocalServer

app = typer.Typer(help="A local Label Studio for this workspace, to try things with.", no_args_is_help=True)


@app.command()
def start(context: typer.Context, as_json: Json = False) -> None:
    """Start it (the first time it is installed), with a service account for the bridge."""
    server = _server(context)
    running = server.start()
    account = server.service_account()
    if as_json:
        print_json(running)
        return
    said = "was running already" if running.already_running else "runs"
    facts(
        f"Label Studio {running.version} {said}",
        {
            "address": running.url,
            "the bridge's account": account.email,
            "its password": "in .hitl/label-studio/admin.json",
            "next": "hitl-bridge label-studio reviewer ana@example.com",
        },
    )


@app.command()
def stop(context: typer.Context) -> None:
    """Stop it. Its data stays."""
    stopped = _server(context).stop()
    console().print("Stopped." if stopped else "It was not running.")


@app.command()
def status(context: typer.Context, as_json: Json = False) -> None:
    """Say whether it runs, and where."""
    found = _server(context).status()
    if as_json:
        print_json(found)
    else:
        facts("Local Label Studio", {"state": found.state.value, "address": found.url, "healthy": found.healthy})


@app.command()
def reviewer(
    context: typer.Context,
    email: Annotated[str, typer.Argument(help="The reviewer's e-mail address, as in hitl.yaml.")],
) -> None:
    """Make an account for a reviewer; its first password is in .hitl/label-studio/reviewers.json."""
    server = _server(context)
    account = server.reviewer_account(email)
    console().print(
        f"{account.email} can log in at {server.status().url}; the password is in .hitl/label-studio/reviewers.json.",
        markup=False,
    )


def _server(context: typer.Context) -> LocalServer:
    from hitl_bridge.bootstrap import local_server

    return local_server(workspace_root(context), progress=lambda line: console().print(f"  {line}", markup=False))
