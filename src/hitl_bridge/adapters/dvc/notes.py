"""What git keeps of a version beside the pointers to its data: its card and its description, made anew for each."""

from __future__ import annotations

from collections.abc import Sequence

from hitl_bridge.adapters.dvc.files import write_durably
from hitl_bridge.adapters.dvc.tree import DatasetTree
from hitl_bridge.errors import RepositoryRefused
from hitl_bridge.ports import NewFile

NOTES = ("data/README.md", "data/croissant.json")

OURS = b"HITL Bridge"
"""Stands in every note that we wrote."""


def notes_of_ours(tree: DatasetTree, notes: Sequence[NewFile], base: str) -> list[NewFile]:
    """Those to write: a file of that name that somebody else committed is left as it is. Raises RepositoryRefused where there
    are changes that are in no commit."""
    ours = [note for note in notes if OURS in (tree.git.content(base, note.path) or OURS)]
    edited = tree.git.edited([note.path for note in ours]) if ours else []
    if edited:
        raise RepositoryRefused(
            f"{edited[0]} has changes that are not committed, and the bridge writes there.",
            remedy="Commit it, if it is yours (one without our mark is left alone), or take it away.",
        )
    return ours


def write_notes(tree: DatasetTree, notes: Sequence[NewFile]) -> list[str]:
    """Returns their paths."""
    for note in notes:
        write_durably(tree.root / note.path, note.content)
    return [note.path for note in notes]
