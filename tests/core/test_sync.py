from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl_bridge.core.model import NONE_OF_THESE, AnnotationId, AnnotationState, Project, ProjectId, ProjectKey, PushKey, TaskId
from hitl_bridge.core.sync import (
    ROLL_OVER,
    RemoteAnnotation,
    RemoteTask,
    RemoteTaskState,
    missing_among,
    plan_revisions,
    plan_tasks,
    push_key,
    task_among,
    vanished,
)
from hitl_bridge.core.task_types import task_type
from hitl_bridge.core.task_types.controls import ANOTHER_LABEL
from tests.core.examples import LABELS, an_item

KIND = task_type("text-classification")
KEY = b"k" * 32
PROJECT = Project(ProjectKey("payments", "quick"), ProjectId(7), "payments", "", "")


def shown(annotation_id: int = 1, label: str = "refund", **changes: object) -> RemoteAnnotation:
    plain = RemoteAnnotation(
        annotation_id=AnnotationId(annotation_id),
        created_at="2026-11-22T10:01:00.000000Z",
        updated_at="2026-11-22T10:05:00.000000Z",
        completed_by="ana@example.com",
        updated_by="ana@example.com",
        was_cancelled=False,
        controls={"label": (label,), "rationale": ("two debits",), "reviewer_confidence": (4,)},
        result=({"from_name": "label"},),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def a_task(*annotations: RemoteAnnotation) -> RemoteTaskState:
    return RemoteTaskState(PushKey("k-1"), TaskId(70), "2026-11-22T10:00:00.000000Z", "2026-11-22T10:09:00.000000Z", annotations)


def revisions(task: RemoteTaskState, known=()):  # type: ignore[no-untyped-def]
    return plan_revisions(PROJECT, task, known, KIND, LABELS)


def test_an_answer_is_read_with_its_rationale_and_confidence() -> None:
    (revision,) = revisions(a_task(shown()))
    assert revision.state is AnnotationState.ANSWER
    assert revision.answer is not None
    assert (revision.answer.output, revision.answer.rationale, revision.answer.confidence) == (
        {"label": "refund"},
        "two debits",
        4,
    )


def test_a_page_seen_before_brings_no_revision() -> None:
    known = revisions(a_task(shown()))
    assert revisions(a_task(shown()), known) == []


def test_an_edit_is_a_new_revision() -> None:
    known = revisions(a_task(shown()))
    edited = shown(label="cancel", updated_at="2026-11-22T10:08:00.000000Z")
    (revision,) = revisions(a_task(edited), known)
    assert revision.answer is not None
    assert revision.answer.output == {"label": "cancel"}


def test_a_deleted_annotation_leaves_one_tombstone() -> None:
    known = revisions(a_task(shown()))
    (tombstone,) = revisions(a_task(), known)
    assert tombstone.state is AnnotationState.TOMBSTONE
    assert revisions(a_task(), [tombstone]) == []


def test_an_id_used_again_is_another_annotation() -> None:
    known = revisions(a_task(shown()))
    reborn = shown(created_at="2026-11-23T08:00:00.000000Z", updated_at="2026-11-23T08:00:00.000000Z")
    states = [each.state for each in revisions(a_task(reborn), known)]
    assert states == [AnnotationState.ANSWER, AnnotationState.TOMBSTONE]


def test_the_result_of_a_skip_means_nothing() -> None:
    (revision,) = revisions(a_task(shown(was_cancelled=True)))
    assert (revision.state, revision.answer) == (AnnotationState.SKIP, None)


def test_an_answer_that_fits_no_label_is_put_aside_with_the_reason() -> None:
    (revision,) = revisions(a_task(shown(label="nonsense")))
    assert revision.state is AnnotationState.QUARANTINED
    assert "nonsense" in revision.reason


def test_an_answer_edited_by_somebody_else_is_put_aside() -> None:
    (revision,) = revisions(a_task(shown(updated_by="zoe@example.com")))
    assert revision.state is AnnotationState.QUARANTINED


def test_a_skip_made_of_another_s_answer_is_put_aside_too() -> None:
    (revision,) = revisions(a_task(shown(was_cancelled=True, updated_by="zoe@example.com")))
    assert (revision.state, revision.reason) == (AnnotationState.QUARANTINED, "edited by somebody other than its author")


def test_none_of_these_rejects_the_item() -> None:
    (revision,) = revisions(a_task(shown(label=NONE_OF_THESE)))
    assert revision.answer is not None
    assert revision.answer.rejects


def test_the_search_counts_where_another_label_was_asked_for() -> None:
    searched = shown(controls={"label": (ANOTHER_LABEL,), "other_label": ("cancel",)})
    (revision,) = revisions(a_task(searched))
    assert revision.answer is not None
    assert revision.answer.output == {"label": "cancel"}


def test_a_full_project_is_continued_in_its_next_part() -> None:
    live = {ProjectKey("payments", "quick"): ROLL_OVER - 1}
    planned = plan_tasks(KEY, [an_item("a"), an_item("b")], live)
    assert [task.project_key.part for _, task in planned] == [1, 2]


def test_a_part_that_was_replaced_gets_no_more_tasks_although_it_has_room() -> None:
    known = [ProjectKey("payments", "quick", 2), ProjectKey("payments", "quick"), ProjectKey("payments", "strict", 7)]
    planned = plan_tasks(KEY, [an_item("a")], {ProjectKey("payments", "quick", 2): 1}, known)
    assert [task.project_key for _, task in planned] == [ProjectKey("payments", "quick", 2)]


@given(st.lists(st.text(min_size=1, max_size=20), unique=True, max_size=20))
def test_no_two_items_or_rounds_share_a_push_key(ids: list[str]) -> None:
    items = [an_item(item_id) for item_id in ids]
    keys = {push_key(KEY, item) for item in items} | {push_key(KEY, replace(item, round=2)) for item in items}
    assert len(keys) == 2 * len(items)


events = st.lists(
    st.tuples(st.integers(1, 3), st.sampled_from([*LABELS, "nonsense"]), st.booleans(), st.integers(0, 5)), max_size=4
)


@given(st.lists(events, max_size=6))
def test_however_a_task_changes_each_look_leaves_nothing_more_to_record(history) -> None:  # type: ignore[no-untyped-def]
    known: dict[tuple[int, str], object] = {}
    for look in history:
        by_id = {number: (number, label, skip, minute) for number, label, skip, minute in look}
        task = a_task(
            *(
                shown(number, label, was_cancelled=skip, updated_at=f"2026-11-22T10:{minute:02}:00.000000Z")
                for number, label, skip, minute in by_id.values()
            )
        )
        for revision in revisions(task, list(known.values())):
            known[revision.annotation_id, revision.created_at] = revision
        assert revisions(task, list(known.values())) == []


ELSEWHERE = TaskId(71)


@pytest.mark.catalogue("A10", "B7")
def test_of_two_tasks_with_one_key_neither_is_held_against_the_other() -> None:
    first = a_task(shown(1))
    second = replace(a_task(shown(2)), task_id=ELSEWHERE)
    known = [*revisions(first), *revisions(second)]
    assert revisions(first, known) == revisions(second, known) == []
    (tombstone,) = revisions(a_task(), known)
    assert (tombstone.annotation_id, tombstone.task_id) == (1, TaskId(70))


@pytest.mark.catalogue("B7")
def test_an_annotation_that_was_moved_is_recorded_there_and_ends_here() -> None:
    known = revisions(a_task(shown(1)))
    there = replace(a_task(shown(1)), task_id=ELSEWHERE)
    moved = revisions(there, known)
    assert [(each.task_id, each.state) for each in moved] == [
        (ELSEWHERE, AnnotationState.ANSWER),
        (TaskId(70), AnnotationState.TOMBSTONE),
    ]
    assert revisions(there, moved) == revisions(a_task(), moved) == []


@pytest.mark.catalogue("B7")
def test_two_annotations_of_one_person_are_both_kept() -> None:
    assert len(revisions(a_task(shown(1), shown(2)))) == 2


@pytest.mark.catalogue("B7")
def test_a_skip_that_is_taken_back_is_an_answer_again() -> None:
    skipped = revisions(a_task(shown(was_cancelled=True)))
    back = shown(updated_at="2026-11-22T10:08:00.000000Z")
    assert [each.state for each in revisions(a_task(back), skipped)] == [AnnotationState.ANSWER]
    drafted_and_given_anew = shown(2, created_at="2026-11-22T10:08:00.000000Z")
    states = [each.state for each in revisions(a_task(drafted_and_given_anew), skipped)]
    assert states == [AnnotationState.ANSWER, AnnotationState.TOMBSTONE]


@pytest.mark.catalogue("B7")
def test_an_account_that_is_deleted_takes_back_nothing() -> None:
    known = revisions(a_task(shown()))
    nameless = shown(completed_by="", updated_by="", problem="the account that gave it was deleted")
    assert revisions(a_task(nameless), known) == []
    (first_seen,) = revisions(a_task(nameless))
    assert first_seen.state is AnnotationState.QUARANTINED
    edited = replace(nameless, updated_by="ben@example.com", updated_at="2026-11-22T10:08:00.000000Z")
    (revision,) = revisions(a_task(edited), known)
    assert (revision.reviewer, revision.state) == ("ana@example.com", AnnotationState.QUARANTINED)


@pytest.mark.catalogue("B11")
def test_what_was_put_aside_is_read_once_it_fits_and_what_was_believed_stays_so() -> None:
    put_aside = revisions(a_task(shown(problem="no such label")))
    (read,) = revisions(a_task(shown()), put_aside)
    assert read.state is AnnotationState.ANSWER
    assert revisions(a_task(shown(problem="no such label")), [read]) == []


@pytest.mark.catalogue("B10")
def test_what_a_restored_backup_lacks_was_not_deleted_and_what_it_has_is_followed_anew() -> None:
    known = revisions(a_task(shown(1), shown(2)))
    later = replace(PROJECT, epoch=1)
    (again,) = plan_revisions(later, a_task(shown(1)), known, KIND, LABELS)
    assert (again.annotation_id, again.epoch) == (1, 1)
    assert plan_revisions(later, a_task(shown(1)), [*known, again], KIND, LABELS) == []
    (gone,) = plan_revisions(later, a_task(), [*known, again], KIND, LABELS)
    assert (gone.annotation_id, gone.epoch, gone.state) == (1, 1, AnnotationState.TOMBSTONE)


@pytest.mark.catalogue("A8")
def test_of_a_task_that_cannot_be_shown_nothing_follows() -> None:
    known = revisions(a_task(shown()))
    assert revisions(replace(a_task(), unreadable="500"), known) == []


@pytest.mark.catalogue("B10")
def test_only_what_no_deletion_explains_has_vanished() -> None:
    known = revisions(a_task(shown(5)))
    touched, untouched = a_task(), replace(a_task(), updated_at="2026-11-22T10:00:00.000000Z")
    assert vanished(known, []) == []  # its task is gone too: somebody deleted it
    assert vanished(known, [a_task(shown(5))]) == []
    assert vanished(known, [touched]) == []  # somebody deleted the annotation
    assert vanished(known, [untouched]) == known
    assert vanished(known, [replace(touched, push_key=PushKey("another"))]) == known
    reborn = shown(5, created_at="2026-11-23T10:00:00.000000Z")
    assert vanished(known, [touched, replace(a_task(reborn), task_id=ELSEWHERE)]) == known


def test_a_recent_annotation_has_to_be_listed_and_an_old_one_need_not() -> None:
    known = revisions(a_task(shown()))
    assert not missing_among(known, [a_task(shown())], "2026-11-22T10:00:00.000000Z")
    assert missing_among(known, [a_task()], "2026-11-22T10:05:00.000000Z")
    assert not missing_among(known, [a_task()], "2026-11-22T10:05:00.000001Z")
    assert not missing_among(known, [replace(a_task(), unreadable="500")], "2026-11-22T10:00:00.000000Z")


copies = st.builds(
    RemoteTask,
    st.just(PushKey("k")),
    st.integers(1, 99).map(TaskId),
    st.sampled_from(["2026-01-01", "2026-01-02"]),
    st.integers(0, 2),
)


@pytest.mark.catalogue("A10")
@given(st.lists(copies, min_size=1, max_size=5, unique_by=lambda each: each.task_id), st.randoms(use_true_random=False))
def test_whoever_looks_in_whatever_order_the_same_task_is_the_task(found, chance) -> None:  # type: ignore[no-untyped-def]
    chosen = task_among(found)
    chance.shuffle(found)
    assert task_among(found) == chosen
    assert chosen.answers or not any(each.answers for each in found)
