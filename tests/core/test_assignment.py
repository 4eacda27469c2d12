"""Who gets which item: the optimum, within everybody's room, with a reason for what finds no place."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from hitl_bridge.core.assignment import Terms, Work, Worker, assign
from hitl_bridge.core.deadlines import WorkingHours, shift

DUE = datetime(2026, 11, 23, 18, tzinfo=UTC)
LONG_AGO = DUE - timedelta(days=7)
OFFICE = WorkingHours(UTC, [((timedelta(hours=9), timedelta(hours=17)),)] * 5 + [()] * 2)
PEOPLE = ("ana", "ben", "cy", "dee")


def some_work(scenarios: list[int], answers: int = 1, may: frozenset[str] = frozenset(PEOPLE)) -> list[Work]:
    return [Work(f"i{place:03}", str(scenario), answers, DUE, may) for place, scenario in enumerate(scenarios)]


def workers(rooms: list[int]) -> list[Worker]:
    return [Worker(person, room, LONG_AGO) for person, room in zip(PEOPLE, rooms, strict=False)]


@settings(max_examples=40, deadline=None)
@given(
    scenarios=st.lists(st.integers(0, 3), min_size=1, max_size=25),
    skills=st.lists(st.floats(0.01, 1), min_size=16, max_size=16),
)
def test_it_is_the_optimum_of_a_solver_that_sees_each_item_and_each_place(scenarios: list[int], skills: list[float]) -> None:
    table = np.array(skills).reshape(4, 4)
    room = -(-11 * len(scenarios) // 40)
    found = assign(
        some_work(scenarios), workers([room] * 4), lambda person, scenario: table[PEOPLE.index(person), int(scenario or 0)]
    )
    slots = np.repeat(np.arange(4), room)
    values = table[slots][:, scenarios].T
    rows, columns = linear_sum_assignment(values, maximize=True)
    assert found.value == pytest.approx(values[rows, columns].sum(), abs=1e-9)
    assert not found.unplaced


@settings(max_examples=40, deadline=None)
@given(
    scenarios=st.lists(st.integers(0, 3), min_size=1, max_size=20),
    answers=st.integers(1, 4),
    rooms=st.lists(st.integers(0, 30), min_size=4, max_size=4),
)
def test_nobody_is_over_their_room_and_no_item_asks_anybody_twice(scenarios: list[int], answers: int, rooms: list[int]) -> None:
    found = assign(some_work(scenarios, answers), workers(rooms), lambda _person, _scenario: 0.8)
    assert all(found.load().get(person, 0) <= room for person, room in zip(PEOPLE, rooms, strict=True))
    assert all(len(set(people)) == len(people) <= answers for people in found.people.values())
    missing = sum(each.missing for each in found.unplaced)
    assert sum(found.load().values()) + missing == answers * len(scenarios)
    most = min(sum(min(room, len(scenarios)) for room in rooms), answers * len(scenarios))
    assert sum(found.load().values()) <= most
    assert all(each.reason for each in found.unplaced)


def test_nobody_gets_more_than_a_tenth_above_their_share_while_that_is_possible() -> None:
    found = assign(some_work([0] * 40), workers([100] * 4), lambda person, _scenario: 0.9 if person == "ana" else 0.5)
    assert max(found.load().values()) == found.load()["ana"] == 11
    alone = assign(some_work([0] * 40, may=frozenset({"ana"})), workers([100] * 4), lambda _person, _scenario: 0.5)
    assert alone.load() == {"ana": 40}


def test_part_timers_get_their_part() -> None:
    people = [Worker("ana", 100, LONG_AGO, 40.0), Worker("ben", 100, LONG_AGO, 10.0)]
    found = assign(some_work([0] * 50), people, lambda person, _scenario: 0.9 if person == "ben" else 0.5)
    assert found.load()["ben"] == 11


def test_what_finds_no_place_says_why() -> None:
    few = assign(some_work([0] * 5, 2, frozenset({"ana"})), workers([9, 9]), lambda _person, _scenario: 0.8)
    assert {each.reason for each in few.unplaced} == {"it needs answers of 2 different people, and one person may give one"}
    full = assign(some_work([0] * 5, 2, frozenset({"ana", "ben"})), workers([2, 9, 9]), lambda _person, _scenario: 0.8)
    assert {each.reason for each in full.unplaced} == {"10 answers are due from one person who have room for 2"}
    assert sum(each.missing for each in full.unplaced) == 3
    nobody = assign(some_work([0]), [], lambda _person, _scenario: 0.8)
    assert [each.reason for each in nobody.unplaced] == ["nobody is there to take it"]


def test_lateness_is_weighed_against_skill_and_may_be_ruled_out() -> None:
    people = [Worker("ana", 9, DUE + timedelta(hours=5)), Worker("ben", 9, DUE - timedelta(hours=1))]
    skill = {"ana": 0.9, "ben": 0.7}
    one = some_work([0])

    def chance(person: str, _scenario: str | None) -> float:
        return skill[person]

    assert assign(one, people, chance).people == {"i000": ("ana",)}
    assert assign(one, people, chance, Terms(lateness_cost=0.05)).people == {"i000": ("ben",)}
    assert assign(one, people, chance, Terms(latest=timedelta(hours=4))).people == {"i000": ("ben",)}


@settings(max_examples=60, deadline=None)
@given(
    due_at=st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),
    late=st.lists(st.integers(-90 * 60, 90 * 60), min_size=2, max_size=4),
    hours=st.sampled_from([None, OFFICE]),
)
def test_lateness_is_counted_in_the_hours_of_the_deadline(due_at: datetime, late: list[int], hours: WorkingHours | None) -> None:
    """Whoever is so many working minutes late is late by the hours that these begin, whatever the weekend adds by the clock."""
    for person, minutes in zip(PEOPLE, late, strict=False):
        ready_at = shift(due_at, timedelta(minutes=minutes), hours)
        work = [Work(f"i{place}", "a", 1, due_at, frozenset({person}), hours=hours) for place in range(2)]
        others = [Worker(other, 9, due_at + timedelta(days=3)) for other in PEOPLE if other != person]
        found = assign(work, [Worker(person, 9, ready_at), *others], lambda _person, _scenario: 0.9)
        assert found.value == pytest.approx(2 * (0.9 - min(1.0, 0.02 * max(0, -(-minutes // 60)))))


def test_monday_morning_is_an_hour_after_friday_evening_and_a_weekend_late_where_the_clock_counts() -> None:
    friday, monday = datetime(2026, 11, 27, 17, tzinfo=UTC), datetime(2026, 11, 30, 10, tzinfo=UTC)
    people = [Worker("ana", 9, monday), Worker("ben", 9, friday)]
    one = Work("i0", "a", 1, friday, frozenset(PEOPLE), hours=OFFICE)

    def chance(person: str, _scenario: str | None) -> float:
        return 0.9 if person == "ana" else 0.8

    assert assign([one], people, chance).people == {"i0": ("ana",)}
    assert assign([replace(one, hours=None)], people, chance).people == {"i0": ("ben",)}


def test_the_most_urgent_items_of_a_kind_go_first_and_to_everybody_in_turn() -> None:
    work = [Work(f"i{hour}", "a", 1, DUE + timedelta(hours=hour), frozenset(PEOPLE)) for hour in range(8)]
    found = assign(work, workers([1, 1, 1, 1]), lambda _person, _scenario: 0.8)
    assert sorted(found.people) == ["i0", "i1", "i2", "i3"]
    assert Counter(found.load().values()) == {1: 4}


def test_an_item_left_to_chance_goes_by_its_draw() -> None:
    drawn = {"ana": 0.1, "ben": 0.2, "cy": 0.9, "dee": 0.3}
    work = [Work("i0", "a", 1, DUE, frozenset(PEOPLE), drawn)]
    assert assign(work, workers([1] * 4), lambda person, _scenario: 1.0 if person == "ana" else 0.0).people == {"i0": ("cy",)}
