from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from hitl_bridge.core.gating.paired import (
    Pairs,
    agresti_min_bounds,
    count_pairs,
    exact_mcnemar,
    items_needed,
    smallest_visible,
    worse_among,
)
from tests.core.examples import UNHURRIED


def test_the_items_needed_are_those_of_the_published_power_calculation() -> None:
    # One-sided 5 %, power 80 %, no true change, margin 2 points: 464, 773 and 1,546 items at 3, 5 and 10 % discordance.
    for discordance, expected in ((0.03, 464), (0.05, 773), (0.10, 1546)):
        n = 1_000_000
        assert items_needed(int(discordance * n), n, 0.02, 0.05) == pytest.approx(expected, abs=1)
        assert smallest_visible(int(discordance * expected), expected, 0.05) == pytest.approx(0.02, rel=0.02)


def holm(p_values: list[float], alpha: float) -> list[bool]:
    """Holm (1979), as in the textbook."""
    rejected = [False] * len(p_values)
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[index] > alpha / (len(p_values) - rank):
            break
        rejected[index] = True
    return rejected


def slices_of(*counts: tuple[int, int]) -> list[Pairs]:
    """By losses and wins."""
    return [Pairs(10, wins, losses, 0) for losses, wins in counts]


@UNHURRIED
@given(st.lists(st.tuples(st.integers(8, 40), st.integers(8, 40)), max_size=6), st.floats(0.01, 0.2))
def test_where_every_slice_has_discordant_pairs_enough_the_method_is_holm_s(counts: list[tuple[int, int]], alpha: float) -> None:
    slices = slices_of(*counts)
    expected = holm([exact_mcnemar(pairs.losses, pairs.wins) for pairs in slices], alpha)

    assert list(worse_among(slices, alpha).rejected) == expected


def test_slices_that_could_not_be_found_worse_cost_the_others_nothing() -> None:
    ruined, quiet = slices_of((8, 0)), slices_of(*[(1, 1)] * 76)

    found = worse_among([*quiet, *ruined], 0.05)

    assert found.rejected == (*[False] * 76, True)
    assert holm([exact_mcnemar(each.losses, each.wins) for each in (*quiet, *ruined)], 0.05)[-1] is False
    assert worse_among([], 0.05).rejected == ()


def test_seventy_seven_slices_without_a_change_are_rarely_called_worse() -> None:
    chance = np.random.default_rng(5)
    named = 0
    for _ in range(400):
        discordant = chance.poisson(2.0, 77)
        losses = chance.binomial(discordant, 0.5)
        named += any(worse_among(slices_of(*zip(losses.tolist(), (discordant - losses).tolist(), strict=True)), 0.05).rejected)

    assert named / 400 <= 0.05


@UNHURRIED
@given(st.integers(0, 60), st.integers(0, 60))
def test_the_exact_test_is_the_binomial_test(more: int, fewer: int) -> None:
    expected = binomtest(more, more + fewer, 0.5, alternative="greater").pvalue if more + fewer else 1.0

    assert exact_mcnemar(more, fewer) == pytest.approx(expected)


@UNHURRIED
@given(st.integers(1, 400), st.data())
def test_the_bounds_enclose_the_difference_and_mirror(n: int, data: st.DataObject) -> None:
    wins = data.draw(st.integers(0, n))
    losses = data.draw(st.integers(0, n - wins))
    lower, upper = agresti_min_bounds(wins, losses, n, 0.05)

    assert lower < (wins - losses) / (n + 2) < upper
    assert agresti_min_bounds(losses, wins, n, 0.05) == pytest.approx((-upper, -lower))


@UNHURRIED
@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=50))
def test_pairs_are_counted_one_by_one(rows: list[tuple[bool, bool]]) -> None:
    ours, theirs = (np.array([row[side] for row in rows], dtype=bool) for side in (0, 1))
    kinds = [(True, True), (True, False), (False, True), (False, False)]

    assert count_pairs(ours, theirs) == Pairs(*(rows.count(kind) for kind in kinds))
