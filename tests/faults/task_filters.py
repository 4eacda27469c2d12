"""The task filters of Label Studio's Data Manager, as far as anybody sends them: `matches` and `ordered` over task rows.

What is not understood raises `NotUnderstood`, never "no match": a fake that quietly ignores a filter would prove nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

Row = dict[str, Any]

_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_PREFIXES: Final = ("filter:tasks:", "tasks:")


class NotUnderstood(Exception):
    """A filter that this fake does not know: teach it."""


class BadTime(Exception):
    """A time in a form that makes the real server stumble (500)."""


def matches(query: Mapping[str, Any], row: Row) -> bool:
    """Whether a task is in what `query` asks for; an empty query asks for all."""
    filters = query.get("filters") or {}
    lines = filters.get("items") or []
    if not lines:
        return True
    held = [_line_holds(line, row) for line in lines]
    return any(held) if filters.get("conjunction") == "or" else all(held)


def ordered(query: Mapping[str, Any], rows: Sequence[Row]) -> list[Row]:
    """Only the first item of `ordering` counts; ties stay in the order of the ids, which the real server does not promise."""
    order = (query.get("ordering") or ["tasks:id"])[0]
    column = _column(order.removeprefix("-"))
    by_id = sorted(rows, key=lambda row: int(row["id"]))
    return sorted(by_id, key=lambda row: _sortable(_value(row, column)), reverse=order.startswith("-"))


def full_time(text: str) -> str:
    """A time with its microseconds, so that texts of times sort as the times do."""
    return text if "." in text else text.replace("Z", ".000000Z")


def _sortable(value: Any) -> tuple[bool, Any]:
    return (value is not None, full_time(value) if isinstance(value, str) else value)


def _line_holds(line: Mapping[str, Any], row: Row) -> bool:
    child = line.get("child_filter")
    return _holds(line, row) and (child is None or _line_holds(child, row))


def _holds(line: Mapping[str, Any], row: Row) -> bool:
    operator, kind = str(line["operator"]), str(line.get("type", "String"))
    have = _value(row, _column(str(line["filter"])))
    if operator == "empty":
        return (have in (None, "", [])) is (str(line["value"]).lower() == "true")
    if operator not in _OPERATORS:
        raise NotUnderstood(f"operator {operator!r}")
    return _OPERATORS[operator](_as(kind, have), line["value"], kind)


def _column(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _value(row: Row, column: str) -> Any:
    if column.startswith("data."):
        return row["data"].get(column.removeprefix("data."))
    if column == "annotations_ids":
        return [one["id"] for one in row["annotations"]]
    if column == "annotators":
        return [one["completed_by"] for one in row["annotations"]]
    if column not in row:
        raise NotUnderstood(f"column {column!r}")
    return row[column]


def _as(kind: str, value: Any) -> Any:
    if value is None or kind not in ("Number", "Datetime"):
        return value if isinstance(value, list) or value is None else str(value)
    if kind == "Number":
        return float(value)
    return full_time(value)


def _given(kind: str, value: Any) -> Any:
    """What the caller compares with. The real server takes one form of time only."""
    if kind == "Datetime" and not _TIME.fullmatch(str(value)):
        raise BadTime(str(value))
    return _as(kind, value)


def _many(kind: str, value: Any) -> list[Any]:
    listed = value if isinstance(value, list) else str(value).split(",")
    return [_given(kind, each) for each in listed]


def _between(have: Any, value: Any, kind: str) -> bool:
    low, high = _given(kind, value["min"]), _given(kind, value["max"])
    return have is not None and low <= have <= high


def _compares(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any, str], bool]:
    return lambda have, value, kind: have is not None and test(have, _given(kind, value))


_OPERATORS: Final[Mapping[str, Callable[[Any, Any, str], bool]]] = {
    "equal": _compares(lambda have, value: bool(have == value)),
    "not_equal": _compares(lambda have, value: bool(have != value)),
    "greater": _compares(lambda have, value: bool(have > value)),
    "less": _compares(lambda have, value: bool(have < value)),
    "greater_or_equal": _compares(lambda have, value: bool(have >= value)),
    "less_or_equal": _compares(lambda have, value: bool(have <= value)),
    "contains": _compares(lambda have, value: value in have),
    "not_contains": _compares(lambda have, value: value not in have),
    "in_list": lambda have, value, kind: have in _many(kind, value),
    "not_in_list": lambda have, value, kind: have not in _many(kind, value),
    "in": _between,
    "not_in": lambda have, value, kind: not _between(have, value, kind),
}
