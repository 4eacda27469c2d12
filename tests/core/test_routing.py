"""Who reviews an item, by when, and in what order it is served."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from hitl_bridge.core.model import Purpose, Split, Triage
from hitl_bridge.core.routing import BlindOrder, Pool, Tier, choose_route, may_overlap, priority

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
QUICK = Tier("quick", 0.3, reviewers=2, sla=timedelta(hours=4))
POOL = Pool("payments", "scenario = 'payments'")
BLIND = BlindOrder(timedelta(hours=48), 0.25)
_times = st.datetimes(datetime(2021, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))
_shares = st.floats(0, 1)


def _triage(purpose: Purpose = Purpose.REVIEW, *, rule: str | None = None, risk: float = 0.2) -> Triage:
    return Triage("quick", risk, "why", purpose, Split.TRAIN, "p1", 0.05, 0.02, rule)


def test_an_item_is_due_when_its_tier_says_and_needs_as_many_answers() -> None:
    route = choose_route(_triage(), POOL, QUICK, NOW, BLIND)
    assert (route.pool, route.tier, route.reviewers, route.blind) == ("payments", "quick", 2, False)
    assert route.due_at == NOW + timedelta(hours=4)
    assert route.reason == "payments, quick review, 2 independent answers, due 2026-11-22 14:00 UTC"


def test_audits_and_uniform_items_are_blind_looked_at_once_and_due_when_audits_are() -> None:
    for purpose in (Purpose.AUDIT, Purpose.UNIFORM):
        route = choose_route(_triage(purpose), POOL, QUICK, NOW, BLIND)
        assert (route.blind, route.reviewers, route.due_at) == (True, 1, NOW + timedelta(hours=48))


def test_a_blind_item_is_served_among_the_ordinary_ones_wherever_its_risk_lies() -> None:
    places = {choose_route(_triage(Purpose.AUDIT, risk=risk, rule=rule), POOL, QUICK, NOW, BLIND).priority
              for risk in (0.0, 0.9) for rule in (None, "a")}  # fmt: skip
    first = choose_route(_triage(rule="a", risk=1.0), POOL, QUICK, NOW, BLIND).priority
    last = choose_route(_triage(risk=0.0), POOL, QUICK, NOW, BLIND).priority
    assert len(places) == 1
    assert first < places.pop() < last


@given(_times, _shares, st.booleans())
def test_priority_lies_between_zero_and_one(due: datetime, risk: float, by_rule: bool) -> None:
    assert 0 <= priority(due, risk, by_rule=by_rule) <= 1


@given(_times, _shares, _shares, st.booleans(), st.booleans())
def test_whatever_is_due_more_than_an_hour_earlier_is_served_first(
    due: datetime, one: float, other: float, rule: bool, other_rule: bool
) -> None:
    later = due + timedelta(minutes=61)
    assert priority(due, one, by_rule=rule) < priority(later, other, by_rule=other_rule)


def test_of_what_is_due_at_once_rules_come_first_and_then_the_higher_risk() -> None:
    order = [priority(NOW, 0.9, by_rule=True), priority(NOW, 0.1, by_rule=True), priority(NOW, 0.9, by_rule=False)]
    assert order == sorted(order)
    assert priority(NOW, 0.9, by_rule=False) < priority(NOW, 0.1, by_rule=False)


def test_pools_that_name_different_values_of_one_field_never_judge_the_same_item() -> None:
    def overlap(*conditions: str | None) -> bool:
        return may_overlap(Pool(str(number), when) for number, when in enumerate(conditions))

    assert not overlap("scenario = 'payments'", " Scenario='legal' ", "false", None)
    assert not overlap("scenario = 'payments'", None)
    assert overlap("scenario = 'payments'", "scenario = 'payments'")
    assert overlap("scenario = 'payments'", "language = 'de'")
    assert overlap("scenario = 'payments'", "scenario IN ('payments', 'legal')")
    assert overlap("scenario = 'a' OR language = 'de'", "scenario = 'b'")
    assert overlap("scenario = 'it''s'", "scenario = 'b'"), "what can't be read at a glance is asked"
