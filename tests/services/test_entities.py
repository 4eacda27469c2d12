"""Entities from a prediction to a decision, span by span, with the labeling service in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hitl_bridge.core.model import JSON
from hitl_bridge.core.task_types.controls import CANT_ANSWER, LABEL, NONE_BECAUSE, RATIONALE, REJECT
from hitl_bridge.services.model.doubtful_labels import REPORT, Standing
from tests.services.adopting import Shelf, a_task, adopted, said
from tests.services.bench import ANA, BEN, COMPREHENSIVE, DEE, POLICY, QUICK, Bench, without_git

TEXT = "Ana Silva moved to Lisbon 😀 with Ben"
ANAS: JSON = {"start": 0, "end": 9, "label": "person"}
LISBON: JSON = {"start": 19, "end": 25, "label": "location"}
BENS: JSON = {"start": 33, "end": 36, "label": "person"}
MAJORITY = (
    POLICY.replace("text-classification", "entities")
    .replace("[refund, billing, cancel]", "[person, location]")
    .replace("unanimous", "majority")
)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(without_git(tmp_path / "workspace", MAJORITY))
    yield bench
    bench.bridge.close()


def row(item_id: str, sure: float, *entities: JSON, **changes: Any) -> dict[str, Any]:
    found = {"item_id": item_id, "input": {"text": TEXT}, "prediction": {"entities": list(entities)}}
    return {**found, "confidence": sure, "model_version": "m1", **changes}


def answer(bench: Bench, item_id: str, reviewer: str, *entities: JSON, **more: tuple[JSON, ...]) -> None:
    bench.labeling.answer(bench.task_id(item_id), reviewer, {LABEL: entities, RATIONALE: ("So it says.",), **more})


def filled_in(bench: Bench, item_id: str) -> list[tuple[int, int, str]]:
    """What is marked on the page as the labeling service shows it first."""
    prediction: Any = bench.labeling.page(bench.task_id(item_id))["prediction"]
    return [(each["value"]["start"], each["value"]["end"], *each["value"]["labels"]) for each in prediction["result"]]


def test_what_one_reviewer_marks_on_a_filled_in_page_is_decided(bench: Bench) -> None:
    bench.pushed(row("kept", QUICK, ANAS, LISBON), row("changed", QUICK, ANAS), row("nothing", QUICK))
    answer(bench, "kept", ANA, LISBON, ANAS)
    answer(bench, "changed", ANA, ANAS, BENS)
    answer(bench, "nothing", ANA)
    bench.brought_back()
    assert bench.decision("kept").outcome.value == "accepted"
    assert bench.decision("changed").output == {"entities": [ANAS, BENS]}
    assert (bench.decision("nothing").outcome.value, bench.decision("nothing").output) == ("accepted", {"entities": []})


def test_a_page_begins_with_the_predicted_entities_and_a_blind_one_with_none(bench: Bench) -> None:
    bench.pushed(row("shown", QUICK, ANAS, LISBON), row("audited", 0.95, ANAS))
    assert filled_in(bench, "shown") == [(0, 9, "person"), (19, 25, "location")]
    assert filled_in(bench, "audited") == []
    data: Any = bench.labeling.page(bench.task_id("shown"))["data"]
    assert "“Ana Silva” person, “Lisbon” location, 70 % sure" in data["model_says"]
    assert data["criteria"].startswith("Mark every entity")


def test_three_reviewers_agree_upon_each_entity_by_itself(bench: Bench) -> None:
    bench.pushed(row("t-1", COMPREHENSIVE, ANAS))
    answer(bench, "t-1", ANA, ANAS, LISBON)
    answer(bench, "t-1", BEN, BENS, LISBON)
    answer(bench, "t-1", DEE, ANAS, BENS, LISBON)
    bench.brought_back()
    assert bench.decision("t-1").output == {"entities": [ANAS, LISBON, BENS]}
    assert set(bench.decision("t-1").reviewers) == {DEE}


def test_an_adjudicator_finds_what_nobody_disputes_marked_and_the_words_of_the_rest_in_a_table(bench: Bench) -> None:
    bench.pushed(row("t-1", COMPREHENSIVE, ANAS))
    answer(bench, "t-1", ANA, ANAS, LISBON)
    answer(bench, "t-1", BEN, ANAS, BENS)
    bench.bridge.pull()
    assert bench.bridge.resolve().disputed == 1
    bench.bridge.push()
    assert filled_in(bench, "t-1") == [(0, 9, "person")]
    data: Any = bench.labeling.page(bench.task_id("t-1"))["data"]
    assert [each["Answer"] for each in data["answers"]] == [
        "“Ana Silva” person, “Lisbon” location",
        "“Ana Silva” person, “Ben” person",
    ]
    answer(bench, "t-1", DEE, ANAS, LISBON, BENS)
    bench.brought_back()
    assert bench.decision("t-1").output == {"entities": [ANAS, LISBON, BENS]}


def test_who_says_that_it_cant_be_answered_rejects_the_item_whatever_is_marked(bench: Bench) -> None:
    bench.pushed(row("t-1", QUICK, ANAS))
    answer(bench, "t-1", ANA, ANAS, **{REJECT: (CANT_ANSWER,), NONE_BECAUSE: ("out of scope",)})
    bench.brought_back()
    assert (bench.decision("t-1").outcome.value, bench.decision("t-1").reason_codes) == ("rejected", ("out of scope",))


def test_an_answer_that_marks_what_is_beyond_the_text_goes_into_quarantine(bench: Bench) -> None:
    bench.pushed(row("t-1", QUICK, ANAS))
    answer(bench, "t-1", ANA, {"start": 30, "end": 60, "label": "person"})
    bench.brought_back()
    assert bench.decided() == {}
    assert [each.reason for each in bench.bridge.quarantined()] == ["it marks what is beyond the text"]


def test_predictions_beyond_the_text_or_with_words_in_them_are_refused_with_the_reason(bench: Bench) -> None:
    beyond: JSON = {"start": 30, "end": 99, "label": "person"}
    words: JSON = {"start": 0, "end": 9, "label": "person", "text": "Ana Silva"}
    told = bench.ingest(row("beyond", QUICK, beyond), row("words", QUICK, words), row("good", QUICK), {"item_id": "x"})
    assert told.accepted == 1
    reasons = [problem.reason for problem in told.problems]
    assert "an entity ends at 99, the text at 36" in reasons
    assert any("never its words" in reason for reason in reasons)


def test_reviewers_are_compared_by_the_entities_that_they_mark(bench: Bench) -> None:
    bench.pushed(row("t-1", COMPREHENSIVE, ANAS), row("t-2", COMPREHENSIVE, ANAS))
    for item in ("t-1", "t-2"):
        answer(bench, item, ANA, ANAS, LISBON)
    answer(bench, "t-1", BEN, ANAS, LISBON)
    answer(bench, "t-2", BEN, ANAS)
    bench.bridge.pull()
    report = bench.bridge.reviewers_report()
    (pair,) = report.pairs
    assert (pair.items, pair.alpha, pair.share) == (2, 6 / 7, 0.5)


def test_doubtful_entities_go_to_an_adjudicator_unless_others_were_decided_since(bench: Bench) -> None:
    bench.pushed(row("t-1", QUICK, ANAS), row("t-2", QUICK, ANAS))
    for item_id in ("t-1", "t-2"):
        answer(bench, item_id, ANA, ANAS)
    bench.brought_back()
    doubt = {"item_id": "t-1", "source": "decisions", "label": "person 0–9", "rather": "location 19–25", "support": 0.1}
    report = {"examined": 2, "note": "why", "doubtful": [doubt, {**doubt, "item_id": "t-2", "label": "no entity"}]}
    path = bench.root / REPORT
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report))
    found = bench.bridge.ask_again(2, by="Lea")
    assert (found.asked, found.note) == (("t-1",), "why")
    assert [each.standing for each in found.doubtful] == [Standing.READY, Standing.CHANGED]
    assert "“person 0–9” may be wrong" in bench.item("t-1").route.reason


def test_entities_marked_in_a_project_of_the_past_become_one_decision_an_item(bench: Bench) -> None:
    body = {"body": TEXT}
    shelf = Shelf(
        [
            a_task(1, said(11, LISBON, ANAS), data=body),
            a_task(2, said(21), data=body, predicted=None),
            a_task(3, said(31, ANAS), data=body, predicted=(ANAS,), score=0.9, model_version="old-1"),
            a_task(4, said(41, ANAS, LISBON, reviewer=ANA), said(42, ANAS, reviewer=BEN), said(43, LISBON), data=body),
            a_task(5, said(51, ANAS, reviewer=ANA), said(52, LISBON, reviewer=BEN), data=body),
            a_task(6, said(61, {"start": 0, "end": 3, "label": "dog"}), data=body),
            a_task(7, said(71, {"start": 30, "end": 99, "label": "person"}), data=body),
            a_task(8, said(81, {"start": "/p[1]", "end": "/p[1]", "label": "person"}), data=body),
            a_task(9, said(91, ANAS), said(92, problem="it was made in bulk"), data=body),
        ]
    )
    result = adopted(bench, shelf)
    assert (result.decisions, result.disputed) == (5, 1)
    assert [(problem.row, problem.reason) for problem in result.problems] == [
        (6, "label 'dog' is not one of this workspace's labels"),
        (7, f"an entity ends at 99, the text at {len(TEXT)}"),
        (8, "an entity needs whole numbers start and end, 0 ≤ start < end"),
        (9, "taken over without one of its answers: it was made in bulk"),
    ]
    decided = {number: bench.decision(f"ls-42-{number}") for number in (1, 2, 3, 4, 9)}
    assert decided[1].output == decided[4].output == {"entities": [ANAS, LISBON]}
    assert (decided[2].output, decided[2].outcome.value) == ({"entities": []}, "corrected")
    assert (decided[3].output, decided[3].outcome.value) == ({"entities": [ANAS]}, "accepted")
    assert bench.item("ls-42-3").prediction.model_version == "old-1"
    assert adopted(bench, shelf).already_there == 5
