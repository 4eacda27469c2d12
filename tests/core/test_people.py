"""The roster, and whose answers decide."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hitl_bridge.core.people import (
    WEEKLY,
    Deciders,
    Person,
    Role,
    RosterChange,
    Seat,
    Term,
    former,
    roster_change,
    seats,
    together,
    with_roster,
)
from hitl_bridge.core.review.consensus import deciding_answers
from hitl_bridge.core.routing import Pool
from tests.core.examples import an_annotation

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
ANA, BEN, DEE = "ana@example.com", "ben@example.com", "dee@example.com"


def test_people_of_the_roster_are_in_their_pools_beside_those_named_there() -> None:
    pools = with_roster(
        [Pool("legal", "true", (ANA,)), Pool("rest")],
        [Person(ANA, ("legal",)), Person(BEN, ("legal", "rest")), Person(DEE, ("legal",), adjudicates=True)],
    )
    assert pools[0] == Pool("legal", "true", (ANA, BEN, DEE), (DEE,))
    assert pools[1] == Pool("rest", None, (BEN,))


def test_who_joins_and_who_leaves_is_told_once() -> None:
    before = seats([Pool("legal", None, (ANA, BEN))])
    assert roster_change(before, []) == RosterChange(joined=tuple(sorted(before)))
    terms = [Term(seat, NOW) for seat in before]
    assert roster_change(before, terms) == RosterChange()
    after = seats([Pool("legal", None, (ANA,), (ANA,))])
    assert roster_change(after, terms) == RosterChange(
        (Seat("legal", Role.ADJUDICATOR, ANA),), (Seat("legal", Role.REVIEWER, BEN),)
    )


def test_what_somebody_said_before_they_left_goes_on_counting() -> None:
    left = former([Term(Seat("legal", Role.REVIEWER, BEN), NOW - timedelta(days=9), NOW)])
    deciders = Deciders(frozenset({ANA}), left["legal", Role.REVIEWER])
    early, late = (f"2026-11-22T0{hour}:00:00.000000Z" for hour in (9, 9))
    said = an_annotation(reviewer=BEN, updated_at=early)
    assert deciding_answers([said], deciders) == (said,)
    assert deciding_answers([replace(said, updated_at="2026-11-22T10:00:01.000000Z")], deciders) == ()
    assert deciding_answers([replace(said, reviewer=DEE, updated_at=late)], deciders) == ()


def test_who_comes_back_has_not_left() -> None:
    seat = Seat("legal", Role.REVIEWER, BEN)
    terms = [Term(seat, NOW - timedelta(days=9), NOW - timedelta(days=5)), Term(seat, NOW - timedelta(days=1))]
    assert former(terms) == {("legal", Role.REVIEWER): {}}


def test_what_a_newcomer_said_before_they_counted_does_not_count_once_they_leave() -> None:
    early, late, after = (f"2026-11-22T{hour:02}:00:00Z" for hour in (8, 9, 11))
    gone = Deciders(frozenset({ANA}), former={BEN: NOW}, begun={BEN: NOW - timedelta(minutes=90)})
    assert [gone.might(BEN, at) for at in (early, late, after)] == [False, True, False]


def test_who_may_decide_by_one_of_several_pools_may_when_that_one_lets_them() -> None:
    early, late, after = (f"2026-11-22T{hour:02}:00:00Z" for hour in (8, 9, 11))
    begun = {BEN: NOW - timedelta(minutes=90)}
    one, other = Deciders(frozenset({ANA}), former={BEN: NOW}, begun=begun), Deciders(frozenset({DEE, BEN}), begun={BEN: NOW})
    either = together([one, other])
    assert isinstance(either, Deciders)
    assert set(either) == {ANA, BEN, DEE}
    assert [either.might(BEN, at) for at in (early, late, after)] == [False, True, True]
    left = together([Deciders(frozenset({ANA}), former={BEN: NOW}), Deciders(frozenset({DEE}), former={BEN: NOW - 2 * WEEKLY})])
    assert isinstance(left, Deciders)
    assert BEN not in left
    assert [left.might(BEN, at) for at in (late, after)] == [True, False]
