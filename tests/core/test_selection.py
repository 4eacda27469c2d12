"""Which of the waiting items people see: the most doubtful, spread over what there is, and a few by chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from math import ceil, floor, nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitl_bridge.core.model import Item, Purpose
from hitl_bridge.core.routing import postponed
from hitl_bridge.core.triage.selection import (
    CANDIDATES,
    CLUSTERED_AT_ONCE,
    WEIGHED_CANDIDATES,
    WORDS_WEIGH,
    ReviewBudget,
    Selection,
    SpreadOver,
    Waiting,
    came_by_risk,
    chance,
    doubt,
    features_of,
    score_features,
    select,
    spread,
    text_features,
)
from tests.core.examples import an_item

_SHARE = st.floats(0, 1)
_DRAW = st.floats(0, 1, exclude_max=True)
_MARGINS = st.lists(st.one_of(st.floats(0, 1), st.just(nan)), min_size=1, max_size=60)


def waiting(margins: Sequence[float], seed: int = 0, features: Any = None) -> Waiting:
    rng = np.random.default_rng(seed)
    table = rng.random((len(margins), 3)) if features is None else features
    return Waiting(margins, rng.random(len(margins)).tolist(), lambda places: table[list(places)])


@settings(max_examples=40, deadline=None)
@given(_MARGINS, st.integers(0, 80), _SHARE, _DRAW)
def test_as_many_are_picked_as_there_is_room_for_each_once_and_the_same_ones_again(
    margins: list[float], count: int, share: float, rounding: float
) -> None:
    found = select(waiting(margins), count, random_arm=share, rounding=rounding)
    picked = [*found.by_doubt, *found.by_chance]
    assert len(picked) == len(set(picked)) == min(count, len(margins))
    assert set(picked) <= set(range(len(margins)))
    assert found == select(waiting(margins), count, random_arm=share, rounding=rounding)


@settings(max_examples=25, deadline=None)
@given(_SHARE, st.integers(1, 30), _DRAW)
def test_the_random_arm_has_its_share_up_to_the_broken_part(share: float, count: int, rounding: float) -> None:
    found = select(waiting([0.5] * 40), count, random_arm=share, rounding=rounding)
    assert floor(share * count) <= len(found.by_chance) <= ceil(share * count)
    assert found.probability == pytest.approx(share * count / 40)


def test_handed_out_one_by_one_the_random_arm_still_gets_its_share() -> None:
    margins = np.linspace(0, 1, 20).tolist()
    found = [select(waiting(margins), 1, random_arm=0.25, rounding=number / 20) for number in range(20)]
    assert sum(len(each.by_chance) for each in found) == 5
    assert all(each.by_chance or each.by_doubt[0] < 5 for each in found)


def test_each_that_waits_is_drawn_with_the_probability_that_is_told() -> None:
    margins, drawn, runs = np.linspace(0, 1, 20).tolist(), Counter[int](), 3_000
    for run in range(runs):
        found = select(waiting(margins, seed=run), 5, random_arm=1.0, rounding=0.5)
        drawn.update(found.by_chance)
    assert found.probability == 0.25
    assert all(drawn[place] / runs == pytest.approx(0.25, abs=0.035) for place in range(20))


def test_without_a_random_arm_only_the_most_doubtful_are_looked_at() -> None:
    margins = np.random.default_rng(1).permutation(np.linspace(0, 1, 100))
    found = select(waiting(margins.tolist()), 5, random_arm=0.0, rounding=0.99)
    assert not found.by_chance
    assert sorted(margins)[5 * CANDIDATES - 1] >= max(margins[list(found.by_doubt)])


def test_where_doubt_is_weighed_more_of_the_doubtful_are_looked_at_and_no_others() -> None:
    margins = np.random.default_rng(1).permutation(np.linspace(0, 1, 200))
    among = replace(waiting(margins.tolist()), weighs_doubt=True)
    found = select(among, 5, random_arm=0.0, rounding=0.0)
    assert len(found.by_doubt) == 5
    assert max(margins[list(found.by_doubt)]) <= sorted(margins)[5 * WEIGHED_CANDIDATES - 1]
    assert [over.weighs_doubt for over in (SpreadOver.WORDS, SpreadOver.SCORES, SpreadOver.BOTH)] == [False, False, True]


def test_what_has_no_margin_is_the_most_doubtful() -> None:
    found = select(waiting([0.0] * 50 + [nan] * CANDIDATES), 1, random_arm=0.0, rounding=0.0)
    assert found.by_doubt[0] >= 50


def test_each_of_some_clusters_gives_one_and_what_is_alike_is_asked_once() -> None:
    centres = np.repeat(np.eye(4) * 10, 5, axis=0)
    features = centres + np.random.default_rng(0).normal(0, 0.1, centres.shape)
    assert sorted(spread(features, 4) // 5) == [0, 1, 2, 3]


def test_who_is_doubted_most_pulls_the_centre_of_a_cluster() -> None:
    line = np.arange(5, dtype=float)[:, None]
    assert spread(line, 1).tolist() == [2]
    assert spread(line, 1, np.array([0.01, 0.01, 0.01, 0.01, 1.0])).tolist() == [4]


def test_items_that_the_model_does_not_doubt_at_all_are_spread_like_others() -> None:
    found = select(replace(waiting([1.0] * 60), weighs_doubt=True), 5, random_arm=0.0, rounding=0.0)
    assert len(set(found.by_doubt)) == 5


def test_rows_that_are_all_the_same_are_taken_from_the_first() -> None:
    picked = spread(np.zeros((10, 2)), 3)
    assert len(set(picked.tolist())) == 3
    assert len(spread(np.zeros((2, 2)), 3)) == 2


def test_more_than_one_clustering_can_take_are_picked_in_parts() -> None:
    count = CLUSTERED_AT_ONCE + 7
    rng = np.random.default_rng(0)
    found = select(waiting(rng.random(1_200).tolist()), count, random_arm=0.0, rounding=0.0)
    assert len(set(found.by_doubt)) == count


def test_doubtful_places_come_most_doubtful_first() -> None:
    margins = np.random.default_rng(2).random(200).tolist()
    found = select(waiting(margins), 20, random_arm=0.2, rounding=0.0)
    assert all(margins[one] <= margins[other] for one, other in pairwise(found.by_doubt))


def test_room_for_none_picks_none() -> None:
    assert select(waiting([0.1, 0.2]), 0, random_arm=0.5, rounding=0.9) == Selection()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=12))
def test_any_texts_have_features_of_length_one_or_none(texts: list[str]) -> None:
    features = text_features(texts)
    assert features.shape[0] == len(texts)
    assert np.isfinite(features).all()
    assert (np.linalg.norm(features, axis=1) < 1 + 1e-4).all()


def test_texts_of_the_same_words_lie_closer_than_others() -> None:
    said = ["my card was charged twice", "the card was charged twice", "where is my new passport", "i lost the passport today"]
    features = text_features(said * 3)
    near, far = features[0] @ features[1], features[0] @ features[3]
    assert near > far + 0.3


def test_scores_are_roots_of_length_one_over_all_labels() -> None:
    features = score_features([{"a": 0.36, "b": 0.64}, {"c": 0.5}, {}])
    assert features.tolist() == [pytest.approx([0.6, 0.8, 0]), [0, 0, 1], [0, 0, 0]]


def test_what_is_alike_is_told_by_words_by_scores_or_by_both() -> None:
    texts = ["my card was charged twice", "where is my new passport", "i lost the passport today"] * 3
    scores = [{"a": 0.9, "b": 0.1}, {"a": 0.2, "b": 0.8}, {"b": 1.0}] * 3
    words, said = features_of(SpreadOver.WORDS, texts, scores), features_of(SpreadOver.SCORES, texts, scores)
    assert features_of(SpreadOver.BOTH, texts, scores) == pytest.approx(np.hstack([WORDS_WEIGH * words, said]))
    assert np.array_equal(words, text_features(texts))
    assert np.array_equal(said, score_features(scores))


@pytest.mark.parametrize("over", SpreadOver)
def test_items_without_a_text_are_compared_by_their_scores(over: SpreadOver) -> None:
    scores = [{"a": 0.9, "b": 0.1}, {"a": 0.2, "b": 0.8}]
    assert np.array_equal(features_of(over, None, scores), score_features(scores))


# ------------------------------------------------------------------------------------------------- items


def test_only_what_came_by_its_risk_and_nobody_has_begun_may_wait() -> None:
    item = an_item()
    assert came_by_risk(item)
    others: list[Item] = [an_item(purpose=Purpose.AUDIT), an_item(purpose=Purpose.UNIFORM), replace(item, round=2)]
    others.append(replace(item, triage=replace(item.triage, rule="amount > 10000")))
    assert not any(map(came_by_risk, others))


@pytest.mark.parametrize(
    ("scores", "confidence", "margin"),
    [({"a": 0.5, "b": 0.4, "c": 0.1}, 0.5, 0.1), ({"a": 0.9}, 0.9, 0.8), ({}, 0.4, 0.0), ({}, 0.8, 0.6)],
)
def test_doubt_is_the_margin_or_the_smallest_that_the_confidence_allows(
    scores: dict[str, float], confidence: float, margin: float
) -> None:
    assert doubt(scores, confidence) == pytest.approx(margin)


def test_the_draw_is_another_one_for_another_item_revision_or_occasion_and_the_same_for_the_same() -> None:
    found = [chance(b"k", "m", (item_id, revision), "monday") for item_id in ("t-1", "t-2") for revision in (1, 2)]
    found.append(chance(b"k", "m", ("t-1", 1), "tuesday"))
    assert len(set(found)) == 5
    assert chance(b"k", "m", ("t-1", 1), "monday") == found[0]


def test_a_budget_is_handed_out_in_twentieths_and_never_in_less_than_one() -> None:
    assert [ReviewBudget(most, timedelta(days=1)).bundle for most in (1, 19, 20, 500)] == [1, 1, 1, 25]


def test_a_deadline_that_did_not_run_is_later_and_so_is_the_place_in_the_order() -> None:
    item = an_item()
    later = postponed(item.route, item.triage, timedelta(hours=30))
    assert later.due_at == item.route.due_at + timedelta(hours=30)
    assert f"due {later.due_at:%Y-%m-%d %H:%M}" in later.reason
    assert later.priority > postponed(item.route, item.triage, timedelta(0)).priority
