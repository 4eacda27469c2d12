"""Results as tables for people and as JSON for programs. Nothing is decided here."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from hitl_bridge.core.model import JSON

if TYPE_CHECKING:
    from rich.console import Console


def console() -> Console:
    from hitl_bridge.cli.screen import Screen

    return Screen()


def print_json(value: object) -> None:
    """One JSON document on standard output, and nothing else. Where that is not UTF-8, other characters are written as `\\u…`."""
    plainly = not sys.stdout.encoding.lower().startswith("utf")
    sys.stdout.write(json.dumps(plain(value), ensure_ascii=plainly, indent=2, allow_nan=False) + "\n")


def plain(value: object) -> JSON:
    """A result as JSON: dataclasses by field name, times as ISO 8601."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    if isinstance(value, Sequence | set | frozenset):
        return [plain(each) for each in value]
    raise TypeError(f"{type(value).__name__} can't be shown as JSON")


def facts(title: str, rows: Mapping[str, object]) -> None:
    """A small table: a name and what is true of it."""
    from hitl_bridge.cli.screen import paired

    target = console()
    target.print(paired(title, [(name, _told(value)) for name, value in rows.items()], target.width))


def grid(title: str, heads: Sequence[str], rows: Sequence[Sequence[object]], *, spare: int = 0) -> None:
    """A table with heads. Text from data is shown as it is: no markup in it is obeyed. Nothing is cut off and no word is broken:
    where the table is wider than the screen, the last `spare` columns are left out, cells go on in the next line, and where
    that does not help either, each row is told as lines of its own."""
    from hitl_bridge.cli.screen import tabled

    target = console()
    told = [[_told(cell) for cell in row] for row in rows]
    target.print(tabled(title, heads, told, target.width, spare=spare))


def _told(value: object) -> str:
    """A value as people write it: nothing is a dash, and neither `None` nor `True` is a word of theirs."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def listed(counts: Mapping[str, int]) -> str:
    """`auto 412 · quick 61`, or a dash."""
    return " · ".join(f"{name} {count:,}" for name, count in counts.items()) or "–"


class Advance(Protocol):
    def __call__(self, done: int, total: int) -> None: ...


@contextmanager
def progress(text: str, *, hidden: bool = False) -> Iterator[Advance]:
    """A progress bar on standard error while people watch; nothing in a pipe or with `hidden`."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    screen = Console(stderr=True)
    with Progress(*columns, console=screen, transient=True, disable=hidden or not screen.is_terminal) as bar:
        task = bar.add_task(text, total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total or None)

        yield advance
