"""What every benchmark prints: a table of its figures beside their aims and, last, one line of JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

Value = bool | int | float | str | Sequence[str] | Mapping[str, float] | Mapping[str, int] | None

_WIDE = 250
"""Tables are pasted into docs/benchmarks.md: they must not break where the terminal ends."""

_HUNDRED = 100


@dataclass(frozen=True, slots=True)
class Aim:
    """What a figure should be, in words, and whether it is."""

    text: str
    met: bool


def at_least(value: float, bound: float) -> Aim:
    return Aim(f"≥ {shown(bound)}", value >= bound)


def at_most(value: float, bound: float) -> Aim:
    return Aim(f"≤ {shown(bound)}", value <= bound)


def above(value: float, bound: float) -> Aim:
    return Aim(f"> {shown(bound)}", value > bound)


def exactly(value: Value, wanted: Value) -> Aim:
    return Aim(shown(wanted), value == wanted)


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: `name` for programs, `says` for people."""

    name: str
    says: str
    value: Value
    aim: Aim | None = None


@dataclass
class Report:
    """The figures of one benchmark, in the order in which they are told."""

    benchmark: str
    figures: list[Figure] = field(default_factory=list)

    def add(self, name: str, says: str, value: Value, aim: Aim | None = None) -> None:
        self.figures.append(Figure(name, says, value, aim))

    @property
    def passed(self) -> bool:
        return all(figure.aim is None or figure.aim.met for figure in self.figures)

    def finish(self) -> int:
        """Prints everything; returns the exit code: 1 where an aim is missed."""
        Console(width=_WIDE, highlight=False, markup=False).print(self._table())
        print(json.dumps(self._line(), ensure_ascii=False), flush=True)
        return 0 if self.passed else 1

    def _table(self) -> Table:
        table = Table("figure", "measured", "aim", "", box=MARKDOWN)
        for figure in self.figures:
            aim = figure.aim
            verdict = "" if aim is None else "met" if aim.met else "MISSED"
            parts = _parts(figure.value) if aim is None else []
            table.add_row(figure.says, "" if parts else shown(figure.value), "" if aim is None else aim.text, verdict)
            for name, value in parts:
                table.add_row(f"· {name}", shown(value), "", "")
        return table

    def _line(self) -> dict[str, object]:
        aims = {figure.name: figure.aim for figure in self.figures if figure.aim is not None}
        return {
            "benchmark": self.benchmark,
            "figures": {figure.name: figure.value for figure in self.figures},
            "aims": {name: {"aim": aim.text, "met": aim.met} for name, aim in aims.items()},
            "passed": self.passed,
        }


def _parts(value: Value) -> list[tuple[str, Value]]:
    """What is shown in rows of its own."""
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [(str(number), each) for number, each in enumerate(value, start=1)]
    return []


def shown(value: Value) -> str:
    """A value as a person reads it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= _HUNDRED else f"{value:.3g}"
    if isinstance(value, Mapping):
        return " · ".join(f"{name} {shown(each)}" for name, each in value.items()) or "none"
    return value if isinstance(value, str) else "; ".join(value) or "none"
