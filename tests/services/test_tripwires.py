"""What no reviewer's work explains stops that project alone, until somebody says what is right."""

from __future__ import annotations

import re

import pytest

from hitl_bridge.core.model import AnnotationId, AnnotationState
from hitl_bridge.core.task_types.controls import LABEL
from hitl_bridge.errors import AccessRefused
from tests.services.bench import ANA, BEN, COMPREHENSIVE, Bench, row
from tests.services.looking import events, project_of, standing, task_ids

REFUND = {LABEL: ("refund",)}


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
    bench.revise(given["kept"], ANA, "refund")
    bench.labeling.delete_annotation(given["edited"])
    bench.brought_back()
    assert bench.decision("kept").output == {"label": "refund"}
    assert standing(bench, "edited") == []
    assert bench.decision("lost").output == {"label": "cancel"}
    before = bench.database()
    bench.clock.turn(60)
    assert bench.bridge.pull(sweep=True).troubles == ()
    assert bench.database() == before


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
    bench.bridge.push()
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
