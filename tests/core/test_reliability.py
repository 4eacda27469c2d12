from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hitl_bridge.core.model import Agreement
from hitl_bridge.core.review.agreement import alpha
from hitl_bridge.core.review.consensus import ConsensusRule, Weighing, judge
from hitl_bridge.core.review.reliability import FEW_CLASSES, Method, Reliability, Said, Votes, learn, method_for, weigh
from hitl_bridge.core.task_types import task_type
from tests.core.examples import LABELS, an_annotation

KIND = task_type("text-classification")


def votes(rows: list[tuple[int, int, int]], classes: int = 2, known: list[int] | None = None) -> Votes:
    item, reviewer, said = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    given = None if known is None else np.array(known)
    return Votes(item, reviewer, said, int(item.max()) + 1, int(reviewer.max()) + 1, classes, given)


def simulated(items: int, accuracies: list[float], classes: int = 2, seed: int = 3) -> tuple[Votes, NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    true = rng.integers(0, classes, items)
    rows = []
    for place in range(items):
        for person, accuracy in enumerate(accuracies):
            wrong = (true[place] + rng.integers(1, classes)) % classes
            rows.append((place, person, int(true[place] if rng.random() < accuracy else wrong)))
    return votes(rows, classes), true


def test_the_rule_picks_the_method_by_classes_and_answers() -> None:
    assert method_for(2, 1) is Method.ANSWER
    assert method_for(FEW_CLASSES, 2) is Method.TABLE
    assert method_for(FEW_CLASSES + 1, 9) is Method.ACCURACY


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 2)), min_size=1, unique_by=lambda row: row[:2]))
@settings(deadline=None, max_examples=30)
def test_a_single_answer_is_never_overruled_and_probabilities_sum_to_one(rows: list[tuple[int, int, int]]) -> None:
    given_votes = votes(rows, 3)
    belief = weigh(given_votes).probability
    np.testing.assert_allclose(belief.sum(axis=1), 1.0)
    counts = np.bincount(given_votes.item, minlength=given_votes.items)
    for place, said in zip(given_votes.item, given_votes.said, strict=True):
        if counts[place] == 1:
            assert belief[place, said] >= belief[place].max() - 1e-9


@pytest.mark.parametrize("classes", [2, 8])
def test_one_good_reviewer_outweighs_two_who_guess(classes: int) -> None:
    some, true = simulated(300, [0.97, 0.55, 0.55, 0.8], classes)
    weighed = weigh(some).probability
    counts = np.zeros((some.items, classes))
    np.add.at(counts, (some.item, some.said), 1.0)
    assert (weighed.argmax(axis=1) == true).mean() > (counts.argmax(axis=1) == true).mean() + 0.02


def test_what_is_known_is_believed_and_teaches_about_reviewers() -> None:
    rows = [(item, person, person) for item in range(10) for person in range(2)]
    undecided = weigh(votes(rows)).probability
    np.testing.assert_allclose(undecided[:, 0], 0.5)
    taught = weigh(votes(rows, known=[1] * 8 + [-1, -1])).probability
    assert taught[0].tolist() == [0.0, 1.0]
    assert taught[9, 1] > 0.7


def test_alpha_is_one_where_all_agree_and_nothing_where_it_can_t_be_told() -> None:
    agreeing = [(item, person, item % 2) for item in range(4) for person in range(3)]
    assert alpha(votes(agreeing)) == 1.0
    assert alpha(votes([(0, 0, 1), (1, 1, 0)])) is None
    assert alpha(votes([(0, 0, 1), (0, 1, 1)])) is None


def test_alpha_is_what_krippendorff_s_own_example_gives() -> None:
    """Krippendorff 2011, section C: two observers, ten units, two values."""
    one, other = (0, 1, 0, 0, 0, 0, 0, 0, 1, 0), (1, 1, 1, 0, 0, 1, 0, 0, 0, 0)
    rows = [(unit, person, value) for person, values in enumerate((one, other)) for unit, value in enumerate(values)]
    assert alpha(votes(rows)) == pytest.approx(0.095, abs=0.0005)


def test_real_answers_are_settled_better_than_by_a_vote() -> None:
    path = Path(__file__).parents[3] / "shared" / "data" / "snow2008" / "matrix_temp.csv"
    if not path.is_file():
        pytest.skip("needs the data of Snow et al. 2008 (docs/benchmarks.md says where they come from)")
    lines = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    tasks, item = np.unique([line[0] for line in lines], return_inverse=True)
    people, reviewer = np.unique([line[1] for line in lines], return_inverse=True)
    classes, said = np.unique([line[2] for line in lines], return_inverse=True)
    gold = {line[0]: line[3] for line in lines}
    true = np.array([gold[str(task)] for task in tasks])
    some = Votes(item, reviewer, said, len(tasks), len(people), len(classes))
    right = (classes[weigh(some).probability.argmax(axis=1)] == true).mean()
    assert right >= 0.94
    assert alpha(some) == pytest.approx(0.223, abs=0.001)


# --------------------------------------------------------------------------------------------------- in a round


