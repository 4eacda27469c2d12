from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl_bridge.core.gating.checks import MOST_INPUTS, Check, CheckKind, CheckResult, inputs_of, judge_checks, read_check
from hitl_bridge.core.task_types import task_type
from tests.core.examples import UNHURRIED

TEXT = task_type("text-classification")
LABELS = ("refund", "fee")
Entry = dict[str, Any]


def minimum(**changes: Any) -> Entry:
    return {"name": "n", "kind": "minimum functionality", "label": "fee", "cases": ["a"], **changes}


def read(entry: Entry) -> Check:
    check = read_check(entry, TEXT, LABELS)
    assert isinstance(check, Check), check
    return check


def failures(entry: Entry, *refund: float) -> tuple[str, ...]:
    """What is wrong where the model gives `refund` these scores, and `fee` the rest."""
    check = read(entry)
    scores = np.array([[score, 1 - score] for score in refund])
    (result,) = judge_checks([check], scores, LABELS)
    assert result.cases == len(check.cases)
    return result.failures


def test_minimum_functionality_asks_for_a_label() -> None:
    assert failures(minimum(cases=["a", {"text": "b"}]), 0.1, 0.8) == ("case 2: 'refund' instead of 'fee'",)


def test_invariance_asks_for_the_same_label_and_if_told_for_nearly_the_same_score() -> None:
    entry = {"name": "n", "kind": "invariance", "cases": [["a", "b", "c"], ["d", "e"]]}

    assert failures(entry, 0.9, 0.6, 0.8, 0.7, 0.1) == ("case 2: 'fee' and 'refund' for what should be the same",)
    assert failures({**entry, "within": 0.2}, 0.9, 0.6, 0.8, 0.7, 0.8) == ("case 1: the score of 'refund' moves by 0.30",)


@pytest.mark.parametrize(
    ("wanted", "after", "wrong"),
    [
        ({"rises": "refund"}, 0.5, False),
        ({"rises": "refund"}, 0.4, True),
        ({"rises": "refund", "at_least": 0.2}, 0.6, True),
        ({"falls": "refund"}, 0.4, False),
        ({"falls": "refund"}, 0.6, True),
        ({"falls": "refund", "at_least": 0.2}, 0.2, False),
    ],
)
def test_direction_asks_a_score_to_rise_or_to_fall(wanted: Entry, after: float, wrong: bool) -> None:
    entry = {"name": "n", "kind": "direction", "cases": [["before", "after"]], **wanted}

    assert bool(failures(entry, 0.5, after)) is wrong


def test_braces_are_filled_in_with_every_word_and_other_braces_stay() -> None:
    words = {"name": ["Ana", "Li"], "what": ["fee"], "unused": ["x", "y"]}
    cases = ["{name}: {what} {other}", "{what}"]

    texts = [each["text"] for each in inputs_of([read(minimum(cases=cases, **{"with": words}))])]
    invariant = read({"name": "n", "kind": "invariance", "cases": ["I am {name}"], "with": words})

    assert texts == ["Ana: fee {other}", "Li: fee {other}", "fee"]
    assert invariant.cases == (({"text": "I am Ana"}, {"text": "I am Li"}),)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (minimum(name=""), "name must be"),
        (minimum(kind="vibes"), "kind must be one of"),
        (minimum(label="other"), "label must be one of the labels"),
        (minimum(rises="fee"), "rises is not known for minimum functionality"),
        (minimum(must_pass=0), "must_pass must be"),
        (minimum(must_pass=True), "must_pass must be"),
        (minimum(cases=[]), "cases must be a list"),
        (minimum(cases=[7]), "case 1: an input must be"),
        (minimum(cases=["a", " "]), "case 2: input.text must be"),
        (minimum(cases=[["a", "b"]]), "must be one input"),
        (minimum(**{"with": {"name": []}}), "with must give"),
        ({"name": "n", "kind": "invariance", "cases": ["a"]}, "two inputs or more"),
        ({"name": "n", "kind": "invariance", "cases": [["a", "b"]], "within": 2}, "within must be"),
        ({"name": "n", "kind": "direction", "cases": [["a", "b"]]}, "rises or falls must be"),
        ({"name": "n", "kind": "direction", "rises": "fee", "falls": "fee", "cases": [["a", "b"]]}, "rises or falls must be"),
        ({"name": "n", "kind": "direction", "rises": "fee", "cases": ["a"]}, "before and after"),
        ({"name": "n", "kind": "direction", "rises": "fee", "at_least": "much", "cases": [["a", "b"]]}, "at_least must be"),
    ],
)
def test_what_is_wrong_with_a_check_is_said(entry: Entry, problem: str) -> None:
    found = read_check(entry, TEXT, LABELS)

    assert isinstance(found, str)
    assert problem in found


def test_a_template_that_stands_for_too_many_inputs_is_refused_before_they_are_made() -> None:
    words = {name: [str(number) for number in range(1000)] for name in "abc"}

    assert str(MOST_INPUTS) in str(read_check(minimum(cases=["{a} {b} {c}"], **{"with": words}), TEXT, LABELS))


@pytest.mark.parametrize(("must_pass", "cases", "allowed"), [(1.0, 3, 0), (0.9, 10, 1), (0.9, 9, 0), (0.5, 3, 1)])
def test_as_many_cases_may_fail_as_the_share_says(must_pass: float, cases: int, allowed: int) -> None:
    result = CheckResult("n", CheckKind.INVARIANCE, cases, allowed, must_pass)

    assert result.allowed == allowed
    assert result.passed
    assert not CheckResult("n", CheckKind.INVARIANCE, cases, allowed + 1, must_pass).passed


VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=3), lambda each: st.lists(each, max_size=3))


@UNHURRIED
@given(VALUES, st.data())
def test_no_content_of_a_file_breaks_the_reading(value: Any, data: st.DataObject) -> None:
    entry = minimum()
    entry[data.draw(st.sampled_from([*entry, "with", "must_pass", "at_least", "more"]))] = value

    assert isinstance(read_check(entry, TEXT, LABELS), str | Check)
