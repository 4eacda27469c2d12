"""The daemon, and the tokens of those who may ask it. Here the loop and its routes meet: neither knows the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from hitl_bridge.cli.options import Json, open_workspace
from hitl_bridge.cli.render import console, facts, grid, print_json

if TYPE_CHECKING:
    from hitl_bridge.bootstrap import Bridge
    from hitl_bridge.daemon import Shared

_HERE = "127.0.0.1:8731"

token = typer.Typer(help="Tokens for those who may ask the daemon's routes.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Who is to use it, like prometheus.")]
By = Annotated[str | None, typer.Option("--by", help="Who does this; else git's user name.")]


def daemon(
    context: typer.Context,
    every: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Between two cycles; else daemon.every of hitl.yaml.", min=1.0)
    ] = None,
) -> None:
    """Repeat the cycle until stopped (SIGTERM or Ctrl-C), whoever is away meanwhile; a second daemon stands by."""
    from hitl_bridge.daemon import Shared, heed_libraries, run
    from hitl_bridge.services.keeping.health import Vitals

    with open_workspace(context) as bridge:
        known = bridge.settings.daemon
        shared = Shared(Vitals(bridge.clock))
        heed_libraries(shared.log)
        commit_every = known.commit_every.total_seconds()
        with _routes(bridge, shared, known.listen):
            run(
                bridge,
                every=every or known.every.total_seconds(),
                commit_every=min(commit_every, every) if every else commit_every,
                shared=shared,
            )


def serve(
    context: typer.Context,
    listen: Annotated[str | None, typer.Option(help="The address, host:port; else daemon.listen of hitl.yaml.")] = None,
) -> None:
    """Answer predictions, health and metrics over HTTP without the cycle, until stopped (SIGTERM or Ctrl-C)."""
    from hitl_bridge.daemon import Shared, heed_libraries
    from hitl_bridge.daemon.ending import ending_in_time
    from hitl_bridge.services.keeping.health import Vitals

    with open_workspace(context) as bridge:
        shared = Shared(Vitals(bridge.clock))
        heed_libraries(shared.log)
        listen = listen or bridge.settings.daemon.listen or _HERE
        with ending_in_time(shared.stop, shared.nudges.wake, shared.log), _routes(bridge, shared, listen):
            shared.stop.wait()
        shared.log.info("serve.stopped")


@contextmanager
def _routes(bridge: Bridge, shared: Shared, listen: str | None) -> Iterator[None]:
    """They are there as long as the process is, also while it stands by."""
    if listen is None:
        yield
        return
    from hitl_bridge.web import create_app, serving, sources_of
    from hitl_bridge.web.server import is_loopback

    def failed(kind: str) -> None:
        shared.log.error("web.failed", kind=kind)

    with bridge.twin() as asked, asked.online_desk(failed) as desk:
        app = create_app(sources_of(asked, shared.vitals, shared.nudges, failed, desk))
        with serving(app, listen) as port:
            shared.log.info("web.listening", port=port, loopback=is_loopback(listen))
            yield


@token.command("new")
def new_token(context: typer.Context, name: Name, by: By = None, as_json: Json = False) -> None:
    """Make a token and show it, this once: only its SHA-256 is kept."""
    from hitl_bridge.services.keeping.access import make_token

    with open_workspace(context) as bridge:
        made = make_token(bridge.access_tokens, bridge.clock, name, by=bridge.signer(by))
    if as_json:
        print_json(made)
    else:
        facts(f"Token {made.name}, which nobody can look up again", {"Authorization": f"Bearer {made.token}"})


@token.command("list")
def list_tokens(context: typer.Context, as_json: Json = False) -> None:
    """Show who has a token."""
    with open_workspace(context) as bridge:
        known = bridge.access_tokens.all()
    rows = [{"name": each.name, "created_at": each.created_at, "revoked_at": each.revoked_at} for each in known]
    if as_json:
        print_json(rows)
    else:
        grid("Tokens", ("name", "made", "revoked"), [tuple(row.values()) for row in rows])


@token.command("revoke")
def revoke(context: typer.Context, name: Name, by: By = None) -> None:
    """Take a token back; a running daemon refuses it within seconds."""
    from hitl_bridge.services.keeping.access import revoke_token

    with open_workspace(context) as bridge:
        revoke_token(bridge.access_tokens, bridge.clock, name, by=bridge.signer(by))
    console().print(f"{name} is revoked.", markup=False)