def past(accuracies: dict[str, float], items: int = 200) -> list[Said]:
    some, _ = simulated(items, list(accuracies.values()), 3)
    people = list(accuracies)
    return [
        Said(str(item), people[person], LABELS[said])
        for item, person, said in zip(some.item, some.reviewer, some.said, strict=True)
    ]


def weighing(reliability: Reliability, at_least: float = 0.9) -> Weighing:
    return Weighing(reliability, KIND.text, at_least)


def test_two_reliable_reviewers_who_agree_settle_and_two_unreliable_ones_do_not() -> None:
    known = learn(past({"good": 0.95, "better": 0.96, "poor": 0.45, "poorer": 0.42}), LABELS)
    good = judge([an_annotation("good"), an_annotation("better")], ConsensusRule.WEIGHTED, 2, KIND.same, weighing(known))
    poor = judge([an_annotation("poor"), an_annotation("poorer")], ConsensusRule.WEIGHTED, 2, KIND.same, weighing(known))
    assert good.agreement is Agreement.AGREED
    assert good.probability is not None
    assert good.probability > 0.98
    assert (poor.agreement, poor.answer) == (Agreement.DISPUTED, None)
    assert poor.probability is not None
    assert poor.probability < 0.9


def test_the_answer_of_the_more_reliable_wins_against_a_majority() -> None:
    known = learn(past({"good": 0.99, "poor": 0.4, "poorer": 0.38, "also": 0.97}), LABELS)
    answers = [an_annotation("good", "refund"), an_annotation("poor", "cancel"), an_annotation("poorer", "cancel")]
    consensus = judge(answers, ConsensusRule.WEIGHTED, 3, KIND.same, weighing(known))
    assert consensus.answer is not None
    assert consensus.answer.output == {"label": "refund"}
    assert [each.reviewer for each in consensus.behind] == ["good"]


def test_every_consensus_of_several_has_a_probability_whatever_the_rule() -> None:
    answers = [an_annotation("a"), an_annotation("b")]
    for rule in (ConsensusRule.MAJORITY, ConsensusRule.UNANIMOUS):
        assert judge(answers, rule, 2, KIND.same).probability is None
        told = judge(answers, rule, 2, KIND.same, weighing(Reliability(LABELS))).probability
        assert told is not None
        assert 0.5 < told < 1


def test_an_answer_that_is_no_label_is_weighed_as_well() -> None:
    known = learn(past({"a": 0.9, "b": 0.9}), LABELS)
    consensus = judge(
        [an_annotation("a", None), an_annotation("b", None)], ConsensusRule.WEIGHTED, 2, KIND.same, weighing(known, 0.6)
    )
    assert consensus.agreement is Agreement.AGREED
    assert consensus.answer is not None
    assert consensus.answer.rejects


def test_among_many_classes_a_reviewer_has_an_accuracy_even_if_few_classes_were_named() -> None:
    labels = [f"label {number}" for number in range(3_000)]
    some, _ = simulated(150, [0.95, 0.95, 0.4], 2)
    answers = [
        Said(str(item), f"r{person}", labels[said])
        for item, person, said in zip(some.item, some.reviewer, some.said, strict=True)
    ]
    known = learn(answers, labels)
    assert known.tables["r0"].shape == (1, 2)
    good, poor = (known.probabilities([(person, "label 7")])["label 7"] for person in ("r0", "r2"))
    assert good > 0.85
    assert poor < good


def test_what_the_model_says_tips_the_scale_among_many_classes_and_never_among_few() -> None:
    many = Reliability(tuple(f"label {number}" for number in range(40)), accuracy=0.8)
    split, said = [("ana", "label 1"), ("ben", "label 2")], {"label 1": 0.9, "label 2": 0.05}
    assert many.probabilities(split)["label 1"] == pytest.approx(many.probabilities(split)["label 2"])
    informed = many.probabilities(split, said)
    assert informed["label 1"] > 0.85
    alone = many.probabilities(split, {"label 3": 0.99})
    assert alone["label 1"] + alone["label 2"] < 0.5
    assert many.probabilities(split[:1], said) == many.probabilities(split[:1])
    few = Reliability(("label 1", "label 2", "label 3"), accuracy=0.8)
    assert few.probabilities(split, said) == few.probabilities(split)


def test_beliefs_with_a_model_are_better_than_without_where_two_answer_among_many_classes() -> None:
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 40, 400)
    sure = np.full((400, 40), 0.2 / 39)
    sure[np.arange(400), np.where(rng.random(400) < 0.8, truth, rng.integers(0, 40, 400))] = 0.8
    said = np.where(rng.random((2, 400)) < 0.8, truth, rng.integers(0, 40, (2, 400)))
    item, reviewer = np.tile(np.arange(400), 2), np.repeat([0, 1], 400)
    some = Votes(item, reviewer, said.reshape(-1), 400, 2, 40)
    alone, informed = (float((weigh(each).probability.argmax(1) == truth).mean()) for each in (some, replace(some, model=sure)))
    assert informed > alone + 0.05
