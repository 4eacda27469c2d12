"""Working time: added and taken away, through nights, weekends, holidays and the change of the clock."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl_bridge.core.deadlines import Standing, WorkingHours, local, shift, standing, worked

HOUR = timedelta(hours=1)
BERLIN = ZoneInfo("Europe/Berlin")
NINE_TO_FIVE = ((9 * HOUR, 17 * HOUR),)
OFFICE = WorkingHours(BERLIN, [NINE_TO_FIVE] * 5 + [()] * 2, frozenset({date(2026, 12, 25)}))
NIGHTS = WorkingHours(BERLIN, [((0 * HOUR, 6 * HOUR), (22 * HOUR, 24 * HOUR))] * 7)
_moments = st.datetimes(datetime(2021, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))
_spans = st.timedeltas(timedelta(minutes=1), timedelta(hours=200))
_hours = st.sampled_from([OFFICE, NIGHTS, WorkingHours(ZoneInfo("Australia/Lord_Howe"), OFFICE.week)])


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).astimezone(UTC)


@pytest.mark.parametrize(
    ("since", "hours", "until"),
    [
        ("2026-11-23 10:00", 4, "2026-11-23 14:00"),
        ("2026-11-23 10:00", 7, "2026-11-23 17:00"),
        ("2026-11-23 15:00", 4, "2026-11-24 11:00"),
        ("2026-11-23 03:00", 4, "2026-11-23 13:00"),
        ("2026-11-27 16:00", 4, "2026-11-30 12:00"),
        ("2026-11-28 12:00", 8, "2026-11-30 17:00"),
        ("2026-12-24 16:00", 2, "2026-12-28 10:00"),
        ("2026-11-23 10:00", 40, "2026-11-30 10:00"),
        ("2026-11-30 10:00", -2, "2026-11-27 16:00"),
        ("2026-12-28 10:00", -2, "2026-12-24 16:00"),
        ("2026-11-28 12:00", -8, "2026-11-27 09:00"),
        ("2026-11-28 12:00", 0, "2026-11-28 12:00"),
    ],
)
def test_a_deadline_is_counted_in_the_hours_in_which_somebody_works(since: str, hours: int, until: str) -> None:
    assert shift(at(since), hours * HOUR, OFFICE) == at(until)


def test_a_night_with_the_change_of_the_clock_in_it_is_as_long_as_it_is() -> None:
    spring, autumn = at("2026-03-28 22:00"), at("2026-10-24 22:00")
    assert shift(spring, 8 * HOUR, NIGHTS) == at("2026-03-29 22:00") + HOUR  # seven hours until six o'clock
    assert shift(autumn, 8 * HOUR, NIGHTS) == at("2026-10-25 05:00")  # nine of them
    assert shift(at("2026-03-27 16:00"), 2 * HOUR, OFFICE) == at("2026-03-30 10:00")


def test_without_working_hours_time_is_that_of_the_clock() -> None:
    assert shift(at("2026-11-28 12:00"), 8 * HOUR) == at("2026-11-28 20:00")
    assert worked(at("2026-11-28 12:00"), at("2026-11-29 12:00")) == 24 * HOUR


def test_hours_in_which_nobody_ever_works_are_an_error_and_no_endless_loop() -> None:
    with pytest.raises(ValueError, match="nobody ever works"):
        shift(at("2026-11-28 12:00"), HOUR, WorkingHours(UTC, [()] * 7))


@given(_moments, _spans, _hours)
def test_so_much_was_worked_by_then_and_going_back_undoes_it(moment: datetime, span: timedelta, hours: WorkingHours) -> None:
    later, earlier = shift(moment, span, hours), shift(moment, -span, hours)
    assert worked(moment, later, hours) == span == worked(earlier, moment, hours) == -worked(later, moment, hours)
    assert worked(shift(later, -span, hours), later, hours) == span


@given(_moments, _spans, _spans, _hours)
def test_time_adds_up(moment: datetime, one: timedelta, two: timedelta, hours: WorkingHours) -> None:
    assert shift(shift(moment, one, hours), two, hours) == shift(moment, one + two, hours)
    assert shift(moment, one, hours) < shift(moment, one + two, hours)


def test_a_deadline_is_due_at_risk_or_overdue_by_the_working_time_that_is_left() -> None:
    due = at("2026-11-30 10:00")  # a Monday
    stands = {text: standing(due, at(text), 2 * HOUR, OFFICE) for text in ("2026-11-27 15:59", "2026-11-27 16:00")}
    assert list(stands.values()) == [Standing.DUE, Standing.AT_RISK]
    assert standing(due, due, 2 * HOUR, OFFICE) is Standing.AT_RISK
    assert standing(due, due + timedelta(seconds=1), 2 * HOUR, OFFICE) is Standing.OVERDUE


def test_a_deadline_is_told_in_the_time_of_those_who_keep_it() -> None:
    assert local(at("2026-11-30 10:00"), OFFICE) == "2026-11-30 10:00 CET"
    assert local(at("2026-11-30 10:00"), None) == "2026-11-30 09:00 UTC"
