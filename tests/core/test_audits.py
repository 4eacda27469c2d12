"""What audits tell: intervals, verdicts, sizes, the whole traffic, drift."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import betabinom, binom

from hitl_bridge.core.audits import drift
from hitl_bridge.core.audits.audit_size import Wish, audits_to_settle, planned_audits
from hitl_bridge.core.audits.audited import CLOSED, RUNNING, Stratum, auto_error, inclusion, wrong_items
from hitl_bridge.core.audits.lots import (
    AuditTerms,
    LotFindings,
    LotPromise,
    LotVerdict,
    budget_of_approved,
    further_audits,
    judge,
    lot_of,
    promise_of,
    threshold_that_kept,
)
from hitl_bridge.core.audits.reviewers import Bounds, ReviewerError, share_bounds
from hitl_bridge.core.audits.tightened import with_audit_rate, with_ceilings
from hitl_bridge.core.audits.traffic import Looked, whole_accuracy
from hitl_bridge.core.triage.plan import CLOSED as NOTHING_APPROVED
from hitl_bridge.core.triage.plan import TierBound, TriagePlan

A_DAY = datetime(2026, 11, 22, 10, tzinfo=UTC)
WEEK = timedelta(days=7)

strata = st.builds(
    lambda probability, right, wrong, waiting: Stratum(
        probability, round((right + wrong + waiting) / probability), right, wrong, waiting
    ),
    st.sampled_from([0.02, 0.05, 0.3, 1.0]), st.integers(0, 60), st.integers(0, 20), st.integers(0, 10),
)  # fmt: skip
"""As many drawn as are to be expected."""


@settings(deadline=None, max_examples=60)
@given(st.lists(strata, max_size=3), st.booleans())
def test_an_interval_holds_what_was_seen_and_narrows_when_a_lot_is_closed(parts: list[Stratum], closed: bool) -> None:
    low, high = wrong_items(parts, 0.95, closed=closed)
    total = sum(each.items for each in parts)
    assert sum(each.wrong for each in parts) <= low <= high <= total - sum(each.right for each in parts)
    narrower = wrong_items(parts, 0.95, closed=True)
    assert low <= narrower[0]
    assert narrower[1] <= high


@settings(deadline=None, max_examples=60)
@given(strata, st.booleans(), st.data())
def test_an_answer_that_comes_in_only_narrows_the_interval(part: Stratum, closed: bool, data: st.DataObject) -> None:
    wrong = data.draw(st.integers(0, part.waiting))
    settled = Stratum(part.probability, part.items, part.right + part.waiting - wrong, part.wrong + wrong)
    before, after = (wrong_items([each], 0.95, closed=closed) for each in (part, settled))
    assert before[0] <= after[0]
    assert after[1] <= before[1]


@settings(deadline=None, max_examples=30)
@given(strata, st.floats(0, 0.05), st.floats(0, 0.2))
def test_not_knowing_the_reviewers_widens_the_interval(part: Stratum, alarm: float, miss: float) -> None:
    known = ReviewerError(Bounds(alarm, alarm), Bounds(miss, miss))
    vague = ReviewerError(Bounds(alarm / 2, alarm * 1.5), Bounds(miss / 2, miss * 1.5), doubt=0.01)
    narrow, wide = (wrong_items([part], 0.95, each, closed=True) for each in (known, vague))
    assert wide[0] <= narrow[0]
    assert narrow[1] <= wide[1]


def test_everything_looked_at_leaves_nothing_open() -> None:
    error = auto_error([Stratum(1.0, 1_000, 990, 10)])
    assert (error.low, error.value, error.high) == (0.01, 0.01, 0.01)


def test_no_audit_says_nothing() -> None:
    error = auto_error([Stratum(0.05, 1_000, waiting=50)])
    assert (error.low, error.value, error.high) == (0.0, None, 1.0)
    assert auto_error([]).high == 1.0


def test_what_could_not_be_drawn_is_told_apart() -> None:
    error = auto_error([Stratum(0.0, 500), Stratum(0.1, 1_000, 100, 0)])
    assert (error.items, error.unmeasured) == (1_000, 500)


def test_the_bound_of_one_look_is_that_of_clopper_and_pearson_for_draws_by_item() -> None:
    part, alpha = Stratum(0.05, 20_000, 990, 10), 0.05 * CLOSED[1]
    high = wrong_items([part], 0.95, closed=True)[1]
    assert binom.cdf(10, high, 0.05) > alpha
    assert binom.cdf(10, high + 1, 0.05) <= alpha
    assert sum((*RUNNING, *CLOSED)) <= 1.0


def test_several_probabilities_are_weighted_and_cost_the_bound_nothing_it_could_not_know() -> None:
    alike = auto_error([Stratum(0.1, 50_000, 4_950, 50)], closed=True)
    mixed = auto_error([Stratum(0.1, 25_000, 2_475, 25), Stratum(0.3, 25_000, 7_425, 75)], closed=True)
    assert alike.value == pytest.approx(0.01)
    assert mixed.value == pytest.approx(0.01)
    assert mixed.low < 0.01 < mixed.high


@pytest.mark.parametrize("told", [ReviewerError(), ReviewerError(Bounds(0.0025, 0.0025), Bounds(0.05, 0.05))])
def test_the_interval_covers_the_truth_at_every_look_of_a_lot_that_grows_worse(told: ReviewerError) -> None:
    chance, days, rate = np.random.default_rng(7), 6, 0.05
    called = told.false_alarm.best, 1 - told.miss.best
    missed = 0
    for _ in range(150):
        strata_so_far, errors, covered = Stratum(rate, 0), 0, True
        for day in range(days):
            bad = 40 * day
            found = chance.binomial(bad, rate * called[1]) + chance.binomial(2_000 - bad, rate * called[0])
            errors += bad
            strata_so_far = Stratum(rate, strata_so_far.items + 2_000, 0, strata_so_far.wrong + found)
            error = auto_error([strata_so_far], 0.95, told, closed=day == days - 1)
            covered &= error.low <= errors / strata_so_far.items <= error.high
        missed += not covered
    assert missed <= 15  # 5 % of 150 and three standard deviations


# -------------------------------------------------------------------------------------------------------------- sizes


def test_the_planned_size_holds_bad_lots_and_proves_good_ones() -> None:
    plan = planned_audits(50_000, 0.01, Wish(bad=0.03, good=0.005))
    assert plan is not None
    assert 1_500 < plan.audits < 3_000
    assert plan.held >= 0.95
    assert plan.proven >= 0.80


def test_a_small_lot_takes_fewer_audits_and_errors_of_reviewers_take_more() -> None:
    wish = Wish(bad=0.06, good=0.01)
    small, large = (planned_audits(items, 0.02, wish) for items in (1_500, 100_000))
    vague = planned_audits(100_000, 0.02, wish, reviewers=ReviewerError(Bounds(0.002, 0.003), Bounds(0.03, 0.06), 0.01))
    assert small is not None
    assert large is not None
    assert vague is not None
    assert small.audits < large.audits < vague.audits


def test_no_size_is_promised_where_none_would_do() -> None:
    assert planned_audits(10, 0.01, Wish(bad=0.03, good=0.0099)) is None
    assert planned_audits(0, 0.01, Wish(bad=0.03, good=0.005)) is None


def test_the_further_audits_are_fewer_the_more_there_are() -> None:
    few, many = (auto_error([Stratum(0.05, 60_000, right, 0)]) for right in (300, 900))
    first, then = audits_to_settle(few, 0.01), audits_to_settle(many, 0.01)
    assert first is not None
    assert then is not None
    assert then < first


# --------------------------------------------------------------------------------------------------------------- lots


def test_a_lot_is_a_period_of_one_model_and_one_policy() -> None:
    lot = lot_of("m1", "p-1", A_DAY, WEEK)
    assert (lot.starts_at.weekday(), lot.ends_at - lot.starts_at) == (0, WEEK)
    assert lot == lot_of("m1", "p-1", lot.starts_at, WEEK)
    others = [lot_of("m2", "p-1", A_DAY, WEEK), lot_of("m1", "p-2", A_DAY, WEEK), lot_of("m1", "p-1", A_DAY + WEEK, WEEK)]
    assert len({lot.lot_id, *(each.lot_id for each in others)}) == 4


def test_a_promise_of_all_traffic_allows_more_of_the_approved_share() -> None:
    assert budget_of_approved(LotPromise(0.02), approved=5_000, traffic=10_000) == pytest.approx(0.04)
    assert budget_of_approved(LotPromise(0.02, of="approved"), approved=5_000, traffic=10_000) == 0.02
    assert promise_of(AuditTerms(), None, "all", 0.95) is None
    assert promise_of(AuditTerms(lot_budget=0.01), 0.5, "all", 0.9) == LotPromise(0.01, "approved", 0.9)


def test_a_lot_is_held_proven_or_open() -> None:
    def verdict(part: Stratum, *, closed: bool) -> LotVerdict:
        return judge(LotFindings([part], part.items, closed), LotPromise(0.02)).verdict

    bad, good = Stratum(0.1, 20_000, 1_900, 100), Stratum(0.1, 20_000, 1_995, 5)
    assert verdict(bad, closed=False) is LotVerdict.HELD
    assert verdict(good, closed=False) is LotVerdict.UNPROVEN
    assert verdict(good, closed=True) is LotVerdict.PROVEN
    assert verdict(Stratum(0.1, 20_000, 1_700, 5, waiting=295), closed=True) is LotVerdict.UNPROVEN


def test_what_could_not_be_drawn_proves_nothing() -> None:
    judged = judge(LotFindings([Stratum(0.0, 1_000), Stratum(1.0, 1_000, 1_000)], 2_000, closed=True), LotPromise(0.02))
    assert judged.verdict is LotVerdict.UNPROVEN
    assert further_audits(judged, LotPromise(0.02)) is None


def test_the_threshold_that_kept_leaves_the_risky_part_out() -> None:
    findings = LotFindings([Stratum(0.2, 5_000, 900, 100)], 5_000, closed=False)
    risks = [(place / 1_000, place >= 900) for place in range(1_000)]
    kept = threshold_that_kept(risks, findings, LotPromise(0.02))
    assert kept is not None
    assert 0.89 < kept < 0.92
    assert threshold_that_kept([(0.1, True)] * 100, findings, LotPromise(0.02)) is None
    approved = threshold_that_kept(risks, findings, LotPromise(0.02, of="approved"))
    assert approved is not None
    assert 0.89 < approved < 0.92


# ---------------------------------------------------------------------------------------------------------- reviewers


def test_a_share_lies_between_its_bounds_and_anywhere_where_nothing_was_counted() -> None:
    alarms = share_bounds(2, 1_000, 0.005)
    assert alarms.low < 0.002 < alarms.high
    assert share_bounds(0, 0, 0.05) == Bounds(0.0, 1.0)


# ------------------------------------------------------------------------------------------------------ whole traffic


def test_the_difference_estimator_has_no_bias_where_the_plain_mean_has() -> None:
    chance = np.random.default_rng(3)
    risk = chance.beta(0.4, 2.0, 4_000)
    wrong = (chance.random(4_000) < np.clip(1.5 * risk, 0, 1)).astype(float)
    rates = np.where(risk < 0.3, 0.05, 0.2)
    found, plain, covered = [], [], 0
    for _ in range(400):
        drawn = chance.random(4_000) < rates
        one = whole_accuracy(4_000, float(risk.sum()), Looked(rates[drawn], risk[drawn], wrong[drawn]))
        assert one is not None
        found.append(1 - one.value)
        plain.append(wrong[drawn].mean())
        covered += one.low <= 1 - wrong.mean() <= one.high
    assert abs(np.mean(found) - wrong.mean()) < 0.004
    assert abs(np.mean(plain) - wrong.mean()) > 0.05
    assert covered >= 0.9 * 400
    assert whole_accuracy(10, 1.0, Looked(rates[:1], risk[:1], wrong[:1])) is None


def test_either_draw_brings_an_approved_item_before_somebody() -> None:
    assert inclusion(0.02, 0.05) == pytest.approx(0.069)
    assert inclusion(0.0, 1.0) == 1.0


# -------------------------------------------------------------------------------------------------------------- drift


def test_drift_is_seen_within_a_block_and_its_false_alarms_are_as_designed() -> None:
    chance = np.random.default_rng(11)
    usual = drift.reference_of(chance.beta(8, 1, 4_000))
    quiet = chance.beta(8, 1, (600, drift.BLOCK)) < usual.below
    alarms = sum(drift.look(usual, drift.BLOCK, int(block.sum())).alarm for block in quiet)
    assert alarms <= 4
    strange = np.where(chance.random((50, drift.BLOCK)) < 0.2, 0.0, 1.0) < usual.below
    assert np.mean([drift.look(usual, drift.BLOCK, int(block.sum()) + 15).alarm for block in strange]) > 0.95


def test_a_small_reference_is_trusted_less() -> None:
    small, large = drift.Reference(0.5, 1_000, 100), drift.Reference(0.5, 100_000, 10_000)
    assert drift.look(small, 20_000, 2_300).p_value > drift.look(large, 20_000, 2_300).p_value
    assert drift.look(large, 200, 0).p_value == 1.0
    assert drift.look(small, 200, 40).p_value == pytest.approx(betabinom(200, 100.5, 900.5).sf(39))


def test_a_raised_audit_rate_is_another_policy_and_a_lower_one_is_none() -> None:
    plan = TriagePlan("p-1", (TierBound("auto", 0.1), TierBound("quick", 1.0)), audit_rate=0.05)
    raised = with_audit_rate(plan, 0.15)
    assert raised.audit_rate == 0.15
    assert raised.policy_version != plan.policy_version
    assert with_audit_rate(plan, 0.01) is plan
    assert with_audit_rate(plan, None) is plan


def test_a_threshold_set_by_hand_is_lowered_for_one_model_and_never_raised() -> None:
    plan = TriagePlan("p-1", (TierBound("auto", 0.1), TierBound("quick", 1.0)))
    lowered = with_ceilings(plan, {"m1": 0.04, "m2": 0.5, "m3": NOTHING_APPROVED})
    assert {each.model_version: each.max_risk for each in lowered.thresholds} == {"m1": 0.04, "m3": NOTHING_APPROVED}
    assert lowered.policy_version != plan.policy_version
    assert with_ceilings(plan, {"m1": 0.2}) is plan
