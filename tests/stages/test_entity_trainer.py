from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl_bridge.core.task_types import task_type
from hitl_bridge.core.task_types.entities import Span
from hitl_bridge.errors import UsageError
from hitl_bridge.stages.trainers import AnsweringModel, Labelled, Setup, Unlabelled, trainer
from hitl_bridge.stages.trainers.chains import decode, transitions
from hitl_bridge.stages.trainers.tokens import Tokens, _shape, spans_in, tags_of
from tests.stages.entity_texts import LABELS, texts

KIND = task_type("entities")


def examples(n: int, seed: int = 1) -> list[Labelled]:
    return [Labelled(row["item_id"], row["input"], "", row["output"]) for row in texts(n, seed, "t")]


def trained(rows: list[Labelled], labels: tuple[str, ...], folder: Path, **options: float) -> AnsweringModel:
    folder.mkdir(exist_ok=True)
    setup = Setup(folder, labels, options=options)
    fitted = trainer("sklearn-entities").train(rows, setup, folder)
    model = trainer("sklearn-entities").load(folder, setup, json.loads(json.dumps(fitted)))
    assert isinstance(model, AnsweringModel)
    return model


def unlabelled(rows: list[Labelled]) -> list[Unlabelled]:
    return [Unlabelled(row.item_id, row.input) for row in rows]


def test_it_learns_where_entities_stand_and_how_sure_it_is(tmp_path: Path) -> None:
    held_out = examples(60, seed=2)
    answers = trained(examples(120), LABELS, tmp_path / "m").answers(unlabelled(held_out))

    right = np.mean([KIND.same(said.output, row.output) for said, row in zip(answers, held_out, strict=True)])
    assert right > 0.9
    assert abs(np.mean([said.confidence for said in answers]) - right) < 0.1
    assert all(KIND.pair_problem(row.input, said.output) is None for said, row in zip(answers, held_out, strict=True))


def test_the_same_examples_give_the_same_model_file_without_a_word_of_theirs(tmp_path: Path) -> None:
    contents = []
    for name in ("one", "two"):
        trained(examples(40), LABELS, tmp_path / name)
        contents.append((tmp_path / name / "model.skops").read_bytes())

    assert contents[0] == contents[1]
    assert b"lisbon" not in contents[0].lower()


@pytest.mark.parametrize("n", [1, 2, 4])
def test_a_handful_of_examples_is_enough_not_to_crash(tmp_path: Path, n: int) -> None:
    answers = trained(examples(n), LABELS, tmp_path / "m").answers(unlabelled(examples(5)))

    assert len(answers) == 5
    assert all(0 <= said.confidence <= 1 for said in answers)


def test_texts_without_any_entity_and_texts_without_a_word_are_answered(tmp_path: Path) -> None:
    nothing = [Labelled(str(n), {"text": "🎈" * (n + 1)}, "", {"entities": []}) for n in range(12)]
    answers = trained(nothing, LABELS, tmp_path / "m").answers(unlabelled(nothing))

    assert all(said.output == {"entities": []} for said in answers)
    with pytest.raises(UsageError, match="nothing to train on"):
        trainer("sklearn-entities").train([], Setup(tmp_path, LABELS), tmp_path)


# ------------------------------------------------------------------------------------------------------- tokens and tags


@given(st.lists(st.tuples(st.integers(0, 11), st.integers(1, 3), st.sampled_from(LABELS)), max_size=4))
def test_whole_words_that_do_not_overlap_come_back_from_their_tags(drawn: list[tuple[int, int, str]]) -> None:
    tokens = Tokens.of("one two, three/four 😀 five @six seven-8 nine ten.")
    spans: list[Span] = []
    for first, length, label in drawn:
        last = min(first + length, len(tokens)) - 1
        span = Span(tokens.starts[first], tokens.ends[last], label)
        if not any(span.overlaps(other) for other in spans):
            spans.append(span)
    assert spans_in(tokens, tags_of(tokens, spans, LABELS), LABELS) == sorted(spans)


def test_of_entities_that_overlap_the_longer_one_is_learnt() -> None:
    tokens = Tokens.of("Ana Silva of Lisbon")
    tags = tags_of(tokens, [Span(0, 3, "person"), Span(0, 19, "location"), Span(13, 19, "location")], LABELS)
    assert spans_in(tokens, tags, LABELS) == [Span(0, 19, "location")]


@given(st.lists(st.integers(0, 4), min_size=0, max_size=4), st.integers(0, 2**32 - 1))
def test_the_best_sequence_and_its_probability_are_those_of_trying_all(lengths: list[int], seed: int) -> None:
    chance = np.random.default_rng(seed)
    follows = transitions([chance.integers(0, 3, 5) for _ in range(3)], 3)
    emissions = [np.log(chance.dirichlet(np.ones(3), size=length)) for length in lengths]
    found = decode(emissions, follows)
    for emission, tags, probability in zip(emissions, found.tags, found.probability, strict=True):
        totals = {}
        for way in itertools.product(range(3), repeat=len(emission)):
            steps = [follows[before, tag] + emission[at, tag] for at, (before, tag) in enumerate(itertools.pairwise((3, *way)))]
            totals[way] = sum(steps)
        best = max(totals.values())
        assert totals[tuple(tags.tolist())] == pytest.approx(best)
        assert probability == pytest.approx(1 / sum(np.exp(each - best) for each in totals.values()))


def test_the_shape_of_a_word_tells_capital_letters_and_digits_apart() -> None:
    assert [_shape(word) for word in ("Anna", "USA", "g8", "iPhone", "2026", "@", "Ärger")] == [
        "Xx",
        "X",
        "xd",
        "xXx",
        "d",
        "@",
        "Xx",
    ]
