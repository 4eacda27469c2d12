"""Sections of `hitl.yaml` about time: working hours, what happens to what is late, and who is told."""

from __future__ import annotations

import re
import threading
from collections.abc import Container, Iterator, Mapping, Sequence
from datetime import UTC, date, timedelta
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from hitl_bridge.core.deadlines import WorkingHours
from hitl_bridge.core.ladder import Audience, Rung
from hitl_bridge.core.notices import EVERY, NoticeTerms
from hitl_bridge.settings.section import Duration, Section

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOW = re.compile(r"(\d{1,2}):([0-5]\d)\s*-\s*(\d{1,2}):([0-5]\d)", re.ASCII)
_WHOLE_DAY = timedelta(days=1)
_USUAL = {"mon-fri": "09:00-17:00"}

Windows = tuple[tuple[timedelta, timedelta], ...]


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise ValueError(f"{name!r} is no time zone; write it like Europe/Berlin, America/New_York or UTC") from None
    return name


def _days(text: str) -> Iterator[int]:
    first, _, last = text.strip().lower().partition("-")
    if first not in _DAYS or (last and last not in _DAYS):
        raise ValueError(f"{text!r} is no day; write mon, tue, wed, thu, fri, sat, sun, or a range like mon-fri")
    begins, ends = _DAYS.index(first), _DAYS.index(last or first)
    if ends < begins:
        raise ValueError(f"{text!r} runs backwards; a week goes from mon to sun")
    yield from range(begins, ends + 1)


def _window(text: object) -> tuple[timedelta, timedelta]:
    matched = _WINDOW.fullmatch(text.strip()) if isinstance(text, str) else None
    if matched is None:
        raise ValueError(f"{text!r} is no stretch of a day; write it in quotes like '09:00-17:00'")
    numbers = [int(group) for group in matched.groups()]
    begins, ends = (timedelta(hours=numbers[at], minutes=numbers[at + 1]) for at in (0, 2))
    if ends > _WHOLE_DAY or begins >= ends:
        raise ValueError(f"{text!r} must begin before it ends, by 24:00; through midnight are two, one on each day")
    return begins, ends


def _week(value: object) -> object:
    """The stretches of each of the seven days, from what days and ranges of days say."""
    if value is None or isinstance(value, tuple):
        return value
    if not isinstance(value, dict) or not value:
        raise ValueError("must say when people work by day, like {mon-thu: '09:00-17:00', fri: '09:00-15:00'}")
    week: list[Windows] = [()] * 7
    for days, said in value.items():
        windows = tuple(sorted(_window(each) for each in (said if isinstance(said, list) else [said])))
        if any(one[1] > following[0] for one, following in pairwise(windows)):
            raise ValueError(f"{days}: two of its stretches overlap")
        for day in _days(str(days)):
            if week[day]:
                raise ValueError(f"{_DAYS[day]} is said twice")
            week[day] = windows
    if not any(week):
        raise ValueError("has no hour in which anybody works; leave working_hours out to count by the clock")
    return tuple(week)


def _date(value: object) -> object:
    try:
        return date.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError(f"{value!r} is no date; write it like 2026-12-24") from None


def _holidays(name: str) -> str:
    try:
        HolidaysOf(name).known  # noqa: B018  (asked so that it fails here)
    except (NotImplementedError, KeyError, ValueError):
        raise ValueError(
            f"{name!r} is no country whose holidays are known; write its code like DE, or with a part of it like DE-BY, US-CA"
        ) from None
    return name


class HolidaysOf(Container[date]):
    """The public holidays of a country, or of a part of it; of every year, each computed when it is first asked about."""

    def __init__(self, name: str, also: Sequence[date] = ()) -> None:
        self._name = name
        self._also = frozenset(also)
        # A year's holidays are filled in when it is first asked about: nobody may look while somebody does.
        self._lock = threading.Lock()

    @cached_property
    def known(self) -> Container[date]:
        """Raises NotImplementedError for a place that nothing is known of. The library is large: it is loaded only here."""
        import holidays

        country, _, part = self._name.partition("-")
        found: Any = holidays.country_holidays(country.upper(), subdiv=part.upper() or None)
        return found  # type: ignore[no-any-return]

    def __contains__(self, day: object) -> bool:
        with self._lock:
            return day in self._also or day in self.known


class HoursSection(Section):
    zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    week: Annotated[tuple[Windows, ...] | None, BeforeValidator(_week)] = None
    holidays: Annotated[str, AfterValidator(_holidays)] | None = None
    closed: list[Annotated[date, BeforeValidator(_date)]] = Field(default_factory=list, max_length=1_000)


def working_hours(section: HoursSection) -> WorkingHours | None:
    """None where nobody has said any: time is counted by the clock."""
    if section == HoursSection():
        return None
    week: Any = _week(_USUAL) if section.week is None else section.week
    closed = HolidaysOf(section.holidays, section.closed) if section.holidays else frozenset(section.closed)
    return WorkingHours(ZoneInfo(section.zone), week, closed)


class RungSection(Section):
    after: Duration | None = None
    before: Duration | None = None
    tell: Literal["pool", "lead"] | None = None
    give_to: str | None = None


Ladder = Annotated[list[RungSection], Field(max_length=20)]


def rungs(sections: Sequence[RungSection] | None) -> tuple[Rung, ...] | None:
    """In the order of time; None where the settings say nothing."""
    if sections is None:
        return None
    found = [Rung(_offset(each), Audience(each.tell) if each.tell else None, each.give_to) for each in sections]
    return tuple(sorted(found, key=lambda rung: rung.after))


def _offset(section: RungSection) -> timedelta:
    return -section.before if section.before is not None else section.after or timedelta(0)


ChannelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,40}$")]
Channels = Annotated[list[ChannelName], Field(max_length=20)]


class NoticesSection(Section):
    every: Duration = EVERY
    lead: Channels = Field(default_factory=list)
    approvers: Channels = Field(default_factory=list)
    pools: dict[str, Channels] = Field(default_factory=dict)


def notice_terms(section: NoticesSection, hours: HoursSection, workspace: str) -> NoticeTerms:
    pools: Mapping[str, tuple[str, ...]] = {name: tuple(dict.fromkeys(channels)) for name, channels in section.pools.items()}
    lead, approvers = (tuple(dict.fromkeys(each)) for each in (section.lead, section.approvers))
    zone = UTC if hours.zone == "UTC" else ZoneInfo(hours.zone)
    return NoticeTerms(lead, approvers, pools, section.every, zone, workspace)
