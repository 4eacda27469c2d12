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
    from rich.table import Table


def console() -> Console:
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def print_json(value: object) -> None:
    """One JSON document on standard output, and nothing else."""
    sys.stdout.write(json.dumps(plain(value), ensure_ascii=False, indent=2, allow_nan=False) + "\n")


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
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in rows.items():
        table.add_row(Text(name, style="dim"), Text(_told(value), overflow="fold"))
    console().print(table)


def grid(title: str, heads: Sequence[str], rows: Sequence[Sequence[object]], *, spare: int = 0) -> None:
    """A table with heads. Text from data is shown as it is: no markup in it is obeyed. Where it is wider than the screen, the
    last `spare` columns are left out, and words that are too long go on in the next line: nothing is cut off."""
    table, target = _table(title, heads, rows), console()
    if spare and target.measure(table, options=target.options.update(max_width=_ANY_WIDTH)).maximum > target.width:
        table = _table(title, heads[:-spare], [row[:-spare] for row in rows])
    target.print(table)


_ANY_WIDTH = 10_000


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    from rich import box
    from rich.table import Column, Table
    from rich.text import Text

    columns = (Column(head, overflow="fold") for head in heads)
    table = Table(*columns, title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(_told(cell)) for cell in row))
    return table


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
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=hidden) as bar:
        task = bar.add_task(text, total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total or None)

        yield advance
