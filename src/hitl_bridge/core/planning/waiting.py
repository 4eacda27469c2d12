"""How many reviews would miss their deadlines: days like the recorded ones, a team that works so many hours, the most urgent
item first.

A fluid approximation (Newell 1982, Applications of Queueing Theory, ch. 2) of earliest-deadline-first service, hour by hour:
work flows in as the recorded batches brought it and is worked off in the order of its deadlines. It leaves out that one
person's item can't be split among two, and what a pool waits for that only one of its people knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hitl_bridge.core.planning.forecast import LEVEL, Range

RUNS = 300
_SEED = 20_261_122
_HOURS = 24
_LEAST_DAYS = 7
"""Simulated before the counting begins, so that it does not begin with empty queues."""
_LONGEST = 24 * 60
"""Hours: a deadline further away than two months is taken to be two months away."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stream:
    """Reviews of one kind: by recorded day (rows) and hour of the day (24 columns) how many come in, the hours until their
    deadline, and the seconds of work that each asks."""

    arrivals: Floats
    sla_hours: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Missed:
    """Reviews a day that would be late, the share that they are of all, and the team's load: work that comes in a day over
    work that it can do. Above 1 what waits grows without end."""

    a_day: Range
    share: Range
    load: float


def missed_deadlines(streams: Sequence[Stream], hours_a_day: float, shifts: Sequence[float], days: int) -> Missed:
    """What a team that works `hours_a_day` in all would miss in `days` days.

    Args:
        streams: all of the team's work, over the same recorded days.
        shifts: the share of a day's work that falls into each of its 24 hours; they sum to 1.
    """
    chance = np.random.default_rng(_SEED)
    warm_up = max(_LEAST_DAYS, days, 1 + int(max(stream.sla_hours for stream in streams) // _HOURS))
    recorded = len(streams[0].arrivals)
    picked = chance.integers(recorded, size=(RUNS, warm_up + days))
    capacity = hours_a_day * np.asarray(shifts, dtype=np.float64)
    work = [_due(stream.sla_hours) for stream in streams]
    late = _late_hours(streams, work, picked, capacity, warm_up)
    came = sum(stream.arrivals[picked[:, warm_up:]].sum(axis=(1, 2)) for stream in streams)
    hours = sum(float(stream.arrivals.sum()) * stream.seconds for stream in streams) / 3600.0 / recorded
    share = np.minimum(1.0, np.divide(late, came, out=np.zeros(RUNS), where=np.asarray(came) > 0))
    return Missed(_range(late / days), _range(share), hours / hours_a_day if hours_a_day > 0 else float("inf"))


def _due(sla_hours: float) -> int:
    """Hours from the hour of arrival to the last one in which the work is in time."""
    return max(0, min(_LONGEST, int(np.ceil(sla_hours))) - 1)


def _late_hours(
    streams: Sequence[Stream], due: Sequence[int], picked: NDArray[np.int64], capacity: Floats, warm_up: int
) -> Floats:
    """Reviews due in the counted days that were not done in time, for each run.

    Columns of `work` and `items`: what is late already, then what is due by the end of this hour, of the next one, and so on.
    """
    work = np.zeros((len(picked), max(due) + 2))
    items = np.zeros_like(work)
    late = np.zeros(len(picked))
    for day in range(picked.shape[1]):
        for hour in range(_HOURS):
            for stream, ahead in zip(streams, due, strict=True):
                came = stream.arrivals[picked[:, day], hour]
                items[:, ahead + 1] += came
                work[:, ahead + 1] += came * stream.seconds / 3600.0
            _serve(work, items, capacity[hour])
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
