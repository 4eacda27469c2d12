"""What shows in no list of changes is found all the same: tasks that are there twice, answers that moved no time."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hitl_bridge.core.model import AnnotationState, TaskState
from hitl_bridge.core.task_types.controls import LABEL
from tests.services.bench import ANA, BEN, COMPREHENSIVE, Bench, row
from tests.services.looking import events, project_of, standing

CANCEL = {LABEL: ("cancel",)}
DAY = 24 * 3600.0


# ------------------------------------------------------------------------------------------------ the sweep


@pytest.mark.catalogue("B5")
def test_a_project_is_compared_as_a_whole_from_time_to_time_and_when_asked(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    assert bench.bridge.pull().swept == 0
    bench.clock.turn(6 * 3600 - 1)
    assert bench.bridge.pull().swept == 0
    bench.clock.turn(1)
    assert bench.bridge.pull().swept == 1
    assert bench.bridge.pull().swept == 0
    assert bench.bridge.pull(sweep=True).swept == 1


@pytest.mark.catalogue("B6")
def test_our_own_clock_set_back_does_not_put_the_sweep_off_for_ever(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    bench.bridge.pull()
    bench.clock.turn(-30 * DAY)
    assert bench.bridge.pull().swept == 1
    assert bench.bridge.pull().swept == 0


@pytest.mark.catalogue("B5")
def test_an_answer_whose_task_was_never_touched_is_found_by_a_sweep(bench: Bench) -> None:
    bench.pushed(row("t-1"), row("t-2"))
    bench.answer("t-2")
    bench.bridge.pull()
    bench.labeling.annotate_unnoticed(bench.task_id("t-1"), ANA, CANCEL)
    assert bench.bridge.pull().revisions == 0
    assert bench.bridge.pull(sweep=True).revisions == 1
    assert bench.bridge.pull(sweep=True).revisions == 0
    bench.bridge.resolve()
    assert bench.decision("t-1").output == {"label": "cancel"}


@pytest.mark.catalogue("B7")
def test_annotations_that_a_clean_up_moved_to_another_task_count_once_and_there(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    first = bench.task_id("t-1")
    bench.answer("t-1", ANA, "cancel")
    bench.brought_back()
    second = bench.labeling.double(first)
    bench.labeling.move_annotations(first, second)
    result = bench.bridge.pull(sweep=True)
    assert (result.lost, result.troubles) == (0, ())
    assert [(each.task_id, each.reviewer) for each in standing(bench, "t-1")] == [(second, ANA)]
    assert bench.task_id("t-1") == second
    assert "task_moved" in events(bench, "t-1")
    bench.bridge.resolve()
    assert (bench.decision("t-1").output, bench.decision("t-1").seq) == ({"label": "cancel"}, 0)
    before = bench.database()
    assert bench.bridge.pull(sweep=True).tombstones == 0
    assert bench.database() == before


@pytest.mark.catalogue("B7")
def test_an_account_that_is_deleted_takes_back_nothing_of_what_was_said_with_it(bench: Bench) -> None:
    bench.pushed(row("t-1"), row("t-2"))
    given = bench.answer("t-1", ANA, "cancel")
    bench.brought_back()
    bench.answer("t-2", ANA)
    bench.labeling.delete_account(ANA)
    result = bench.bridge.pull(sweep=True)
    assert (result.revisions, result.quarantined) == (1, 1)  # whose answer t-2 has nobody can say any more
    assert [(each.reviewer, each.state) for each in standing(bench, "t-1")] == [(ANA, AnnotationState.ANSWER)]
    bench.revise(given, BEN, "billing")  # somebody edits what Ana said
    assert bench.bridge.pull().quarantined == 1
    assert [each.answer.output for each in standing(bench, "t-1") if each.answer] == [{"label": "cancel"}]


@pytest.mark.catalogue("A2")
def test_when_a_task_was_created_is_learned_when_it_is_first_seen(bench: Bench) -> None:
    bench.pushed(row("t-1"), row("t-2"))
    assert {task.task_created_at for task in bench.tasks()} == {None}
    bench.answer("t-1")
    bench.bridge.pull()
    assert [task.task_created_at is None for task in bench.tasks()] == [False, True]
    bench.bridge.pull(sweep=True)
    assert all(task.task_created_at for task in bench.tasks())


def test_only_the_projects_that_are_asked_for_are_read(bench: Bench) -> None:
    bench.pushed(row("q"), row("c", COMPREHENSIVE))
    bench.answer("q")
    bench.answer("c")
    assert bench.bridge.pull(only=[project_of(bench).project_id]).revisions == 1
    assert (bench.state("q"), bench.state("c")) == ("answered", "pushed")


@pytest.mark.catalogue("B6")
@pytest.mark.parametrize("hours", [-1, 1])
def test_a_server_whose_clock_is_set_loses_no_answer_and_no_edit(bench: Bench, hours: int) -> None:
    bench.pushed(*(row(f"t-{number}") for number in range(4)))
    given = bench.answer("t-0", ANA, "refund")
    bench.answer("t-1")
    bench.brought_back()
    bench.labeling.turn_clock(timedelta(hours=hours))
    bench.answer("t-2")
    bench.revise(given, ANA, "cancel")
    assert bench.bridge.pull().troubles == ()
    bench.bridge.resolve()
    assert bench.decision("t-0").output == {"label": "cancel"}
    bench.labeling.turn_clock(timedelta(hours=-hours))
    bench.answer("t-3")
    bench.revise(given, ANA, "billing")
    assert bench.bridge.pull().troubles == ()
    bench.bridge.resolve()
    assert bench.decision("t-0").output == {"label": "billing"}
    assert bench.decided().keys() == {"t-0", "t-1", "t-2", "t-3"}
    before = bench.database()
    bench.bridge.pull(sweep=True)
    assert bench.database() == before


# ---------------------------------------------------------------------------------------------- tasks twice


@pytest.mark.catalogue("A1", "A10")
def test_a_late_double_that_nobody_touched_is_deleted_and_the_log_says_so(bench: Bench) -> None:
    bench.pushed(row("t-1"), row("t-2"))
    bench.answer("t-1", ANA, "cancel")
    first = bench.task_id("t-1")
    bench.labeling.double(first)
    assert bench.bridge.pull(sweep=True).doubles == 1
    assert (len(bench.labeling.tasks()), bench.task_id("t-1")) == (2, first)
    assert "double_deleted" in events(bench, "t-1")
    bench.bridge.resolve()
    assert bench.decision("t-1").output == {"label": "cancel"}


@pytest.mark.catalogue("A1", "A10")
def test_the_task_is_the_one_with_answers_and_the_blank_one_goes(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    first = bench.task_id("t-1")
    second = bench.labeling.double(first)
    bench.labeling.answer(second, ANA, CANCEL)
    result = bench.bridge.pull()  # its answer shows it
    assert (result.revisions, result.doubles) == (1, 1)
    assert (bench.task_id("t-1"), len(bench.labeling.tasks())) == (second, 1)
    bench.bridge.resolve()
    assert bench.decision("t-1").output == {"label": "cancel"}
    assert bench.bridge.pull(sweep=True).lost == 0


@pytest.mark.catalogue("A10", "B7")
def test_doubles_with_answers_both_stay_and_all_answers_are_to_the_same_question(bench: Bench) -> None:
    bench.pushed(row("t-1", COMPREHENSIVE))
    first = bench.task_id("t-1")
    bench.answer("t-1", ANA, "cancel")
    second = bench.labeling.double(first)
    bench.labeling.answer(second, BEN, CANCEL)
    for _ in range(3):
        assert bench.bridge.pull(sweep=True).tombstones == 0
    assert len(bench.labeling.tasks()) == 2
    assert bench.task_id("t-1") == first
    assert events(bench, "t-1").count("double_kept") == 1
    bench.bridge.resolve()
    assert bench.decision("t-1").reviewers == (ANA, BEN)


@pytest.mark.catalogue("A10", "B7")
@pytest.mark.parametrize(("deleted", "left"), [(0, BEN), (1, ANA)])
def test_what_was_said_on_one_of_two_doubles_is_deleted_with_it(bench: Bench, deleted: int, left: str) -> None:
    bench.pushed(row("t-1", COMPREHENSIVE))
    first = bench.task_id("t-1")
    bench.answer("t-1", ANA, "cancel")
    second = bench.labeling.double(first)
    bench.labeling.answer(second, BEN, CANCEL)
    bench.bridge.pull(sweep=True)
    bench.bridge.resolve()
    bench.labeling.delete_task((first, second)[deleted])
    result = bench.bridge.pull(sweep=True)
    assert (result.tombstones, result.lost, result.troubles) == (1, 0, ())
    assert [each.reviewer for each in standing(bench, "t-1")] == [left]
    assert bench.task_id("t-1") == (second, first)[deleted]
    bench.bridge.resolve()
    assert (bench.state("t-1"), list(bench.bridge.store.uncommitted())) == ("answered", [])
    before = bench.database()
    assert bench.bridge.pull(sweep=True).tombstones == 0
    assert bench.database() == before


@pytest.mark.catalogue("A1", "A10")
def test_a_double_that_nobody_has_touched_is_found_before_anybody_has_answered_anything(bench: Bench) -> None:
    """It is in no list of answers, and when the first answer comes it is older than what is read then."""
    bench.pushed(row("t-1"), row("t-2"))
    bench.bridge.pull()
    bench.labeling.double(bench.task_id("t-1"))
    assert bench.bridge.pull().doubles == 1
    assert len(bench.labeling.tasks()) == 2
    assert bench.bridge.pull().swept == 0


def test_tasks_that_are_not_ours_are_counted_once_and_compared_no_more(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    second = bench.labeling.double(bench.task_id("t-1"))
    bench.labeling.begin_draft(second)
    assert [bench.bridge.pull().swept for _ in range(3)] == [1, 0, 0]
    assert len(bench.labeling.tasks()) == 2


@pytest.mark.catalogue("A10")
def test_a_double_that_somebody_has_begun_to_answer_stays(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    second = bench.labeling.double(bench.task_id("t-1"))
    bench.labeling.begin_draft(second)
    assert bench.bridge.pull(sweep=True).doubles == 0
    assert len(bench.labeling.tasks()) == 2


@pytest.mark.catalogue("A1", "A2")
def test_a_request_that_was_carried_out_late_is_found_by_a_sweep_though_nothing_is_queued(bench: Bench) -> None:
    bench.ingest(row("t-1"))
    bench.labeling.lose_next_reply()
    bench.bridge.push()
    assert bench.bridge.pull(sweep=True).troubles == ()
    assert [task.state for task in bench.tasks()] == [TaskState.LIVE]
    assert bench.bridge.push().created == 0


# --------------------------------------------------------------------------------- what can't be shown at all


@pytest.mark.catalogue("A8")
def test_a_task_that_cannot_be_shown_is_noted_and_stops_nothing_and_is_tried_again(bench: Bench) -> None:
    bench.pushed(row("bad"), row("good"))
    bench.answer("bad")
    bench.brought_back()
    bad = bench.task_id("bad")
    bench.answer("bad", BEN)
    bench.labeling.make_unreadable(bad)
    bench.answer("good")
    result = bench.bridge.pull()
    assert (result.revisions, result.tombstones, result.unreadable, result.troubles) == (1, 0, 1, ())
    store, project = bench.bridge.store, project_of(bench)
    assert store.unreadable_tasks(project.project_id).keys() == {bad}
    assert "unreadable" in events(bench, "bad")
    assert bench.bridge.pull(sweep=True).tombstones == 0
    bench.labeling.make_unreadable(bad, unreadable=False)
    assert bench.bridge.pull(sweep=True).revisions == 1
    assert store.unreadable_tasks(project.project_id) == {}
    assert len(standing(bench, "bad")) == 2
