"""Answers come back exactly once, every revision of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hitl_bridge.core.model import Annotation, AnnotationState, ItemId, PushKey, TaskState
from hitl_bridge.core.task_types.controls import LABEL
from hitl_bridge.errors import LabelingUnavailable
from hitl_bridge.ports import TaskContent
from tests.services.bench import ANA, BEN, COMPREHENSIVE, Bench, row


def revisions(bench: Bench, item_id: str) -> list[Annotation]:
    """The latest of each annotation on the item's tasks."""
    keys = [task.push_key for task in bench.tasks() if task.item_id == ItemId(item_id)]
    return bench.bridge.store.annotations_of(keys)


def test_an_answer_comes_back_with_who_gave_it_and_what_they_said(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    bench.answer("t-1", ANA, "billing", why="An invoice is named.")
    result = bench.bridge.pull()
    assert (result.revisions, result.tombstones, result.quarantined) == (1, 0, 0)
    (revision,) = revisions(bench, "t-1")
    assert (revision.reviewer, revision.state, revision.lead_time) == (ANA, AnnotationState.ANSWER, 12.0)
    assert revision.answer is not None
    assert (revision.answer.output, revision.answer.rationale) == ({"label": "billing"}, "An invoice is named.")
    assert bench.state("t-1") == "answered"


@pytest.mark.catalogue("B5")
def test_the_same_page_twice_stores_no_revision_twice(bench: Bench) -> None:
    bench.pushed(row("t-1"), row("t-2"))
    bench.answer("t-1")
    bench.answer("t-2")
    assert bench.bridge.pull().revisions == 2
    before = bench.database()
    bench.clock.turn(60)
    again = bench.bridge.pull()
    assert (again.revisions, again.tombstones, bench.database()) == (0, 0, before)


@pytest.mark.catalogue("B5")
def test_without_its_cursor_everything_is_read_again_and_nothing_is_stored_twice(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    bench.answer("t-1")
    bench.bridge.pull()
    before = bench.database()
    store = bench.bridge.store
    store.record_pull(store.projects()[0].project_id, (), None, bench.clock.now())
    bench.clock.turn(60)
    assert bench.bridge.pull().revisions == 0
    assert bench.database() == before


def test_what_was_recorded_late_by_another_bridge_does_not_come_in_twice(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    bench.answer("t-1")
    bench.bridge.pull()
    store, known = bench.bridge.store, revisions(bench, "t-1")
    project = store.projects()[0].project_id
    assert store.record_pull(project, known, store.cursor(project), bench.clock.now()) == 0
    assert store.record_pull(project, [replace(known[0], updated_at="2026-01-02T00:00:00Z")], None, bench.clock.now()) == 1


def test_each_edit_is_a_new_revision_of_the_same_annotation(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    given = bench.answer("t-1", ANA, "billing")
    bench.bridge.pull()
    bench.revise(given, ANA, "cancel")
    assert bench.bridge.pull().revisions == 1
    (latest,) = revisions(bench, "t-1")
    assert latest.answer is not None
    assert latest.answer.output == {"label": "cancel"}
    assert len(list_of(bench.bridge.trace("t-1")["annotations"])) == 2


@pytest.mark.catalogue("B8")
def test_a_deleted_annotation_is_a_tombstone_and_what_it_said_is_kept(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    given = bench.answer("t-1")
    bench.bridge.pull()
    bench.labeling.delete_annotation(given)
    result = bench.bridge.pull()
    assert (result.revisions, result.tombstones) == (0, 1)
    (latest,) = revisions(bench, "t-1")
    assert latest.state is AnnotationState.TOMBSTONE
    assert bench.bridge.pull().tombstones == 0
    assert len(list_of(bench.bridge.trace("t-1")["annotations"])) == 2


@pytest.mark.catalogue("B7")
def test_a_skip_is_kept_but_is_no_answer(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    bench.labeling.skip(bench.task_id("t-1"), ANA)
    assert bench.bridge.pull().revisions == 1
    assert revisions(bench, "t-1")[0].state is AnnotationState.SKIP
    assert bench.state("t-1") == "pushed"
    assert bench.bridge.resolve().decisions == 0


@pytest.mark.catalogue("B7")
def test_an_answer_changed_by_somebody_else_is_quarantined_and_shown(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    given = bench.answer("t-1", ANA)
    bench.revise(given, BEN, "cancel")
    assert bench.bridge.pull().quarantined == 1
    bench.bridge.resolve()
    assert bench.decided() == {}
    (problem,) = bench.bridge.status().problems
    assert (problem["item_id"], problem["reason"]) == ("t-1", "edited by somebody other than its author")


@pytest.mark.catalogue("B7")
def test_answers_made_in_bulk_from_predictions_are_quarantined(bench: Bench) -> None:
    bench.pushed(row("t-1"), row("t-2"))
    bench.labeling.annotate_in_bulk(bench.bridge.store.projects()[0], ANA)
    assert bench.bridge.pull().quarantined == 2
    bench.bridge.resolve()
    assert bench.decided() == {}


def test_a_page_without_a_label_means_nothing_and_is_quarantined(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    bench.labeling.answer(bench.task_id("t-1"), ANA, {LABEL: ()})
    assert bench.bridge.pull().quarantined == 1


def test_tasks_that_nobody_promised_are_left_alone(bench: Bench) -> None:
    bench.pushed(row("mine"))
    theirs = TaskContent(PushKey("theirs"), {"text": "x", "answers": []}, {}, 0.5)
    (task,) = bench.labeling.create_tasks(bench.bridge.store.projects()[0], [theirs]).created
    bench.labeling.answer(task.task_id, ANA, {LABEL: ("cancel",)})
    assert bench.bridge.pull().revisions == 0
    bench.answer("mine")
    assert bench.bridge.pull().revisions == 1


@pytest.mark.catalogue("A1")
def test_an_answer_given_before_the_push_was_confirmed_is_not_lost(bench: Bench) -> None:
    bench.ingest(row("t-1"))
    bench.labeling.lose_next_reply()
    bench.bridge.push()
    (task,) = bench.tasks()
    project = bench.bridge.store.projects()[0]
    (there,) = bench.labeling.find_tasks(project, [task.push_key])
    bench.labeling.answer(there.task_id, ANA, {LABEL: ("cancel",)})
    bench.bridge.pull()  # the answer comes in while the task is still unclear; a task more than we know of is looked into
    assert {task.state for task in bench.tasks()} == {TaskState.LIVE}
    assert bench.bridge.push().created == 0
    bench.brought_back()
    assert bench.decision("t-1").output == {"label": "cancel"}


@pytest.mark.catalogue("A3")
def test_while_the_labeling_service_is_away_no_cursor_moves(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    bench.answer("t-1")
    bench.labeling.fail_next()
    with pytest.raises(LabelingUnavailable):
        bench.bridge.pull()
    assert bench.bridge.store.cursor(bench.bridge.store.projects()[0].project_id) is None
    assert bench.bridge.pull().revisions == 1


@pytest.mark.catalogue("B9")
def test_a_project_that_is_gone_is_not_a_thousand_deletions(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    bench.answer("t-1")
    bench.brought_back()
    bench.labeling.delete_project(bench.bridge.store.projects()[0].key)
    result = bench.bridge.pull()
    assert (result.tombstones, len(result.troubles)) == (0, 1)
    bench.bridge.resolve()
    assert bench.decided() == {"t-1": "add"}


def test_answers_of_all_projects_come_in_one_pull_with_at_most_two_requests_each(bench: Bench) -> None:
    bench.pushed(row("q"), row("c", COMPREHENSIVE))
    bench.answer("q")
    bench.answer("c", ANA)
    bench.answer("c", BEN)
    result = bench.bridge.pull()
    assert result.revisions == 3
    assert result.requests <= 2 * len(bench.bridge.store.projects())


def list_of(value: object) -> list[object]:
    assert isinstance(value, list)
    return value


def test_whoever_calls_while_many_projects_are_pulled_is_served_between_two_of_them(bench: Bench) -> None:
    bench.pushed(row("t-1"), row("t-2", COMPREHENSIVE))
    quick = next(project for project in bench.bridge.store.projects() if project.key.tier == "quick")
    served: list[int] = []

    def between() -> None:
        if not served:
            bench.answer("t-1")
        served.append(bench.bridge.pull(only=[quick.project_id]).revisions)

    result = bench.bridge.pull(between=between)
    assert served == [1, 0]
    assert (result.revisions, result.requests) == (0, 4), "two a project; what was served between them is not counted again"
    assert bench.state("t-1") == "answered"
