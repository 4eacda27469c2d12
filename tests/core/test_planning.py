"""What a policy will ask and let through: from random looks alone, with ranges that hold, and silent where nobody has looked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitl_bridge.core.deadlines import DAY, WorkingHours
from hitl_bridge.core.planning.forecast import (
    Cell,
    Forecast,
    Horizon,
    Range,
    Terms,
    Times,
    Work,
    draws_that_tell,
    forecast,
    merged,
)
from hitl_bridge.core.planning.tally import tally
from hitl_bridge.core.planning.waiting import Missed, Stream, Team, even_shifts, missed_deadlines, shifts_of

SECONDS = Times(400, 30.0, 20.0)
TERMS = Terms(
    auto_tier="auto",
    uniform_rate=0.02,
    audit_rate=0.05,
    tiers={"quick": Work(1, 10_000, 100, SECONDS), "comprehensive": Work(2, 4_000, 800, SECONDS)},
    blind=Work(1, 3_000, 300, SECONDS),
    adjudication=SECONDS,
)
CELLS = (
    Cell("auto", 0.069, 30_000, 2_070, 25),
    Cell("quick", 1.0, 15_000, 15_000, 3_000),
    Cell("comprehensive", 1.0, 5_000, 5_000, 2_500),
)


def _ordered(found: Range | None) -> bool:
    """The mean of a skewed figure can lie outside of where most of it lies."""
    return found is None or 0 <= found.low <= found.high


def test_the_figures_add_up_to_what_can_be_worked_out_by_hand() -> None:
    found = forecast(CELLS, TERMS, Horizon(items=1_000))
    assert found.items == Range(1_000, 1_000, 1_000)
    assert found.approved.expected == pytest.approx(600 * 0.98 * 0.95, rel=0.01)
    assert found.escaped is not None
    assert found.escaped.expected == pytest.approx(600 * 0.98 * 0.95 * 25.5 / 2_071, rel=0.02)
    blind, quick, comprehensive = 20 + 600 * 0.98 * 0.05, 300 * 0.98, 100 * 0.98
    disputed = 0.1 * blind + 0.01 * quick + 0.2 * comprehensive
    assert found.adjudications.expected == pytest.approx(disputed, rel=0.02)
    assert found.reviews.expected == pytest.approx(blind + quick + 2 * comprehensive + disputed, rel=0.01)
    assert found.hours is not None
    assert found.hours.expected == pytest.approx(found.reviews.expected * 30 / 3600, rel=0.01)
    assert found.caught is not None
    assert found.caught.expected == pytest.approx(300 * 0.2 + 100 * 0.5 + 600 * 0.069 * 25 / 2_070, rel=0.02)
    assert found.looks == 2_070


def test_the_same_records_give_the_same_plan() -> None:
    assert forecast(CELLS, TERMS, Horizon(items=1_000)) == forecast(CELLS, TERMS, Horizon(items=1_000))


def test_where_nobody_has_looked_at_random_nothing_is_said_of_errors_but_how_many_looks_would_tell() -> None:
    blank = Cell("auto", 0.0, 10_000, 0, 0)
    found = forecast([*CELLS, blank], TERMS, Horizon(items=1_000), budget=0.02, confidence=0.95)
    assert (found.escaped, found.escaped_share, found.escaped_of_approved) == (None, None, None)
    assert found.escaped_known.high > 0
    [unknown] = found.unknown
    assert (unknown.tier, unknown.predictions, unknown.draws) == ("auto", 10_000, 149)
    assert unknown.share == pytest.approx(1 / 6)
    assert _ordered(found.reviews)


def test_what_was_never_decided_in_a_tier_leaves_open_what_is_caught() -> None:
    found = forecast([CELLS[0], replace(CELLS[1], looked=0, wrong=0)], TERMS, Horizon(items=1_000))
    assert (found.caught, found.reviews_per_caught) == (None, None)
    assert found.escaped is not None


def test_times_that_nobody_measured_leave_hours_open() -> None:
    assert forecast(CELLS, replace(TERMS, adjudication=None), Horizon(items=1_000)).hours is None


def test_days_to_come_differ_as_the_recorded_ones_did() -> None:
    alike = forecast(CELLS, TERMS, Horizon(days=7, volumes=[1_000] * 10))
    uneven = forecast(CELLS, TERMS, Horizon(days=7, volumes=[200, 1_800] * 5))
    assert alike.items == Range(7_000, 7_000, 7_000)
    assert uneven.items.low < 6_000
    assert uneven.items.high > 8_000
    assert uneven.reviews.high - uneven.reviews.low > 3 * (alike.reviews.high - alike.reviews.low)


def test_few_days_are_taken_as_they_were() -> None:
    assert forecast(CELLS, TERMS, Horizon(days=2, volumes=[100, 300])).items == Range(400, 400, 400)


@pytest.mark.parametrize("rate", [0.003, 0.03, 0.2])
def test_the_range_holds_for_the_next_items(rate: float) -> None:
    """Of many records of 20,000 items: what comes lies in the 90 % range as often as it should, and the range is not idle."""
    runs = 60
    chance = np.random.default_rng(5)
    held, width, oracle = 0, 0.0, float(np.subtract(*np.quantile(chance.binomial(1_000, rate * 0.93, 50_000), [0.95, 0.05])))
    for _ in range(runs):
        looked = int(chance.binomial(20_000, 0.07))
        cell = Cell("auto", 0.07, 20_000, looked, int(chance.binomial(looked, rate)))
        found = _escaped(forecast([cell], replace(TERMS, uniform_rate=0.0, audit_rate=0.07), Horizon(items=1_000)))
        held += found.low <= chance.binomial(1_000, 0.93 * rate) <= found.high
        width += (found.high - found.low) / runs
    assert held / runs >= 0.82
    assert width <= 1.5 * oracle


def _escaped(found: Forecast) -> Range:
    assert found.escaped is not None
    return found.escaped


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["auto", "quick"]), st.integers(1, 5_000), st.integers(0, 300), st.floats(0, 1)),
        min_size=1,
        max_size=6,
    )
)
def test_whatever_was_recorded_ranges_are_in_order_and_counts_within_bounds(rows: list[tuple[str, int, int, float]]) -> None:
    cells = [
        Cell(tier, 0.01 * at, predictions, min(looked, predictions), int(min(looked, predictions) * wrong))
        for at, (tier, predictions, looked, wrong) in enumerate(rows)
    ]
    found = forecast(cells, TERMS, Horizon(items=200))
    figures = [found.approved, found.reviews, found.adjudications, found.hours, found.escaped, found.escaped_known, found.caught]
    assert all(map(_ordered, figures))
    assert found.approved.high <= 200
    assert found.escaped_known.high <= found.approved.high
    assert (found.escaped is None) == bool(found.unknown)


def test_parts_of_a_record_merge_to_the_whole() -> None:
    parts = [Cell("auto", 0.05, 10, 2, 1), Cell("quick", 1.0, 5, 5, 2), Cell("auto", 0.05, 30, 1, 0), Cell("auto", 0.1, 1, 0, 0)]
    assert merged(parts) == [Cell("auto", 0.05, 40, 3, 1), Cell("auto", 0.1, 1, 0, 0), Cell("quick", 1.0, 5, 5, 2)]
    assert merged(parts[::-1]) == merged(parts)


def test_so_many_right_looks_show_that_an_error_share_is_kept() -> None:
    assert (draws_that_tell(0.01, 0.9), draws_that_tell(0.02, 0.9), draws_that_tell(0.02, 0.95)) == (230, 114, 149)


# ------------------------------------------------------------------------------------------------------- the record


def _recorded(rows: list[tuple[str, str | None]]) -> pa.Table:
    tiers, purposes = zip(*rows, strict=True)
    rates = {"uniform_rate": [0.02] * len(rows), "audit_rate": [0.05] * len(rows)}
    return pa.table({"tier": list(tiers), "purpose": pa.array(purposes, pa.string()), **rates})


def _cells(rows: list[tuple[str, str | None]], tiers: list[str], wrong: list[bool | None]) -> set[Cell]:
    again = pa.table({"tier": tiers, "pool": pa.array([None] * len(tiers), pa.string())})
    verdicts = pa.chunked_array([pa.array(wrong, pa.bool_())])
    return set(tally(_recorded(rows), again, verdicts, recorded_auto="auto", auto_tier="auto").cells)


def test_what_stays_approved_is_measured_by_audits_and_the_uniform_stream() -> None:
    rows: list[tuple[str, str | None]] = [("auto", None), ("auto", "audit"), ("auto", "uniform"), ("auto", None)]
    found = _cells(rows, ["auto"] * 4, [None, True, False, None])
    assert found == {Cell("auto", 0.02 + 0.98 * 0.05, 4, 2, 1)}


def test_what_was_reviewed_because_it_was_doubtful_measures_nothing_that_is_to_be_approved() -> None:
    rows: list[tuple[str, str | None]] = [("quick", "review"), ("quick", "review"), ("quick", "uniform")]
    assert _cells(rows, ["auto"] * 3, [True, True, False]) == {Cell("auto", 0.02, 3, 1, 0)}


def test_what_stays_reviewed_counts_with_all_that_was_decided() -> None:
    rows: list[tuple[str, str | None]] = [("quick", "review"), ("quick", "review"), ("quick", "uniform")]
    assert _cells(rows, ["quick"] * 3, [True, None, False]) == {Cell("quick", 1.0, 3, 2, 1)}


def test_what_was_approved_and_is_to_be_reviewed_is_measured_by_its_audits() -> None:
    rows: list[tuple[str, str | None]] = [("auto", None), ("auto", "audit"), ("quick", "review")]
    found = _cells(rows, ["quick"] * 3, [True, False, True])
    assert found == {Cell("quick", 0.02 + 0.98 * 0.05, 2, 1, 0), Cell("quick", 1.0, 1, 1, 1)}


# ------------------------------------------------------------------------------------------------------- deadlines


RECORDED = [date(2026, 11, 16) + day * DAY for day in range(5)]  # Monday to Friday
HOUR = timedelta(hours=1)
OFFICE = WorkingHours(UTC, [((9 * HOUR, 17 * HOUR),)] * 5 + [()] * 2)


def _stream(
    a_day: float, *, hour: int = 8, sla: float = 24, seconds: float = 60, hours: WorkingHours | None = None, days: int = 5
) -> Stream:
    arrivals = np.zeros((days, 24))
    arrivals[:, hour] = a_day
    return Stream(arrivals, [(sla * HOUR, hours)], seconds)


def _missed(
    streams: list[Stream],
    hours_a_day: float,
    shifts: tuple[float, ...] = even_shifts(),
    *,
    keeps: WorkingHours | None = None,
    recorded: Sequence[date] = RECORDED,
    days: int = 7,
) -> Missed:
    found = missed_deadlines(streams, Team(hours_a_day, shifts, {keeps: 1.0}), recorded, days)
    assert found is not None
    return found


def test_a_team_with_time_enough_misses_nothing() -> None:
    found = _missed([_stream(60)], 2.0)
    assert found.a_day == Range(0, 0, 0)
    assert found.load == pytest.approx(0.5)


def test_a_team_that_can_do_half_of_it_misses_ever_more() -> None:
    found = _missed([_stream(60)], 0.5)
    assert found.load == pytest.approx(2.0)
    assert found.share.low > 0.9


def test_a_deadline_of_four_hours_is_missed_where_nobody_works_in_them() -> None:
    office = shifts_of(dict.fromkeys(range(9, 17), 10))
    by_night = _missed([_stream(60, hour=22, sla=4)], 8.0, office)
    by_day = _missed([_stream(60, hour=9, sla=4)], 8.0, office)
    assert by_night.share.expected == pytest.approx(1.0)
    assert by_day.share.expected == 0.0


def test_the_most_urgent_work_is_done_first() -> None:
    urgent, patient = _stream(60, sla=4), _stream(60, sla=47)
    found = _missed([urgent, patient], 2.4)
    alone = _missed([urgent], 2.4)
    assert found.a_day.expected == pytest.approx(alone.a_day.expected, abs=0.5)


def test_without_records_of_when_people_work_it_is_any_hour() -> None:
    assert shifts_of({}) == even_shifts()
    assert sum(shifts_of({9: 3, 14: 1})) == pytest.approx(1.0)


def test_over_a_weekend_nothing_is_late_that_is_counted_in_working_hours_and_nothing_is_worked_off() -> None:
    """Sixty come in each day at 16:00, the weekend's too, and take an hour each day; four working hours are time enough."""
    week = [*RECORDED, *(date(2026, 11, day) for day in (21, 22))]
    stream = _stream(60, hour=16, sla=4, days=7)
    by_clock = _missed([stream], 8.0, keeps=OFFICE, recorded=week)
    counted = _missed([replace(stream, spans=[(4 * HOUR, OFFICE)])], 8.0, keeps=OFFICE, recorded=week)
    assert counted.share.expected == 0.0
    assert by_clock.share.expected == pytest.approx(2 / 7)  # what comes in on Saturday and Sunday
    assert counted.load == pytest.approx(7 / 40)


