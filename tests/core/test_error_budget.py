"""Thresholds keep their budget: the bounds, ties, the order of the tests, the price of several slices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitl_bridge.core.budget.costs import Costs, costs_of
from hitl_bridge.core.budget.error_budget import (
    EVERYTHING,
    NEVER,
    Budget,
    Judged,
    Of,
    at_most,
    betting_p,
    binomial_p,
    choose,
    choose_each,
    labels_needed,
    measured,
    most_errors,
)
from hitl_bridge.core.triage.plan import CLOSED

NOBODY = Judged(np.empty(0), np.empty(0))


def drawn(rng: np.random.Generator, items: int, *, power: float = 4.0) -> Judged:
    """Items whose risk is what it says it is: most are sure, some are not."""
    risks = rng.random(items) ** power
    return Judged(risks, (rng.random(items) < risks).astype(np.float64))


def true_error(threshold: float, *, power: float = 4.0) -> tuple[float, float]:
    """Of all and of the approved, for such items: the integral of u^power up to the share that is approved."""
    approved = max(threshold, 0.0) ** (1 / power)
    share = approved ** (power + 1) / (power + 1)
    return share, share / approved if approved else 0.0


class TestBounds:
    @pytest.mark.parametrize(("wrong", "items", "bound"), [(0, 230, 0.00996), (0, 45, 0.0499), (3, 100, 0.0656), (5, 5, 1.0)])
    def test_the_upper_bound_is_clopper_pearsons(self, wrong: int, items: int, bound: float) -> None:
        assert at_most(wrong, items, 0.9) == pytest.approx(bound, rel=0.01)

    @given(items=st.integers(1, 3_000), share=st.floats(0.001, 0.4), doubt=st.floats(0.01, 0.3))
    @settings(max_examples=60, deadline=None)
    def test_the_most_errors_are_the_last_whose_bound_is_within(self, items: int, share: float, doubt: float) -> None:
        allowed = most_errors(items, share, doubt)
        assert allowed < 0 or at_most(allowed, items, 1 - doubt) <= share * (1 + 1e-6)
        assert at_most(allowed + 1, items, 1 - doubt) >= share * (1 - 1e-6)

    def test_a_bet_says_the_same_as_the_binomial_within_a_factor(self) -> None:
        losses = np.zeros(400)
        losses[[50, 250]] = 1.0
        exact, bet = binomial_p(losses, 0.02, 0.05), betting_p(losses, 0.02, 0.05)
        assert exact < bet < 30 * exact

    def test_a_bet_gains_by_small_losses(self) -> None:
        rng = np.random.default_rng(1)
        small = np.where(rng.random(3_000) < 0.1, 0.02, 0.0)
        assert betting_p(small, 0.004, 0.05) < 0.05
        assert betting_p(small, 0.0015, 0.05) > 0.05

    def test_a_bet_on_a_true_mean_seldom_wins(self) -> None:
        rng = np.random.default_rng(2)
        wins = [betting_p(rng.choice([0.0, 0.1, 1.0], 300, p=[0.9, 0.08, 0.02]), 0.028, 0.1) <= 0.1 for _ in range(400)]
        assert np.mean(wins) <= 0.1


class TestOfAll:
    @given(
        risks=st.lists(st.sampled_from([0.0, 0.1, 0.1, 0.2, 0.5, 0.9, 1.0, NEVER]), min_size=1, max_size=120),
        seed=st.integers(0, 1_000),
        share=st.sampled_from([0.02, 0.05, 0.2]),
    )
    @settings(max_examples=150, deadline=None)
    def test_what_is_approved_is_within_the_budget_and_one_group_more_is_not(
        self, risks: list[float], seed: int, share: float
    ) -> None:
        losses = (np.random.default_rng(seed).random(len(risks)) < 0.3).astype(np.float64)
        judged, budget = Judged(np.array(risks), losses), Budget(share, 0.9)
        threshold = choose(judged, NOBODY, budget)
        if threshold > CLOSED:
            assert measured(judged, threshold, 0.9).share_at_most <= share * (1 + 1e-9)
        beyond = [risk for risk in sorted(set(risks)) if threshold < risk <= EVERYTHING]
        if beyond and most_errors(len(judged), share, budget.doubt) >= 0:
            assert measured(judged, beyond[0], 0.9).share_at_most > share

    def test_equal_risks_are_approved_together_or_not_at_all(self) -> None:
        risks = np.repeat([0.01, 0.02], 200)
        judged = Judged(risks, np.r_[np.zeros(200), np.tile([0.0, 1.0], 100)])
        assert 0.01 <= choose(judged, NOBODY, Budget(0.05, 0.9)) < 0.02

    def test_too_few_items_keep_it_closed_however_good_they_are(self) -> None:
        assert choose(Judged(np.zeros(44), np.zeros(44)), NOBODY, Budget(0.05, 0.9)) == CLOSED
        assert choose(Judged(np.zeros(45), np.zeros(45)), NOBODY, Budget(0.05, 0.9)) == EVERYTHING
        assert choose(NOBODY, NOBODY, Budget(0.05, 0.9)) == CLOSED

    def test_it_breaks_its_budget_as_seldom_as_it_says(self) -> None:
        rng = np.random.default_rng(3)
        thresholds = [choose(drawn(rng, 600), NOBODY, Budget(0.02, 0.9)) for _ in range(400)]
        assert np.mean([true_error(each)[0] > 0.02 for each in thresholds]) <= 0.13
        assert np.mean([each ** (1 / 4) for each in thresholds]) > 0.5


class TestOfTheApproved:
    def test_it_breaks_its_budget_as_seldom_as_it_says(self) -> None:
        rng = np.random.default_rng(4)
        chosen = [choose(drawn(rng, 1_000), drawn(rng, 150), Budget(0.03, 0.9, "approved")) for _ in range(200)]
        assert np.mean([true_error(each)[1] > 0.03 for each in chosen]) <= 0.15
        assert np.mean([max(each, 0.0) ** (1 / 4) for each in chosen]) > 0.4

    def test_the_bound_of_what_was_chosen_is_within_the_budget(self) -> None:
        rng = np.random.default_rng(5)
        judged = drawn(rng, 2_000)
        threshold = choose(judged, drawn(rng, 300), Budget(0.03, 0.95, "approved"))
        error = measured(judged, threshold, 0.95).error_at_most
        assert error is not None
        assert error <= 0.03

    def test_without_items_to_fix_the_levels_by_it_stays_closed(self) -> None:
        assert choose(drawn(np.random.default_rng(6), 2_000), NOBODY, Budget(0.05, 0.9, "approved")) == CLOSED

    def test_risks_that_expect_too_much_do_not_keep_it_closed(self) -> None:
        rng = np.random.default_rng(7)
        good = Judged(0.3 + 0.5 * rng.random(2_300), np.zeros(2_300))
        pilot = Judged(good.risks[:300], good.losses[:300])
        assert choose(Judged(good.risks[300:], good.losses[300:]), pilot, Budget(0.05, 0.9, "approved")) == EVERYTHING


class TestSlices:
    def test_each_has_its_own_threshold_and_all_hold_at_once(self) -> None:
        rng, broken = np.random.default_rng(8), 0
        for _ in range(150):
            chosen = choose_each({name: (drawn(rng, 500), NOBODY) for name in "abc"}, Budget(0.03, 0.9))
            broken += any(true_error(each)[0] > 0.03 for each in chosen.values())
        assert broken / 150 <= 0.16

    def test_a_slice_that_needs_its_part_of_the_doubt_no_more_leaves_it_to_the_others(self) -> None:
        rng = np.random.default_rng(9)
        hard = (drawn(rng, 500, power=2.0), NOBODY)
        easy = (Judged(np.zeros(500), np.zeros(500)), NOBODY)
        both = choose_each({"easy": easy, "hard": hard}, Budget(0.03, 0.9))
        assert both == {"easy": EVERYTHING, "hard": choose(*hard, Budget(0.03, 0.9))}


class TestCosts:
    COSTS = costs_of({"fraud": 50.0, "refund": {"billing": 5.0}})

    @pytest.mark.parametrize(
        ("predicted", "true", "cost"),
        [("ok", "fraud", 50), ("billing", "refund", 5), ("ok", "refund", 1), ("fraud", "ok", 1), ("fraud", "fraud", 0)],
    )
    def test_an_error_costs_what_its_pair_says_else_its_true_label_else_one(self, predicted: str, true: str, cost: float) -> None:
        assert self.COSTS.of(predicted, true) == cost
        assert (self.COSTS.highest, Costs().highest) == (50, 1)

    @staticmethod
    def priced(rng: np.random.Generator, items: int) -> Judged:
        """One error in ten costs ten times as much as the others."""
        plain = drawn(rng, items)
        return Judged(plain.risks, plain.losses * np.where(rng.random(items) < 0.1, 1.0, 0.1))

    @pytest.mark.parametrize("of", ["all", "approved"])
    def test_the_mean_cost_is_kept_as_often_as_it_is_said(self, of: Of) -> None:
        rng, broken, coverage = np.random.default_rng(10), [], []
        for _ in range(60):
            judged, pilot = (self.priced(rng, items) for items in (1_500, 250))
            threshold = choose(judged, pilot, Budget(0.12, 0.9, of, unit=10.0))
            share, error = true_error(threshold)
            broken.append(1.9 * (share if of == "all" else error) > 0.12)
            coverage.append(max(threshold, 0.0) ** (1 / 4))
        assert np.mean(broken) <= 0.2
        assert np.mean(coverage) > 0.3


class TestLabelsNeeded:
    @pytest.mark.parametrize(("share", "least"), [(0.01, 230), (0.02, 114), (0.05, 45)])
    def test_without_any_item_it_is_the_least_that_would_do_without_an_error(self, share: float, least: int) -> None:
        assert labels_needed(NOBODY, Budget(share, 0.9)) == least

    def test_so_many_labels_are_mostly_enough(self) -> None:
        rng, budget = np.random.default_rng(11), Budget(0.02, 0.95)
        needed = labels_needed(drawn(rng, 200), budget)
        assert needed is not None
        opened = [measured(each, choose(each, NOBODY, budget), 0.95).coverage >= 0.3 for each in
                  (drawn(rng, needed) for _ in range(60))]  # fmt: skip
        assert np.mean(opened) >= 0.6

    def test_it_says_so_where_no_number_would_do(self) -> None:
        hopeless = Judged(np.full(300, 0.5), np.tile([0.0, 1.0], 150))
        assert labels_needed(hopeless, Budget(0.05, 0.9)) is None
        assert labels_needed(hopeless, Budget(0.05, 0.9, "approved")) is None
