from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from hitl_bridge.core.gating.checks import Check, CheckKind, judge_checks
from hitl_bridge.core.gating.comparison import compare
from hitl_bridge.core.gating.policy import GatePolicy
from hitl_bridge.core.gating.report import PairedResults
from hitl_bridge.core.task_types import task_type
from hitl_bridge.core.task_types.entities import Span, output_of
from hitl_bridge.stages.judging import NOTHING, judge
from hitl_bridge.stages.metrics import figures
from hitl_bridge.stages.snapshot import Example, known, labels_of
from hitl_bridge.stages.trainers import Predicted, Scores, Unlabelled

KIND, ONE = task_type("entities"), task_type("text-classification")
LABELS = ("person", "location", "group")
ANA, ANAS, LISBON = Span(0, 3, "person"), Span(0, 9, "person"), Span(19, 25, "location")


def example(item_id: str, *spans: Span, edge: bool = False) -> Example:
    output = output_of(spans)
    return Example(item_id, {"text": "Ana Silva lives in Lisbon"}, KIND.text(output), None, edge, None, "base", output=output)


class Answering:
    """A model that says what it was told to say, by item."""

    def __init__(self, **said: tuple[Span, ...]) -> None:
        self.said = said

    def answers(self, items: Sequence[Unlabelled]) -> list[Predicted]:
        return [Predicted(output_of(self.said.get(item.item_id, ())), 0.75) for item in items]


def test_an_answer_is_right_as_a_whole_and_its_entities_are_counted_one_by_one() -> None:
    held_out = [example("a", ANA, LISBON), example("b", ANA, edge=True), example("c")]
    judged = judge(Answering(a=(ANA, LISBON), b=(ANAS,)), held_out, KIND, LABELS)

    assert judged.outcomes.right.tolist() == [True, False, True]
    assert judged.said == ("person 0–3, location 19–25", "person 0–9", "no entity")
    assert sorted(judged.confused) == [("location", "location"), ("person", "person"), ("person", NOTHING), (NOTHING, "person")]
    told = figures(judged.outcomes, 15)
    assert told["accuracy"] == pytest.approx(2 / 3, abs=1e-6)
    assert (told["precision"], told["recall"], told["f1"]) == pytest.approx((2 / 3, 2 / 3, 2 / 3), abs=1e-6)
    assert told["macro_f1"] == pytest.approx((1 / 2 + 1) / 2)
    assert told["ece"] == pytest.approx(0.75 - 2 / 3, abs=1e-6)
    edge = figures(judged.outcomes.where(np.array([False, True, False])), 15)
    assert (edge["n"], edge["f1"]) == (1, 0.0)


def test_where_there_is_nothing_to_find_and_nothing_is_named_all_is_found() -> None:
    told = figures(judge(Answering(), [example("c")], KIND, LABELS).outcomes, 15)
    assert (told["f1"], told["macro_f1"], told["precision"], told["recall"]) == (1, 1, 1, 1)


def test_a_model_with_scores_is_judged_by_its_best_label() -> None:
    class Scoring:
        def scores(self, items: Sequence[Unlabelled]) -> Scores:
            return np.array([[0.6, 0.3, 0.1]] * len(items))

    rows = [Example("a", {"text": "x"}, "person", None, False, None, "base", output={"label": "person"})]
    judged = judge(Scoring(), rows, ONE, LABELS)
    assert (judged.said, judged.confused, judged.outcomes.counts) == (("person",), (("person", "person"),), None)


def test_an_example_with_a_label_that_the_workspace_dropped_measures_nothing() -> None:
    rows = [example("a", ANA, LISBON), example("b", ANA), example("c")]
    assert [each.item_id for each in known(rows, KIND, ("person",))] == ["b", "c"]
    assert labels_of(rows[0], KIND) == ["location", "person"]


def test_a_ruined_label_is_seen_by_the_gate_where_items_belong_to_several_slices() -> None:
    champion, candidate = [True] * 240, [place % 4 != 0 for place in range(240)]
    labels = [["location", "person"] if place % 4 == 0 else ["person"] if place % 2 else [] for place in range(240)]
    results = PairedResults("b", "a", candidate, champion, [False] * 240, [False] * 240, [0.9] * 240, [0.9] * 240,
                            slices={"label": labels})  # fmt: skip
    rows = {row.slice: row for row in compare(results, GatePolicy(slices=("label",))).slices}
    assert (rows["location"].n, rows["location"].losses) == (60, 60)
    assert rows["person"].n == 180
    assert rows["location"].finding == "failed"


def test_must_pass_cases_ask_for_the_label_among_those_of_the_answer() -> None:
    one, both = ({"text": "x"},), ({"text": "x"}, {"text": "y"})
    checks = [
        Check("has a place", CheckKind.MINIMUM_FUNCTIONALITY, (one, one), label="location"),
        Check("the same", CheckKind.INVARIANCE, (both,)),
    ]
    said = [frozenset({"location", "person"}), frozenset[str](), frozenset({"person"}), frozenset({"person"})]
    found = judge_checks(checks, np.zeros((4, 3)), LABELS, said)
    assert [(each.failed, each.failures) for each in found] == [(1, ("case 2: no label instead of 'location'",)), (0, ())]
