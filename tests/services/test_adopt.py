"""Decisions that people made in a Label Studio project of their own are taken over."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hitl_bridge.core.model import Outcome, TaskState
from tests.services.adopting import WISH, Shelf, a_task, adopted, said
from tests.services.bench import ANA, BEN, STRANGER, Bench


@pytest.fixture
def shelf() -> Shelf:
    return Shelf(
        [
            a_task(1, said(11, "refund")),
            a_task(2, said(21, "cancel"), predicted=("refund",), score=0.7, model_version="old-3"),
            a_task(3, said(31, "refund", reviewer=ANA), said(32, "billing", reviewer=BEN)),
            a_task(4, said(41, "refund", reviewer=ANA), said(42, "billing", reviewer=BEN), said(43, "billing")),
            a_task(5, said(51, "no such label")),
            a_task(6, said(61, "refund", problem="it was made in bulk")),
            a_task(7, said(71, "refund"), data={"body": ""}),
        ]
    )


def test_what_people_agreed_on_is_decided_and_where_it_comes_from_is_known(bench: Bench, shelf: Shelf) -> None:
    result = adopted(bench, shelf)
    assert (result.decisions, result.disputed, result.already_there) == (3, 1, 0)
    assert [(problem.row, problem.reason) for problem in result.problems] == [
        (5, "label 'no such label' is not one of this workspace's labels"),
        (6, "it was made in bulk"),
        (7, "input.text must be a text that is not empty"),
    ]
    first, second = bench.decision("ls-42-1"), bench.decision("ls-42-2")
    assert (first.output, first.reviewers, first.rationale) == ({"label": "refund"}, (STRANGER,), "as the rules say")
    assert (second.output, second.outcome) == ({"label": "cancel"}, Outcome.CORRECTED)
    assert bench.decision("ls-42-4").output == {"label": "billing"}
    assert bench.item("ls-42-1").prediction.model_version == "label-studio project 42"
    assert bench.item("ls-42-2").prediction.model_version == "old-3"
    life = bench.bridge.trace("ls-42-1")
    assert "adopted from Label Studio project 42, control sentiment" in str(life)
    event = bench.bridge.store.insights().last_event("adopted")
    assert event is not None
    assert (event.actor, event.detail["decisions"]) == ("Dee", 3)


def test_the_project_is_never_asked_again_and_a_second_run_takes_only_what_is_new(bench: Bench, shelf: Shelf) -> None:
    adopted(bench, shelf)
    assert {task.state for task in bench.tasks()} == {TaskState.CLOSED}
    bench.bridge.keep_roster()
    before = bench.database()
    bench.bridge.push()
    bench.brought_back()
    again = adopted(bench, shelf)
    assert (again.decisions, again.already_there) == (0, 3)
    assert bench.database() == before
    shelf.there.append(a_task(8, said(81, "refund")))
    assert adopted(bench, shelf).decisions == 1


def test_a_dry_run_writes_nothing(bench: Bench, shelf: Shelf) -> None:
    assert bench.bridge.store.projects() == []
    before = bench.database()
    assert adopted(bench, shelf, dry_run=True).decisions == 3
    assert bench.database() == before


def test_items_can_keep_the_ids_that_they_have_elsewhere(bench: Bench, shelf: Shelf) -> None:
    adopted(bench, shelf, replace(WISH, id_field="ticket"))
    assert bench.state("T-1") == "decided"
    assert adopted(bench, Shelf([a_task(9, said(91, "refund"))]), replace(WISH, id_field="nothing")).problems


def test_what_somebody_who_may_not_decide_says_later_does_not_take_it_back(bench: Bench, shelf: Shelf) -> None:
    adopted(bench, shelf)
    bench.brought_back()
    assert bench.decided() == {"ls-42-1": "add", "ls-42-2": "add", "ls-42-4": "add"}
