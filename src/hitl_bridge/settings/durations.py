"""Durations as people write them: `30s`, `30m`, `4h`, `2d`, `1h30m`."""

from __future__ import annotations

import re
from datetime import timedelta

_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_PART = r"(?:(\d{1,6})\s*d)?\s*(?:(\d{1,6})\s*h)?\s*(?:(\d{1,6})\s*m)?\s*(?:(\d{1,6})\s*s)?"
_DURATION = re.compile(_PART, re.ASCII)
_LONGEST = timedelta(days=366)


def parse_duration(text: str) -> timedelta:
    """`4h`, `30m`, `2d` or parts in this order: `1d12h30s`. Raises ValueError if it is nothing of the kind, or no time at all."""
    matched = _DURATION.fullmatch(text.strip())
    if matched is None or not any(matched.groups()):
        raise ValueError(f"{text!r} is no duration; write it like 30m, 4h or 2d")
    days, hours, minutes, seconds = (int(group or 0) for group in matched.groups())
    span = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    if not timedelta(0) < span <= _LONGEST:
        raise ValueError(f"{text!r} must be longer than nothing and at most a year")
    return span


def duration_text(span: timedelta) -> str:
    """The shortest way to write `span` (whole seconds) so that `parse_duration` reads it back."""
    rest = int(span.total_seconds())
    parts = []
    for unit, seconds in _SECONDS.items():
        count, rest = divmod(rest, seconds)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)