def test_what_waits_over_the_weekend_is_there_on_monday_morning() -> None:
    """Six hours of work come in on a Saturday with four hours of time: on Monday the team has done four of them by then."""
    arrivals = np.zeros((7, 24))
    arrivals[5, 12] = 60
    week = [*RECORDED, *(date(2026, 11, day) for day in (21, 22))]
    stream = Stream(arrivals, [(4 * HOUR, OFFICE)], 360)
    late = _missed([stream], 8.0, keeps=OFFICE, recorded=week, days=7).a_day
    # Of the two days off each brings it with a chance of one half, and so none, one or both do.
    assert late.low == 0
    assert late.high == pytest.approx((120 - 40) / 7)
    assert late.expected == pytest.approx((0.5 * 20 + 0.25 * 80) / 7, rel=0.2)


def test_a_holiday_is_a_day_off_and_a_fortnight_without_anybody_says_nothing() -> None:
    closed = WorkingHours(UTC, OFFICE.week, frozenset({date(2026, 11, 23)}))
    by_clock = [_stream(60, hour=9, sla=4)]
    usual, holiday = (_missed(by_clock, 8.0, keeps=hours, days=4).a_day.expected for hours in (OFFICE, closed))
    assert usual == pytest.approx(60 * 2 / 4)
    assert holiday == pytest.approx(60 * 3 / 4)
    away = WorkingHours(UTC, OFFICE.week, {date(2026, 11, 1) + day * DAY for day in range(60)})
    assert missed_deadlines(by_clock, Team(8.0, even_shifts(), {away: 1.0}), RECORDED, 7) is None


