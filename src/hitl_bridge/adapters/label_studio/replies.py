"""Values out of Label Studio's answers, believed only if they are of the kind that they should be."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from hitl_bridge.core.model import JSON
from hitl_bridge.errors import LabelingUnavailable

_TIME: Final = "%Y-%m-%dT%H:%M:%S.%fZ"

T = TypeVar("T")


def field(row: JSON, key: str, kind: type[T]) -> T:
    """`row[key]`, believed only if it is of that kind. Raises LabelingUnavailable."""
    value: object = row.get(key) if isinstance(row, Mapping) else None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise LabelingUnavailable(f"Label Studio's answer has no usable {key!r}; nothing of it was believed.")
    return value


def rows_of(reply: JSON, key: str) -> tuple[JSON, ...]:
    """The list under `key`. Raises LabelingUnavailable."""
    found = field(reply, key, list)
    return tuple(found)


def moment(row: JSON, key: str) -> str:
    """A time of a row, always with its microseconds: Label Studio drops them when they are zero, and then texts of times
    no longer sort as the times do."""
    return filter_time(field(row, key, str))


def filter_time(timestamp: str, earlier: timedelta = timedelta(0)) -> str:
    """A timestamp of Label Studio's in the one form its filters take (any other is a 500), `earlier` subtracted."""
    try:
        at = datetime.fromisoformat(timestamp)
    except ValueError:
        raise LabelingUnavailable("Label Studio gave a time that can't be read.") from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return (at.astimezone(UTC) - earlier).strftime(_TIME)
