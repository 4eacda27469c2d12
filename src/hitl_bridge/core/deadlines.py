"""Time as people work it: deadlines in working hours, in the time zone of those who work, without their holidays.

Everything outside is UTC. Inside, a day is a local day: the change to summer time makes one of them an hour shorter where people
work through the night, and moves the others.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from functools import lru_cache
from itertools import count

DAY = timedelta(days=1)
_NONE = timedelta(0)
_LONGEST = 400 * 366
"""Days that are looked at for one deadline: more are a week in which nobody ever works."""

Window = tuple[timedelta, timedelta]
"""From and until, counted from local midnight."""


@dataclass(frozen=True, slots=True, eq=False)
class WorkingHours:
    """When a pool works: by weekday (Monday first) the stretches of its local day, and the days on which it is closed.

    Two of them are never equal unless they are the same: a calendar of holidays can't be compared, and is asked lazily.
    """

    zone: tzinfo
    week: Sequence[Sequence[Window]]
    closed: Container[date] = frozenset()

    @property
    def a_week(self) -> timedelta:
        """The working time of a week without holidays."""
        return sum((ends - begins for windows in self.week for begins, ends in windows), _NONE)

    def windows(self, day: date) -> Iterator[tuple[datetime, datetime]]:
        """The stretches of that local day, in UTC, in order."""
        if day in self.closed:
            return
        for begins, ends in self.week[day.weekday()]:
            yield _moment(day, begins, self.zone), _moment(day, ends, self.zone)


def a_week(hours: WorkingHours | None = None) -> timedelta:
    """The time in which somebody can work in a week: all of it without `hours`."""
    return 7 * DAY if hours is None else hours.a_week


def _moment(day: date, since_midnight: timedelta, zone: tzinfo) -> datetime:
    """By the clock on the wall: what it shows, and not how long ago midnight was, is what people go by."""
    days, rest = divmod(since_midnight, DAY)
    wall = datetime.combine(day + days * DAY, time()) + rest
    return wall.replace(tzinfo=zone).astimezone(UTC)


@lru_cache(maxsize=8192)
def shift(moment: datetime, span: timedelta, hours: WorkingHours | None = None) -> datetime:
    """`moment` and so much working time later, or earlier where `span` is negative; by the clock without `hours`.

    Forward, the result is the first moment by which that much was worked; backward, the last from which it will have been. No
    time at all leaves the moment as it is. Raises ValueError where nobody works for four hundred years.
    """
    if hours is None or span == _NONE:
        return moment + span
    rest = abs(span)
    for begins, ends in _stretches(moment, hours, forward=span > _NONE):
        if ends - begins >= rest:
            return begins + rest if span > _NONE else ends - rest
        rest -= ends - begins
    raise ValueError("nobody ever works in these working hours")


def worked(since: datetime, until: datetime, hours: WorkingHours | None = None) -> timedelta:
    """The working time between two moments; negative where `until` is the earlier one."""
    if hours is None:
        return until - since
    if until < since:
        return -worked(until, since, hours)
    return sum((ends - begins for begins, ends in stretches(since, until, hours)), _NONE)


def stretches(since: datetime, until: datetime, hours: WorkingHours) -> Iterator[tuple[datetime, datetime]]:
    """The working time between two moments: each stretch, in UTC, in order, cut off at the two."""
    for begins, ends in _stretches(since, hours, forward=True):
        if begins >= until:
            return
        yield begins, min(ends, until)


def _stretches(moment: datetime, hours: WorkingHours, *, forward: bool) -> Iterator[tuple[datetime, datetime]]:
    """The working time after `moment`, or before it: stretch by stretch, the nearest first, cut off at the moment itself."""
    today = moment.astimezone(hours.zone).date()
    for number in count():
        if number > _LONGEST:
            return
        try:
            day = today + number * DAY if forward else today - number * DAY
            windows = list(hours.windows(day))
        except OverflowError:
            return
        for begins, ends in windows if forward else reversed(windows):
            begins, ends = (max(begins, moment), ends) if forward else (begins, min(ends, moment))
            if begins < ends:
                yield begins, ends


def local(moment: datetime, hours: WorkingHours | None) -> str:
    """A deadline as those read it who have to keep it: `2026-11-23 14:00 CET`."""
    return f"{moment.astimezone(UTC if hours is None else hours.zone):%Y-%m-%d %H:%M %Z}"


# ------------------------------------------------------------------------------------------------------------ standing


class Standing(StrEnum):
    """DUE: there is time. AT_RISK: little is left. OVERDUE: the deadline has passed."""

    DUE = "due"
    AT_RISK = "at risk"
    OVERDUE = "overdue"


AT_RISK = 0.25
"""So much of a deadline's time left, or less, is little where the settings say nothing else."""


def standing(due_at: datetime, now: datetime, little: timedelta, hours: WorkingHours | None = None) -> Standing:
    """How a deadline stands, where `little` working time left is a risk."""
    if due_at < now:
        return Standing.OVERDUE
    return Standing.AT_RISK if due_at <= shift(now, little, hours) else Standing.DUE
