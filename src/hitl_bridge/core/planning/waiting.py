"""How many reviews would miss their deadlines: days like the recorded ones, a team that works so many hours of its calendar, the
most urgent item first.

A fluid approximation (Newell 1982, Applications of Queueing Theory, ch. 2) of earliest-deadline-first service, hour by hour:
work flows in as the recorded batches brought it and is worked off in the order of its deadlines. It leaves out that one
person's item can't be split among two, and what a pool waits for that only one of its people knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import reduce
from math import ceil

import numpy as np
from numpy.typing import NDArray

from hitl_bridge.core.deadlines import DAY, WorkingHours, shift, stretches
from hitl_bridge.core.planning.forecast import LEVEL, Range

RUNS = 300
_SEED = 20_261_122
_HOURS = 24
_HOUR = timedelta(hours=1)
_LEAST_DAYS = 7
"""Simulated before the counting begins, so that it does not begin with empty queues."""
_LONGEST = 24 * 60
"""Hours: a deadline further away than two months is taken to be two months away."""

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


Span = tuple[timedelta, WorkingHours | None]
"""So much time, counted in these hours (None: by the clock)."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Reviews of one kind: by recorded day (rows) and hour of the day in UTC (24 columns) how many come in, the spans of time
    until their deadline, one after another, and the seconds of work that each asks."""

    arrivals: Floats
    spans: Sequence[Span]
    seconds: float


@dataclass(frozen=True, slots=True)
class Team:
    """Who works `hours_a_day` in all on a full day: `shifts` are the shares of it in each of the day's 24 hours (UTC), and sum
    to 1. `calendars` are the working hours that people keep, each with their part of the team; outside of them nobody works."""

    hours_a_day: float
    shifts: Sequence[float]
    calendars: Mapping[WorkingHours | None, float] = field(default_factory=lambda: {None: 1.0})


@dataclass(frozen=True, slots=True)
class Missed:
    """Reviews a day that would be late, the share that they are of all, and the team's load: work that comes in a day over
    work that it can do. Above 1 what waits grows without end."""

    a_day: Range
    share: Range
    load: float


def missed_deadlines(streams: Sequence[Stream], team: Team, recorded: Sequence[date], days: int) -> Missed | None:
    """What a team would miss in the `days` after the `recorded` ones (the rows of each stream); None where nobody works in them,
    nor has for a while before.

    A day on which somebody works is taken to bring what one of the recorded days brought on which somebody worked, a day off
    what one of the days off did.
    """
    chance = np.random.default_rng(_SEED)
    first = recorded[-1] + DAY
    counted = [first + day * DAY for day in range(days)]
    longest = max(int(_ahead(stream.spans, counted).max()) for stream in streams)
    warm_up = max(_LEAST_DAYS, days, 1 + longest // _HOURS)
    ahead_of_it = [first - day * DAY for day in range(warm_up, 0, -1)]
    all_days = [*ahead_of_it, *counted]
    capacity = _capacity(team, all_days)
    if not capacity.any():
        return None
    alike = _alike(team, recorded, all_days)
    picked = np.empty((RUNS, len(all_days)), dtype=np.int64)
    for rows, columns in alike:
        picked[:, columns] = rows[chance.integers(len(rows), size=(RUNS, len(columns)))]
    late = _late_hours(streams, [_ahead(stream.spans, all_days) for stream in streams], picked, capacity, warm_up)
    came = sum(stream.arrivals[picked[:, warm_up:]].sum(axis=(1, 2)) for stream in streams)
    share = np.minimum(1.0, np.divide(late, came, out=np.zeros(RUNS), where=np.asarray(came) > 0))
    asked = sum(
        stream.arrivals.sum(axis=1)[rows].mean() * len(columns) * stream.seconds / 3600.0
        for stream in streams
        for rows, columns in alike
    )
    return Missed(_range(late / days), _range(share), float(asked / capacity.sum()))


def _ahead(spans: Sequence[Span], days: Sequence[date]) -> Counts:
    """Hours from the hour of arrival to the last one in which the work is in time. Shape (days, 24)."""
    return np.array([[_hours_ahead(datetime.combine(day, time(hour), UTC), spans) for hour in range(_HOURS)] for day in days])


def _hours_ahead(arrived: datetime, spans: Sequence[Span]) -> int:
    due = reduce(lambda moment, span: shift(moment, *span), spans, arrived)
    return max(0, min(_LONGEST, ceil((due - arrived) / _HOUR)) - 1)


def _open(team: Team, days: Sequence[date]) -> Floats:
    """The part of the team whose working hours it is, by day and hour."""
    found = np.zeros((len(days), _HOURS))
    midnights = [datetime.combine(day, time(), UTC) for day in days]
    for hours, part in team.calendars.items():
        if hours is None:
            found += part
            continue
        for day, midnight in enumerate(midnights):
            for begins, ends in stretches(midnight, midnight + DAY, hours):
                since, until = (begins - midnight) / _HOUR, (ends - midnight) / _HOUR
                found[day] += part * np.clip(until - np.arange(_HOURS), 0, 1) - part * np.clip(since - np.arange(_HOURS), 0, 1)
    return found


def _capacity(team: Team, days: Sequence[date]) -> Floats:
    """Hours of work that can be done, by day and hour: `hours_a_day` on the fullest of the days, elsewhere in proportion."""
    there = _open(team, days)
    by_shift = there * np.asarray(team.shifts, dtype=np.float64)
    weights = by_shift if by_shift.any() else there  # people who kept other hours before will work in these
    fullest = weights.sum(axis=1).max()
    return team.hours_a_day * weights / fullest if fullest else weights


def _alike(team: Team, recorded: Sequence[date], days: Sequence[date]) -> list[tuple[Counts, Counts]]:
    """Which recorded days (rows) stand for which of `days` (columns); all of them where none was of the kind."""
    then, now = (_open(team, each).any(axis=1) for each in (recorded, days))
    found = []
    for kind in (True, False):
        rows, columns = np.flatnonzero(then == kind), np.flatnonzero(now == kind)
        found.append((rows if len(rows) else np.arange(len(recorded)), columns))
    return [(rows, columns) for rows, columns in found if len(columns)]


def _late_hours(streams: Sequence[Stream], ahead: Sequence[Counts], picked: Counts, capacity: Floats, warm_up: int) -> Floats:
    """Reviews due in the counted days that were not done in time, for each run.

    Columns of `work` and `items`: what is late already, then what is due by the end of this hour, of the next one, and so on.
    """
    work = np.zeros((len(picked), max(int(each.max()) for each in ahead) + 2))
    items = np.zeros_like(work)
    late = np.zeros(len(picked))
    for day in range(picked.shape[1]):
        for hour in range(_HOURS):
            for stream, hours in zip(streams, ahead, strict=True):
                came = stream.arrivals[picked[:, day], hour]
                items[:, hours[day, hour] + 1] += came
                work[:, hours[day, hour] + 1] += came * stream.seconds / 3600.0
            _serve(work, items, float(capacity[day, hour]))
            if day >= warm_up:
                late += items[:, 1]
            _pass_an_hour(work)
            _pass_an_hour(items)
    return late


def _serve(work: Floats, items: Floats, capacity: float) -> None:
    """Works off the most urgent first; what is late already is the most urgent."""
    before = np.cumsum(work, axis=1) - work
    done = np.clip(capacity - before, 0.0, work)
    items *= np.divide(work - done, work, out=np.zeros_like(work), where=work > 0)
    work -= done


def _pass_an_hour(columns: Floats) -> None:
    columns[:, 0] += columns[:, 1]
    columns[:, 1:-1] = columns[:, 2:]
    columns[:, -1] = 0.0


def even_shifts() -> tuple[float, ...]:
    return (1.0 / _HOURS,) * _HOURS


def shifts_of(answers_by_hour: Mapping[int, int]) -> tuple[float, ...]:
    """When in the day people have worked, in UTC; evenly where nothing is known."""
    total = sum(answers_by_hour.values())
    return tuple(answers_by_hour.get(hour, 0) / total for hour in range(_HOURS)) if total else even_shifts()


def _range(values: Floats) -> Range:
    tail = (1.0 - LEVEL) / 2.0
    low, high = np.quantile(values, [tail, 1.0 - tail])
    return Range(float(values.mean()), float(low), float(high))
