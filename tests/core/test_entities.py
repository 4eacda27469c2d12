from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl_bridge.core.model import JSON, JSONObject
from hitl_bridge.core.task_types import task_type
from hitl_bridge.core.task_types.controls import CANT_ANSWER, LABEL, REJECT
from hitl_bridge.core.task_types.entities import Span, output_of
from hitl_bridge.core.task_types.outputs import headline

KIND = task_type("entities")
LABELS = ("person", "location")
TEXT = {"text": "Ana Silva lives in Lisbon 😀 now"}
ANA: dict[str, JSON] = {"start": 0, "end": 9, "label": "person"}
LISBON: dict[str, JSON] = {"start": 19, "end": 25, "label": "location"}
BOTH: JSONObject = {"entities": [ANA, LISBON]}
spans = st.builds(lambda start, length, label: Span(start, start + length, label), st.integers(0, 40), st.integers(1, 9),
                  st.sampled_from(LABELS))  # fmt: skip


def test_the_order_of_entities_and_what_stands_beside_them_says_nothing() -> None:
    other: JSONObject = {"entities": [{**LISBON, "score": 0.4}, ANA]}
    assert KIND.same(BOTH, other)
    assert KIND.text(BOTH) == KIND.text(other) == "person 0–9, location 19–25"
    assert not KIND.same(BOTH, {"entities": [ANA]})
    assert not KIND.same({"entities": []}, None)


def test_words_are_told_only_to_those_who_have_the_text_before_them() -> None:
    assert KIND.told(BOTH, TEXT) == "“Ana Silva” person, “Lisbon” location"
    assert "Ana" not in KIND.text(BOTH)
    assert KIND.told({"entities": []}, TEXT) == "no entity"


def test_a_sentence_for_reviewers_counts_what_is_marked_and_names_no_place() -> None:
    twice: JSONObject = {"entities": [ANA, LISBON, {"start": 27, "end": 28, "label": "person"}]}
    assert KIND.brief(twice) == "2 × person, 1 × location"
    assert KIND.brief({"entities": []}) == "no entity"


def test_a_prediction_with_nothing_in_it_is_one() -> None:
    assert KIND.output_problem({"entities": []}, LABELS) is None
    assert KIND.read(KIND.prefill({"entities": []}), LABELS) == {"entities": []}
    assert headline({"entities": [LISBON, ANA, LISBON]}) == "location, person"


@pytest.mark.parametrize(
    ("entities", "problem"),
    [
        ("Ana", "must be a list"),
        ([{"start": 0, "end": 9}], "needs a label"),
        ([{"start": 9, "end": 9, "label": "person"}], "0 ≤ start < end"),
        ([{"start": True, "end": 9, "label": "person"}], "whole numbers"),
        ([{"start": 0.0, "end": 9, "label": "person"}], "whole numbers"),
        ([{**ANA, "label": "animal"}], "unknown label 'animal'"),
        ([{**ANA, "text": "Ana Silva"}], "never its words"),
        ([{**ANA, "score": 2}], "from 0 to 1"),
        ([ANA, ANA], "twice"),
        ([ANA, 7], "must be an object"),
    ],
)
def test_what_is_wrong_with_a_prediction_is_said(entities: JSON, problem: str) -> None:
    assert problem in str(KIND.output_problem({"entities": entities}, LABELS))


def test_an_entity_beyond_the_end_of_its_text_is_a_problem_and_signs_count_once_each() -> None:
    assert KIND.pair_problem(TEXT, output_of([Span(26, 27, "person"), Span(28, 31, "person")])) is None
    assert KIND.pair_problem(TEXT, output_of([Span(28, 32, "person")])) == "an entity ends at 32, the text at 31"


def test_a_page_that_says_it_cant_be_answered_rejects_whatever_is_marked_on_it() -> None:
    assert KIND.read({LABEL: (ANA,), REJECT: (CANT_ANSWER,)}, LABELS) is None


@pytest.mark.parametrize("marked", ["Ana", {"start": 4, "end": 2, "label": "person"}, {**ANA, "label": "animal"}, {}])
def test_a_page_that_marks_nothing_sensible_means_nothing(marked: JSON) -> None:
    with pytest.raises(ValueError, match=r"entity|label"):
        KIND.read({LABEL: (marked,)}, LABELS)


def test_a_page_that_marks_more_than_a_prediction_may_hold_means_nothing() -> None:
    marked: list[JSON] = [{"start": at, "end": at + 1, "label": "person"} for at in range(2_001)]
    assert KIND.read({LABEL: marked[1:]}, LABELS) == {"entities": marked[1:]}
    with pytest.raises(ValueError, match="more than 2,000"):
        KIND.read({LABEL: marked}, LABELS)


@given(st.lists(spans))
def test_parts_clash_where_they_share_a_sign(drawn: list[Span]) -> None:
    parts = KIND.parts(output_of(drawn))
    told = {frozenset(pair) for pair in KIND.clashing(parts)}
    pairs = combinations(sorted(set(drawn)), 2)
    assert told == {KIND.parts(output_of(pair)) for pair in pairs if pair[0].overlaps(pair[1])}


def test_as_many_entities_as_there_may_be_are_compared_with_their_neighbours_alone() -> None:
    parts = KIND.parts(output_of(Span(at * 10, at * 10 + 12, "person") for at in range(2_000)))
    assert sum(1 for _ in KIND.clashing(parts)) == 1_999


@given(st.lists(spans, max_size=6))
def test_an_output_is_what_its_parts_make_and_what_its_page_says(drawn: list[Span]) -> None:
    output = output_of(drawn)
    assert KIND.whole(KIND.parts(output)) == output
    assert KIND.read(KIND.prefill(output), LABELS) == output
    assert KIND.output_problem(output, LABELS) is None
    assert sorted(map(KIND.label_of, KIND.parts(output))) == sorted(span.label for span in set(drawn))
