"""Column types that give the same verdict on SQLite and PostgreSQL.

Left to themselves the two disagree: SQLite takes a NUL character and turns NaN into NULL, PostgreSQL refuses the one and
takes the other; a JSON column keeps the order of keys on one and not on the other. So JSON and datetimes are texts, and what
either database can't hold is refused here, with one and the same error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from hitl_bridge.core.model import JSON
from hitl_bridge.errors import UsageError

_CLEAN_IT = "Clean the value where it comes from, then run the command again; nothing of this step was written."


class _Named(TypeDecorator[Any]):
    """Knows the name of its column, so that an error can say where without saying what."""

    impl: type[TypeEngine[Any]] = sa.Text
    cache_ok = True

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where


class Text(_Named):
    """Text without NUL characters or lone surrogates."""

    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else storable_text(value, self.where)


class Json(_Named):
    """JSON as canonical text: sorted keys, UTF-8, finite numbers. Comes back as dict, list and scalars."""

    cache_ok = True

    def process_bind_param(self, value: JSON, dialect: Dialect) -> str | None:
        return None if value is None else canonical_json(value, self.where)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else json.loads(value)


class Moment(_Named):
    """An aware datetime as ISO-8601 text in UTC with microseconds, of fixed width so that it sorts as text."""

    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        return None if value is None else moment_text(value, self.where)

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:
        return None if value is None else datetime.fromisoformat(value)


class Number(_Named):
    """A finite double."""

    cache_ok = True
    impl = sa.Double

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:
        if value is not None and not math.isfinite(value):
            raise UsageError(f"The number for {self.where!r} is not finite and can't be stored.", remedy=_CLEAN_IT)
        return None if value is None else float(value)


def storable_text(text: str, where: str) -> str:
    """`text` as a plain str. Raises UsageError for what one of the databases can't hold; the text itself is not shown."""
    if "\0" in text:
        raise UsageError(f"The text for {where!r} holds a NUL character and can't be stored.", remedy=_CLEAN_IT)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            message = f"The text for {where!r} holds half a surrogate pair (position {error.start}) and can't be stored."
            raise UsageError(message, remedy=_CLEAN_IT) from None
    return str(text)


def canonical_json(value: JSON, where: str) -> str:
    """The one text of a JSON value. Raises UsageError for NaN, infinities, NUL characters and lone surrogates."""
    try:
        text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, default=_plain, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        # The message of json names the kind of trouble, never the value.
        raise UsageError(f"The value for {where!r} is not JSON: {error}.", remedy=_CLEAN_IT) from None
    if "\\u0000" in text:
        _refuse_nul(json.loads(text), where)
    return storable_text(text, where)


def moment_text(moment: datetime, where: str) -> str:
    """Like 2026-11-22T10:00:00.000000Z. Raises UsageError for a naive datetime."""
    if moment.tzinfo is None:
        raise UsageError(f"The time for {where!r} has no time zone.", remedy="Give an aware datetime.")
    return moment.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} has no place in it")


def _refuse_nul(value: Any, where: str) -> None:
    # json escapes a NUL, so that the databases would take it; but so is the harmless text backslash-u-0000.
    if isinstance(value, str):
        storable_text(value, where)
    elif isinstance(value, dict):
        for key, inner in value.items():
            storable_text(key, where)
            _refuse_nul(inner, where)
    elif isinstance(value, list):
        for inner in value:
            _refuse_nul(inner, where)
