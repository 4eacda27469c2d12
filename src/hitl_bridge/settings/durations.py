"""Durations as people write them: `30s`, `30m`, `4h`, `2d`, `1h30m`; and so many in a time: `500/day`."""

from __future__ import annotations

import re
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Quota:
    """So many in any stretch of time as long as `window`."""

    count: int
    window: timedelta


_WINDOWS = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(weeks=1)}
_QUOTA = re.compile(r"(\d{1,7})\s*/\s*(hour|day|week)", re.ASCII)


def parse_quota(text: str) -> Quota:
    """`500/day`, `60/hour` or `2000/week`. Raises ValueError if it is nothing of the kind, or none at all."""
    matched = _QUOTA.fullmatch(text.strip())
    if matched is None or not int(matched[1]):
        raise ValueError(f"{text!r} says no number of reviews; write it like 500/day, 60/hour or 2000/week")
    return Quota(int(matched[1]), _WINDOWS[matched[2]])


def quota_text(quota: Quota) -> str:
    """The text that `parse_quota` reads back."""
    return f"{quota.count}/{next(name for name, window in _WINDOWS.items() if window == quota.window)}"
