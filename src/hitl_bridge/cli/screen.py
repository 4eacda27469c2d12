"""Tables as wide as the screen allows, with every word whole. Loads rich, so it is imported where something is printed."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

Rows = Sequence[Sequence[str]]

_GAP = 2
"""Between a name and what is true of it; and what a column takes beside its text, with its padding and the box's divider."""


class Screen(Console):
    """Standard output. In a pipe no line is broken."""

    def __init__(self) -> None:
        super().__init__(highlight=False, soft_wrap=not sys.stdout.isatty())

    def on_broken_pipe(self) -> None:
        """Whoever reads has gone: `main` ends with that, where rich would end with the exit code of mere problems."""
        raise BrokenPipeError


def paired(title: str, rows: Rows, room: int) -> Table:
    """A name and what is true of it, a line each."""
    table = Table(title=_title(title), title_justify="left", show_header=False, box=None, padding=(0, _GAP, 0, 0), pad_edge=False)
    names, values = [name for name, _ in rows], [value for _, value in rows]
    narrow = _longest_word(names)
    first, second = widths([names, values], room - _GAP) or (narrow, max(1, room - _GAP - narrow))
    table.add_column(style="dim", width=first, overflow="fold")
    table.add_column(width=second, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def tabled(title: str, heads: Sequence[str], rows: Rows, room: int, *, spare: int = 0) -> RenderableType:
    """Rows under heads. Where they are wider than `room`, the last `spare` columns are left out; where even the longest words
    do not fit beside each other, each row is told as lines of its own."""
    if spare and sum(map(_longest_line, _columns(heads, rows))) > room - _GAP * len(heads):
        heads, rows = heads[:-spare], [row[:-spare] for row in rows]
    fitting = widths(_columns(heads, rows), room - _GAP * len(heads))
    return Group(*_told_apart(title, heads, rows, room)) if fitting is None else _beside(title, heads, rows, fitting)


def widths(columns: Sequence[Sequence[str]], room: int) -> list[int] | None:
    """Cells of the screen for each column, `room` together at most; None if their longest words need more.

    What is left beyond those goes to all alike, until a column holds its longest line.
    """
    needed, wanted = [_longest_word(column) for column in columns], [_longest_line(column) for column in columns]
    if sum(needed) > room:
        return None
    shared = ([min(most, max(least, share)) for least, most in zip(needed, wanted, strict=True)] for share in range(room, -1, -1))
    return next(fitting for fitting in shared if sum(fitting) <= room)


def _beside(title: str, heads: Sequence[str], rows: Rows, fitting: Sequence[int]) -> Table:
    columns = (Column(Text(head), width=width, overflow="fold") for head, width in zip(heads, fitting, strict=True))
    table = Table(*columns, title=_title(title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _told_apart(title: str, heads: Sequence[str], rows: Rows, room: int) -> Iterator[RenderableType]:
    yield _title(title)
    for row in rows:
        yield Text()
        yield paired("", list(zip(heads, row, strict=True)), room)


def _title(title: str) -> Text:
    return Text(title, style="table.title")


def _columns(heads: Sequence[str], rows: Rows) -> list[tuple[str, ...]]:
    return list(zip(heads, *rows, strict=True))


def _longest_word(column: Sequence[str]) -> int:
    return max((cell_len(word) for text in column for word in text.split()), default=1)


def _longest_line(column: Sequence[str]) -> int:
    return max((cell_len(line) for text in column for line in text.splitlines()), default=1)
