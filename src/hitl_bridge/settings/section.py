"""What every section of `hitl.yaml` is, and the kinds of values that several of them have."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from hitl_bridge.settings.durations import duration_text, parse_duration


class Section(BaseModel):
    """A mapping of the file: nothing that is not known, nothing silently turned into another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise ValueError("must be a duration like 30m, 4h or 2d (a number alone has no unit)")
    return parse_duration(value)


Duration = Annotated[timedelta, BeforeValidator(_duration), PlainSerializer(duration_text)]
