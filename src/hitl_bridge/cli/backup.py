"""Keeping the bridge's memory: backups."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hitl_bridge.cli.options import Json, open_workspace
from hitl_bridge.cli.render import facts, print_json
from hitl_bridge.errors import UsageError


def backup(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="Where to; else .hitl/backups/, by the time.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Make none: read FILE through and hold it against its notes.")] = False,
    as_json: Json = False,
) -> None:
    """Copy the bridge's memory while it is in use, and read the copy back before it counts."""
    if verify and file is None:
        raise UsageError("Which backup?", remedy="Name its file: hitl-bridge backup --verify FILE")
    with open_workspace(context) as bridge:
        result = bridge.verify_backup(file) if verify and file is not None else bridge.backup(file)
    if as_json:
        print_json(result)
        return
    facts(
        "Whole and unchanged" if verify else "Backed up",
        {
            "file": result.file,
            "notes": result.notes,
            "made at": result.made_at.isoformat(),
            "size": f"{result.size:,} bytes",
            "items": f"{result.rows.get('items', 0):,}",
            "annotations": f"{result.rows.get('annotations', 0):,}",
            "audit log": f"row {result.audit_seq}, {result.audit_hash[:16]}…",
        },
    )
