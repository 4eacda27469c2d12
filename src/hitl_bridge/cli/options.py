"""Options that many commands share, and how they find their workspace."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hitl_bridge.errors import UsageError

if TYPE_CHECKING:
    from hitl_bridge.bootstrap import Bridge

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of a table.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Why = Annotated[str, typer.Option("--reason", help="Why, for those who come after.")]
Sign = Annotated[bool, typer.Option("--sign", help="Sign the tag here, with the key that git is configured with.")]


def workspace_root(context: typer.Context) -> Path:
    """The workspace that the command is about. Raises UsageError outside of one."""
    start = (context.obj or _here()).resolve()
    candidates = [start] if context.obj else [start, *start.parents]
    for folder in candidates:
        if (folder / "hitl.yaml").exists():
            return folder
    raise UsageError(
        f"There is no hitl.yaml in {start}" + (" or above it." if not context.obj else "."),
        remedy="Change into a workspace, name one with -C DIR, or make one with `hitl-bridge init`.",
    )


def _here() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise UsageError(
            "The current folder is no longer there.", remedy="Change into a workspace, or name one with -C DIR."
        ) from None


def open_workspace(context: typer.Context) -> Bridge:
    """The bridge of the workspace that the command is about."""
    from hitl_bridge.bootstrap import open_bridge

    return open_bridge(workspace_root(context))