def test_a_short_friday_and_the_hours_of_two_zones_have_their_part_of_the_day() -> None:
    short = WorkingHours(UTC, [((9 * HOUR, 17 * HOUR),)] * 4 + [((9 * HOUR, 13 * HOUR),), (), ()])
    west = WorkingHours(ZoneInfo("America/New_York"), OFFICE.week)
    nothing = _stream(0.001, hours=short)
    alone = _missed([nothing], 8.0, keeps=short).load
    assert alone == pytest.approx(0.001 * 7 / 60 / (4 * 8 + 4))
    both = missed_deadlines([nothing], Team(8.0, even_shifts(), {OFFICE: 1.0, west: 1.0}), RECORDED, 7)
    assert both is not None
    assert both.load == pytest.approx(0.001 * 7 / 60 / (5 * 8))


@settings(max_examples=8, deadline=None)
@given(
    hour=st.integers(0, 23),
    sla=st.integers(1, 30),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"]),
    enough=st.floats(1.0, 3.0),
)
def test_who_can_do_each_hour_what_comes_in_an_hour_misses_no_deadline_of_working_time(
    hour: int, sla: int, zone: str, enough: float
) -> None:
    """Whatever the zone and the hour: a span of working time is one in which people work, weekend or not. All that has come in
    since the last working day (three days' at most, of an hour of work each) is done within the first hour of a day."""
    hours = WorkingHours(ZoneInfo(zone), OFFICE.week)
    stream = _stream(60, hour=hour, sla=sla, hours=hours)
    found = _missed([stream], 8 * 6 * enough, keeps=hours)
    assert found.a_day == Range(0, 0, 0)
    assert found.load == pytest.approx(7 / (5 * 8 * 6 * enough))


@settings(max_examples=8, deadline=None)
@given(hour=st.integers(0, 23), sla=st.integers(1, 60), hours_a_day=st.floats(0.2, 4.0), shift=st.integers(0, 23))
def test_hours_that_never_end_are_those_of_the_clock(hour: int, sla: int, hours_a_day: float, shift: int) -> None:
    always, shifts = WorkingHours(UTC, [((0 * HOUR, 24 * HOUR),)] * 7), shifts_of({shift: 1, 9: 2})
    by_clock = _missed([_stream(60, hour=hour, sla=sla)], hours_a_day, shifts)
    counted = _missed([_stream(60, hour=hour, sla=sla, hours=always)], hours_a_day, shifts, keeps=always)
    assert counted == by_clock
