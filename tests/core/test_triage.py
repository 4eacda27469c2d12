"""Doubt, canonical forms, reasons, and which predictions are new."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl_bridge.core.triage import normalise, reasons
from hitl_bridge.core.triage.plan import Rule
from hitl_bridge.core.triage.revisions import Arrival, KnownReceipt, sort_out
from hitl_bridge.core.triage.uncertainty import doubts, entropy, margin

KEY = b"k" * 32
_scores = st.dictionaries(st.text(min_size=1, max_size=3), st.floats(0, 1), max_size=6)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.lists(_scores, max_size=8))
def test_margin_and_entropy_are_those_of_each_row_alone(rows: list[dict[str, float]]) -> None:
    margins, entropies = doubts(rows)
    for row, found_margin, found_entropy in zip(rows, margins, entropies, strict=True):
        best = sorted(row.values(), reverse=True)
        assert (math.isnan(found_margin)) == (len(row) < 2)
        if len(row) >= 2:
            assert found_margin == best[0] - best[1]
        shares = [each / sum(best) for each in best] if sum(best) > 0 else []
        expected = -sum(share * math.log(share) for share in shares if share > 0) if shares else math.nan
        assert np.isclose(found_entropy, expected, equal_nan=True, atol=1e-9)


def test_a_sure_model_has_a_margin_of_one_and_no_entropy() -> None:
    scores = np.array([[1.0, 0.0, np.nan], [0.5, 0.5, np.nan]])
    assert margin(scores).tolist() == [1.0, 0.0]
    assert entropy(scores).tolist() == pytest.approx([0.0, math.log(2)])


def test_many_labels_are_looked_at_in_blocks_with_the_same_result() -> None:
    rows = [{str(label): (label * row) % 7 / 7 for label in range(50)} for row in range(1, 40)]
    whole = doubts(rows)
    blocks = [doubts(rows[at : at + 1]) for at in range(len(rows))]
    assert whole[0].tolist() == [float(each[0][0]) for each in blocks]


@given(_json)
def test_canonical_json_reads_back_and_does_not_depend_on_the_order_of_keys(value: Any) -> None:
    text = normalise.canonical(value)
    assert json.loads(text) == value
    assert normalise.canonical(_reversed(value)) == text


def _reversed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _reversed(value[name]) for name in reversed(value)}
    return [_reversed(each) for each in value] if isinstance(value, list) else value


@given(_json)
def test_what_json_can_say_is_no_problem_unless_a_database_chokes_on_it(value: Any) -> None:
    text = json.dumps(value)
    expected = "\\u0000" in text.replace("\\\\", "") or any(f"\\ud{digit}" in text for digit in "89abcdef")
    if not expected:
        assert normalise.value_problem(value) is None


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("a\0b", "a NUL character"),
        ({"\ud800": 1}, "a lone surrogate"),
        ([2**63], "a whole number beyond 64 bits"),
        ({"a": math.nan}, "NaN or infinity"),
        (b"bytes", "a value that JSON lacks"),
    ],
)
def test_what_no_database_would_keep_is_named(value: Any, reason: str) -> None:
    assert normalise.value_problem(value) == reason


def test_nesting_is_allowed_up_to_its_limit() -> None:
    value: Any = 1
    for _ in range(normalise.MAX_DEPTH):
        value = [value]
    assert normalise.value_problem(value) is None
    assert normalise.value_problem([value]) is not None


@pytest.mark.parametrize(
    ("value", "kind", "kept"),
    [(3, "float", 3.0), (3, "integer", 3), ("3", "string", "3"), (True, "boolean", True), (None, "float", None)],
)
def test_a_declared_attribute_keeps_its_type(value: Any, kind: str, kept: Any) -> None:
    found = normalise.as_attribute(value, kind)
    assert (found, type(found)) == (kept, type(kept))


@pytest.mark.parametrize(
    ("value", "kind"),
    [("3", "float"), (True, "float"), (math.inf, "float"), (1.5, "integer"), (2**63, "integer"), (1, "string"), (1, "boolean")],
)
def test_an_attribute_of_another_type_is_refused_and_nothing_is_guessed(value: Any, kind: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        normalise.as_attribute(value, kind)


def test_the_reason_names_the_two_labels_that_the_model_is_torn_between() -> None:
    scores = {"refund": 0.51, "billing": 0.42, "cancel": 0.07}
    assert reasons.by_risk(scores, "refund", 0.51) == "The model is torn between refund (51 %) and billing (42 %)"


def test_the_reason_of_a_surer_model_says_how_sure_it_is() -> None:
    assert "refund and is 90 % sure" in reasons.by_risk({"refund": 0.9, "billing": 0.1}, "refund", 0.9)
    assert "refund and is 60 % sure" in reasons.by_risk({}, "refund", 0.6)
    assert "refund and is 25 % sure" in reasons.by_risk({"refund": 0.25, "billing": 0.06}, "refund", 0.25)


def test_the_reason_of_a_rule_is_its_own_and_says_when_a_value_is_missing() -> None:
    rule = Rule("amount > 10000", "comprehensive", "high stakes")
    assert reasons.by_rule(rule, True) == "High stakes: amount > 10000"
    assert "a value is missing: amount > 10000" in reasons.by_rule(rule, None)
    assert len(reasons.by_rule(Rule("a OR " * 100 + "b", "quick", "r"), True)) < 140


def _arrival(item_id: str = "t-1", model: str = "m1", given: str = "A", content: str = "s1") -> Arrival:
    return Arrival(item_id, model, given, content)


def test_the_same_prediction_again_is_a_duplicate() -> None:
    found = sort_out([], [_arrival(), _arrival()])
    assert (found.fresh, found.duplicates, found.conflicts) == (((0, 1),), (1,), ())


def test_other_scores_of_the_same_model_for_the_same_input_are_a_conflict() -> None:
    found = sort_out([KnownReceipt(_arrival(), 1, False)], [_arrival(content="s2")])
    assert (found.fresh, found.conflicts) == ((), (0,))


def test_a_changed_input_is_the_next_revision_of_the_item() -> None:
    found = sort_out([KnownReceipt(_arrival(), 3, True)], [_arrival(given="B"), _arrival(given="C")])
    assert found.fresh == ((0, 4), (1, 5))


def test_a_new_model_on_the_same_input_keeps_the_revision() -> None:
    found = sort_out([KnownReceipt(_arrival(), 3, True)], [_arrival(model="m2", content="s9")])
    assert found.fresh == ((0, 3),)


def test_an_older_file_again_is_a_duplicate_though_the_input_has_changed_since() -> None:
    known = [KnownReceipt(_arrival(), 1, True), KnownReceipt(_arrival(given="B"), 2, True)]
    assert sort_out(known, [_arrival()]).duplicates == (0,)


_few = st.sampled_from("ab")
_arrivals = st.lists(st.builds(Arrival, _few, _few, _few, _few), max_size=12)


@given(_arrivals)
def test_every_arrival_is_fresh_a_duplicate_or_a_conflict_and_a_second_look_finds_nothing_fresh(arrivals: list[Arrival]) -> None:
    found = sort_out([], arrivals)
    assert sorted([*(place for place, _ in found.fresh), *found.duplicates, *found.conflicts]) == list(range(len(arrivals)))
    known = [KnownReceipt(arrivals[place], revision, True) for place, revision in found.fresh]
    again = sort_out(known, arrivals)
    assert again.fresh == ()
    assert again.conflicts == found.conflicts


@given(_arrivals, st.integers(0, 12))
def test_it_does_not_matter_where_the_arrivals_are_cut(arrivals: list[Arrival], cut: int) -> None:
    whole = dict(sort_out([], arrivals).fresh)
    first = dict(sort_out([], arrivals[:cut]).fresh)
    known = [KnownReceipt(arrivals[place], revision, True) for place, revision in first.items()]
    second = {place + len(arrivals[:cut]): revision for place, revision in sort_out(known, arrivals[cut:]).fresh}
    assert {**first, **second} == whole
