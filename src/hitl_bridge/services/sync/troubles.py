"""What is wrong with one project, as a value: it is told at the end and does not stop the work on the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hitl_bridge.errors import AccessRefused, BridgeError, LabelingUnavailable


@dataclass(frozen=True, slots=True)
class Trouble:
    """A `project` (its title) on which nothing could be done, why, and what to do about it. `exit_code` is that of the
    error which it would have been: 3 for trying again, 4 where a person has to decide. `much` tells how much of it there is, 0
    where that can't be counted."""

    project: str
    reason: str
    remedy: str
    exit_code: int
    much: int = 0


def trouble(project: str, error: BridgeError) -> Trouble:
    return Trouble(project, error.message, error.remedy, error.exit_code, error.much)


def raise_if_all(errors: Sequence[BridgeError], projects: int) -> None:
    """That no project answers, or lets us in, is not the trouble of a project: it is raised."""
    for kind in (LabelingUnavailable, AccessRefused):
        of_kind = [error for error in errors if isinstance(error, kind)]
        if of_kind and len(of_kind) == projects:
            raise of_kind[0]
