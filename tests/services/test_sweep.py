"""What shows in no list of changes is found all the same, and what no reviewer's work explains stops that project alone."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from hitl_bridge.core.model import Annotation, AnnotationId, AnnotationState, ItemId, Project, TaskId, TaskState
from hitl_bridge.core.task_types.controls import LABEL
from hitl_bridge.errors import AccessRefused
from tests.services.bench import ANA, BEN, COMPREHENSIVE, Bench, row

REFUND, CANCEL = {LABEL: ("refund",)}, {LABEL: ("cancel",)}
DAY = 24 * 3600.0


def project_of(bench: Bench, tier: str = "quick") -> Project:
    return next(project for project in bench.bridge.store.projects() if project.key.tier == tier)


def task_ids(bench: Bench) -> dict[str, TaskId]:
    return {str(task.item_id): task.task_id for task in bench.tasks(TaskState.LIVE) if task.task_id is not None}


def standing(bench: Bench, item_id: str) -> list[Annotation]:
    keys = [task.push_key for task in bench.tasks() if task.item_id == ItemId(item_id)]
    return bench.bridge.store.standing_annotations(keys)


def events(bench: Bench, item_id: str) -> str:
    return str(bench.bridge.trace(item_id)["events"])


def cycle(bench: Bench) -> None:
    bench.bridge.push()
    bench.brought_back()
    bench.bridge.push()


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


# ------------------------------------------------------------------------------------------------ tripwires


@pytest.mark.catalogue("B11")
def test_while_a_label_config_is_not_ours_nothing_is_read_under_it(bench: Bench) -> None:
    bench.pushed(row("t-1"), row("c", COMPREHENSIVE))
    project = project_of(bench)
    bench.labeling.relabel(project.project_id, bench.bridge.label_config("quick").replace("billing", "invoices"))
    bench.answer("t-1", ANA, "invoices")
    bench.answer("c", ANA)
    before = bench.bridge.store.cursor(project.project_id)
    result = bench.bridge.pull()
    (trouble,) = result.troubles
    assert (result.revisions, trouble.project, trouble.exit_code) == (1, project.title, 4)
    assert "hitl-bridge push --restore-label-config" in trouble.remedy
    assert bench.bridge.store.cursor(project.project_id) == before
    bench.bridge.push(restore_label_config=True)
    assert bench.bridge.pull().quarantined == 1  # "invoices" is no label of ours
    bench.bridge.resolve()
    assert "t-1" not in bench.decided()


@pytest.mark.catalogue("B11")
@pytest.mark.parametrize("change", ["remove", "rename", "add"])
def test_labels_removed_renamed_and_added_in_mid_run_make_no_label_of_what_is_none(bench: Bench, change: str) -> None:
    bench.pushed(row("t-1"), row("t-2"))
    bench.answer("t-1", ANA, "billing")
    bench.brought_back()
    ours = bench.bridge.label_config("quick")
    (choice,) = re.findall('<Choice value="billing"[^>]*/>', ours)
    changed = {
        "remove": ours.replace(choice, ""),
        "rename": ours.replace('value="billing"', 'value="invoices"'),
        "add": ours.replace(choice, f'{choice}<Choice value="sneaked in"/>'),
    }[change]
    bench.labeling.relabel(project_of(bench).project_id, changed)
    bench.answer("t-2", ANA, {"remove": "billing", "rename": "invoices", "add": "sneaked in"}[change])
    assert len(bench.bridge.pull().troubles) == 1
    bench.bridge.push(restore_label_config=True)
    bench.brought_back()
    assert bench.decision("t-1").output == {"label": "billing"}
    assert ("t-2" in bench.decided()) is (change == "remove")  # it was a label of ours all the time


@pytest.mark.catalogue("B11")
def test_an_answer_that_was_believed_stays_so_when_our_labels_change(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    bench.answer("t-1", ANA, "billing")
    bench.brought_back()
    settings = bench.root / "hitl.yaml"
    settings.write_text(settings.read_text("utf-8").replace("labels: [refund, billing, cancel]", "labels: [refund, cancel]"))
    with bench.opened() as narrowed:
        narrowed.push(restore_label_config=True)
        assert narrowed.pull(sweep=True).quarantined == 0
    assert [each.state for each in standing(bench, "t-1")] == [AnnotationState.ANSWER]


@pytest.mark.catalogue("B12")
def test_a_project_that_lets_us_in_no_more_is_no_empty_project(bench: Bench) -> None:
    bench.pushed(row("q"), row("c", COMPREHENSIVE))
    bench.answer("q")
    bench.answer("c")
    bench.labeling.fail_next(AccessRefused("403"))
    result = bench.bridge.pull()
    assert (result.revisions, [trouble.exit_code for trouble in result.troubles]) == (1, [4])
    bench.labeling.fail_next(AccessRefused("401"), times=2)
    with pytest.raises(AccessRefused):
        bench.bridge.pull()
    assert bench.bridge.pull().revisions == 1


# ------------------------------------------------------------------------------------------- gone back in time


def restored_bench(bench: Bench) -> dict[str, AnnotationId]:
    """Before the backup: `kept` and `edited` answered. After it: `edited` is edited, `lost` is answered, `new` is pushed. Then
    the backup is restored, and whoever comes first is given ids that were given before."""
    bench.pushed(row("kept"), row("edited"), row("lost"), row("open"))
    given = {"kept": bench.answer("kept", ANA, "cancel"), "edited": bench.answer("edited", ANA, "refund")}
    bench.brought_back()
    backup = bench.labeling.backup()
    given["lost"] = bench.answer("lost", ANA, "cancel")
    bench.revise(given["edited"], ANA, "billing")
    bench.pushed(row("new"))
    given["new"] = bench.answer("new", ANA, "cancel")
    bench.brought_back()
    bench.labeling.restore(backup)
    return given


@pytest.mark.catalogue("B10")
@pytest.mark.parametrize("is_answered_first", [False, True])
def test_a_restored_backup_stops_its_project_and_nothing_is_touched(bench: Bench, is_answered_first: bool) -> None:
    given = restored_bench(bench)
    if is_answered_first:
        again = bench.labeling.answer(task_ids(bench)["open"], BEN, REFUND)
        assert again == given["lost"]  # the id is used again, on another task
    bench.pushed(row("c", COMPREHENSIVE))
    bench.answer("c")
    project, items = project_of(bench), ("kept", "edited", "lost", "new", "open")
    before = bench.bridge.store.cursor(project.project_id), [standing(bench, item) for item in items]
    result = bench.bridge.pull()
    (trouble,) = result.troubles
    assert (trouble.project, trouble.exit_code) == (project.title, 4)
    assert "hitl-bridge pull --accept-restored" in trouble.remedy
    assert result.revisions == 1  # in the other project
    assert (bench.bridge.store.cursor(project.project_id), [standing(bench, item) for item in items]) == before
    assert bench.bridge.pull().troubles == (trouble,)


@pytest.mark.catalogue("B10")
def test_once_confirmed_what_the_backup_lacks_stays_in_force_and_the_rest_is_followed(bench: Bench) -> None:
    given = restored_bench(bench)
    bench.labeling.answer(task_ids(bench)["open"], BEN, REFUND)  # takes the id of `lost`'s annotation
    result = bench.bridge.pull(accept_restored=True)
    assert (result.troubles, result.lost) == ((), 1)
    assert project_of(bench).epoch == 1
    bench.bridge.resolve()
    said = {item: bench.decision(item).output for item in ("kept", "edited", "lost", "new", "open")}
    assert said == {
        "kept": {"label": "cancel"},
        "edited": {"label": "billing"},
        "lost": {"label": "cancel"},
        "new": {"label": "cancel"},
        "open": {"label": "refund"},
    }
    assert "kept_after_restore" in events(bench, "lost")
    assert "kept_after_restore" not in events(bench, "kept")
    before = bench.database()
    bench.clock.turn(60)
    assert bench.bridge.pull(sweep=True).troubles == ()
    assert bench.database() == before
    bench.revise(given["kept"], ANA, "refund")
    bench.labeling.delete_annotation(given["edited"])
    bench.brought_back()
    assert bench.decision("kept").output == {"label": "refund"}
    assert standing(bench, "edited") == []
    assert bench.decision("lost").output == {"label": "cancel"}


@pytest.mark.catalogue("B10")
def test_tasks_that_the_backup_lacks_are_asked_again_where_they_are_undecided(bench: Bench) -> None:
    bench.pushed(row("t-1"), row("t-2"))
    bench.answer("t-1")
    bench.brought_back()
    backup = bench.labeling.backup()
    bench.pushed(row("waiting"))
    bench.answer("t-2")
    bench.brought_back()
    bench.labeling.restore(backup)
    assert len(bench.bridge.pull().troubles) == 1
    result = bench.bridge.pull(accept_restored=True)
    assert (result.lost, bench.state("waiting"), bench.item("waiting").round) == (1, "queued", 2)
    cycle(bench)
    bench.answer("waiting", ANA, "cancel")
    bench.brought_back()
    assert bench.decision("waiting").output == {"label": "cancel"}
    assert len(bench.labeling.tasks()) == len(set(bench.labeling.tasks())) == 3


@pytest.mark.catalogue("B10")
def test_an_accepted_restore_that_was_cut_off_is_taken_up_again(bench: Bench) -> None:
    restored_bench(bench)
    bench.bridge.store.begin_epoch(project_of(bench), bench.clock.now())  # and the process died
    result = bench.bridge.pull()
    assert (result.swept, result.troubles, result.tombstones) == (1, (), 0)
    assert "kept_after_restore" in events(bench, "lost")


@pytest.mark.catalogue("B10", "B8")
def test_deleting_the_newest_answers_by_hand_is_no_restore(bench: Bench) -> None:
    bench.pushed(*(row(f"t-{number}") for number in range(5)))
    given = [bench.answer(f"t-{number}") for number in range(5)]
    bench.brought_back()
    bench.labeling.delete_annotation(given[4])
    bench.labeling.delete_task(task_ids(bench)["t-3"])
    bench.answer("t-4", BEN, "cancel")
    result = bench.bridge.pull(accept_restored=True)
    assert (result.troubles, result.tombstones, result.lost) == ((), 1, 1)
    assert project_of(bench).epoch == 0
