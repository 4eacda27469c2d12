"""A poison item can't stop a cycle: tries are counted before they are made.

A try is written down and committed before it, and taken back when it has ended, well or not. What is left over is what the
process died of. Such subjects are handled in small groups, in the end one by one, and given up after the fifth death; all the
others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from hitl_bridge.errors import BridgeError
from hitl_bridge.ports import Attempts

MOST_DEATHS = 5
"""So many tries that the process did not survive, and the subject is given up until a person asks for it again. A process that is
killed now and then for no fault of theirs has two or three of its deaths with the same subject; five are no accident."""

_GROUPS = 20
"""Suspects of as many deaths are tried in so many groups: a few of them one by one, thousands still within moments."""

Work = TypeVar("Work")


@dataclass(frozen=True, slots=True)
class InOrder(Generic[Work]):
    """What is to be done: `batches`, in their order, and what is `given_up`. The first batch is what nobody has died of; the
    others are suspects, the least suspicious first, so that the culprit is in the last."""

    batches: tuple[tuple[Work, ...], ...]
    given_up: tuple[Work, ...]


def in_order(work: Sequence[Work], subject: Callable[[Work], str], deaths: Mapping[str, int]) -> InOrder[Work]:
    """Sorts `work` by what was left over of earlier tries (`Attempts.deaths`)."""
    died = {position: deaths.get(subject(each), 0) for position, each in enumerate(work)}
    clean = tuple(each for position, each in enumerate(work) if not died[position])
    suspects = [
        group
        for count in range(1, MOST_DEATHS)
        for group in _groups([each for position, each in enumerate(work) if died[position] == count])
    ]
    return InOrder(
        batches=(*((clean,) if clean else ()), *suspects),
        given_up=tuple(each for position, each in enumerate(work) if died[position] >= MOST_DEATHS),
    )


def _groups(suspects: Sequence[Work]) -> Iterator[tuple[Work, ...]]:
    size = max(1, -(-len(suspects) // _GROUPS))
    for start in range(0, len(suspects), size):
        yield tuple(suspects[start : start + size])


@contextmanager
def tried(attempts: Attempts, step: str, subjects: Sequence[str], at: datetime) -> Iterator[None]:
    """A try, counted before. The transaction that writes its result down takes it back; here only what failed is.

    An error that nobody foresaw counts as a death: the process ends of it. Ctrl-C does not: it says nothing of the subjects.
    """
    attempts.begin_try(step, subjects, at)
    try:
        yield
    except (BridgeError, KeyboardInterrupt):
        attempts.end_try(step, subjects)
        raise


def given_up_because(step: str) -> str:
    """The reason that a person reads."""
    return f"the process ended {MOST_DEATHS} times while {step} it; given up until somebody retries it"
