"""What answers tell of those who gave them."""

from __future__ import annotations

import random
from typing import Any

import pytest

from hitl_bridge.core.model import ItemId, Purpose
from hitl_bridge.core.review.anchoring import Arms, Look, anchoring, arms, wilson
from hitl_bridge.core.review.records import (
    GivenAnswer,
    GoldMisses,
    agreement,
    agreement_by_pair,
    blind_misses,
    reviewer_lines,
    scenario_lines,
    votes_of,
)
from hitl_bridge.core.task_types import task_type

NAMED = task_type("text-classification").text


def an_answer(number: int, reviewer: str = "ana", said: str = "refund", **changes: object) -> GivenAnswer:
    values: dict[str, object] = {
        "item_id": ItemId(f"t-{number}"), "revision": 0, "reviewer": reviewer, "said": {"label": said},
        "predicted": {"label": "refund"}, "pool": "general", "tier": "quick", "scenario": None, "purpose": Purpose.REVIEW,
        "model_version": "m1", "round": 1, "seconds": 10.0, "shown": True, "blind_rate": 0.5,
    }  # fmt: skip
    return GivenAnswer(**(values | changes))  # type: ignore[arg-type]


def test_with_one_rate_the_interval_is_newcombe_s() -> None:
    """Newcombe 1998, table II, (a): 56 of 70 against 48 of 80."""
    found = anchoring([Arms(70, 56, 80, 48)])
    assert found.excess == pytest.approx(0.2)
    assert (round(found.low, 4), round(found.high, 4)) == (0.0524, 0.3339)


def test_wilson_s_interval_is_the_published_one() -> None:
    """Newcombe 1998 (single proportions), table I: 81 of 263."""
    assert tuple(round(each, 4) for each in wilson(81, 263)) == (0.2553, 0.3662)
    assert wilson(0, 0) == (0.0, 1.0)


def test_nothing_is_claimed_where_one_arm_is_empty() -> None:
    found = anchoring(arms([Look(False, 0.2, True)] * 20))
    assert (found.excess, found.low, found.high, found.shown, found.blind) == (None, -1.0, 1.0, 1.0, None)


def test_looks_are_compared_only_with_looks_drawn_at_the_same_rate() -> None:
    early = [Look(True, 0.9, False)] * 90 + [Look(False, 0.9, True)] * 10
    late = [Look(True, 0.1, True)] * 10 + [Look(False, 0.1, True)] * 90
    found = anchoring(arms([*early, *late, Look(True, 1.0, True), Look(False, 0.0, True)]))
    assert found.excess == pytest.approx(0.5)
    assert (found.answers_shown, found.answers_blind) == (100, 100)


def test_only_gold_of_which_the_model_was_wrong_tells_about_anchoring() -> None:
    wrong: dict[str, Any] = {"is_gold": True, "known": {"label": "cancel"}}
    answers = [
        an_answer(1, **wrong),
        an_answer(2, said="cancel", shown=False, **wrong),
        an_answer(3),
        an_answer(4, round=2, **wrong),
    ]
    (line,) = reviewer_lines([*answers, an_answer(5, is_gold=True, known={"label": "refund"})], NAMED)
    assert (line.anchoring.answers_shown, line.anchoring.answers_blind) == (1, 1)
    assert (line.gold, line.right, line.answers) == (4, 2, 5)
    assert blind_misses(answers, NAMED) == GoldMisses(1, 0)


def test_one_who_keeps_everything_in_no_time_is_named_and_a_quick_one_who_is_like_the_others_is_not() -> None:
    rng = random.Random(5)
    answers = [
        an_answer(number, person, "refund" if rng.random() < keeps else "cancel", seconds=seconds)
        for person, keeps, seconds in (("ana", 0.8, 20.0), ("ben", 0.8, 22.0), ("cy", 0.78, 5.0), ("dee", 1.0, 3.0))
        for number in range(120)
    ]
    noticed = {line.name: line.notices for line in reviewer_lines(answers, NAMED)}
    assert {name for name, said in noticed.items() if said} == {"dee"}
    assert "keeps 100% of what is filled in" in noticed["dee"][0]


def test_one_who_surely_takes_wrong_answers_on_gold_is_named() -> None:
    answers = [an_answer(number, is_gold=True, known={"label": "cancel"}) for number in range(12)]
    (line,) = reviewer_lines(answers, NAMED)
    assert line.notices == ("took 12 of 12 wrong answers that were shown on gold items",)


def test_agreement_is_told_for_all_and_for_each_pair() -> None:
    answers = [an_answer(number, person, ("refund", "cancel")[number % 2]) for person in ("ana", "ben") for number in range(6)]
    answers += [an_answer(number, "cy", "refund") for number in range(2)]
    said = votes_of(answers, NAMED)
    assert agreement("all", said).items == 6
    first, *others = agreement_by_pair(said)
    assert (first.name, first.items, first.alpha, first.share) == ("ana · ben", 6, 1.0, 1.0)
    assert [line.share for line in others] == [0.5, 0.5]


def test_scenarios_are_told_apart_where_there_are_several() -> None:
    assert scenario_lines([an_answer(1)], NAMED) == ()
    lines = scenario_lines([an_answer(1, scenario="legal"), an_answer(2)], NAMED)
    assert [line.name for line in lines] == ["legal", "–"]
