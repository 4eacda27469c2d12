"""What every state store must make of answers: pulls, reviews, settlements, decisions and versions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hitl_bridge.adapters.sql.store import SqlStore
from hitl_bridge.core.model import (
    AnnotationState,
    Answer,
    ItemId,
    ItemState,
    Op,
    Project,
    TaskId,
    TaskState,
)
from hitl_bridge.errors import UnknownName, UsageError
from hitl_bridge.ports import (
    KnownTask,
    RemoteTaskState,
    Settlement,
)
from tests.adapters.store_examples import (
    KEY,
    LATER,
    NOW,
    PROJECT,
    a_decision,
    a_task,
    a_version,
    an_annotation,
    an_item,
    answered_review,
    contents,
    decided,
    decided_item,
    ingest,
    pull,
    push,
)


class TestAnswers:
    def test_a_pull_keeps_the_revisions_and_the_cursor_and_moves_the_item_to_answered(self, store: SqlStore) -> None:
        item = an_item()
        ingest(store, item)
        push(store, a_task(item))
        annotation = an_annotation(a_task(item))
        assert store.cursor(PROJECT) is None
        assert pull(store, annotation) == 1
        assert store.cursor(PROJECT) == "2026-11-22T11:00:00Z"
        assert store.annotations_of([a_task(item).push_key]) == [annotation]
        assert [each.state for each in store.items_in(ItemState.ANSWERED)] == [ItemState.ANSWERED]

    def test_the_same_pull_twice_changes_nothing_and_counts_nothing_new(self, store: SqlStore) -> None:
        item = an_item()
        ingest(store, item)
        push(store, a_task(item))
        annotation = an_annotation(a_task(item))
        assert pull(store, annotation, annotation) == 1
        before = contents(store)
        assert pull(store, annotation) == 0
        assert contents(store) == before

    def test_a_skip_marks_the_item_but_does_not_answer_it(self, store: SqlStore) -> None:
        item = an_item()
        ingest(store, item)
        push(store, a_task(item))
        pull(store, an_annotation(a_task(item), state=AnnotationState.SKIP))
        assert [review.item.state for review in store.open_reviews()] == [ItemState.PUSHED]

    def test_an_annotation_on_a_task_that_nobody_knows_is_kept(self, store: SqlStore) -> None:
        stranger = an_annotation(a_task(an_item()))
        assert pull(store, stranger) == 1
        assert store.annotations_of([stranger.push_key]) == [stranger]
        assert store.open_reviews() == []

    @pytest.mark.catalogue("B6")
    def test_the_revision_that_came_in_last_counts_although_the_service_s_clock_was_set_back(self, store: SqlStore) -> None:
        item = an_item()
        ingest(store, item)
        push(store, a_task(item))
        first = an_annotation(a_task(item), updated_at="2026-11-22T11:00:00Z")
        edited = an_annotation(a_task(item), updated_at="2026-11-22T10:02:00Z", label="cancel")
        assert pull(store, first) + pull(store, edited) == 2
        assert store.annotations_of([a_task(item).push_key]) == [edited]
        assert store.standing_annotations([a_task(item).push_key]) == [edited]

    @pytest.mark.catalogue("B10")
    def test_what_a_restored_backup_lacks_stays_in_force_and_what_it_has_is_followed(self, store: SqlStore) -> None:
        item = an_item()
        ingest(store, item)
        push(store, a_task(item))
        early = an_annotation(a_task(item), updated_at="2026-11-22T11:00:00Z")
        edited = replace(early, updated_at="2026-11-22T12:00:00Z", answer=Answer({"label": "cancel"}))
        lost = an_annotation(a_task(item), number=2)
        pull(store, early, edited, lost)
        again = replace(early, epoch=1)
        assert pull(store, again) == 1
        key = [a_task(item).push_key]
        assert store.annotations_of(key) == [edited, lost, again]
        assert store.standing_annotations(key) == [edited, lost]
        followed = replace(again, updated_at="2026-11-22T13:00:00Z", answer=Answer({"label": "refund"}))
        pull(store, followed)
        assert store.standing_annotations(key) == [followed, lost]
        pull(store, replace(followed, state=AnnotationState.TOMBSTONE, answer=None, updated_at="2026-11-22T12:30:00Z"))
        assert store.standing_annotations(key) == [lost]

    def test_a_deletion_counts_even_if_its_task_has_an_older_time(self, store: SqlStore) -> None:
        first = answered_review(store, an_item())
        gone = replace(first, updated_at="2026-11-22T10:59:00Z", state=AnnotationState.TOMBSTONE, answer=None)
        pull(store, gone)
        assert store.annotations_of([first.push_key]) == [gone]

    def test_an_annotation_that_was_moved_to_another_task_counts_there(self, store: SqlStore) -> None:
        first = answered_review(store, an_item())
        other = an_item("t-2")
        ingest(store, other, batch_id="b-2")
        push(store, a_task(other), first_task_id=200)
        moved = replace(first, push_key=a_task(other).push_key, task_id=TaskId(200))
        assert pull(store, moved) == 1
        assert store.annotations_of([moved.push_key]) == [moved]

    def test_a_project_is_known_by_its_live_tasks_and_what_stands_on_them(self, store: SqlStore) -> None:
        project = Project(KEY, PROJECT, "payments", "", "")
        first = answered_review(store, an_item())
        assert store.what_is_known(project) == {
            TaskId(100): KnownTask(
                first.push_key, "2026-11-22T10:10:00Z", frozenset({(first.annotation_id, first.created_at, first.updated_at)})
            )
        }
        assert store.newest_annotations(project, 5) == [first]
        assert store.what_is_known(replace(project, epoch=1))[TaskId(100)].versions == frozenset()
        assert store.newest_annotations(replace(project, epoch=1), 5) == []
        assert store.standing_before(replace(project, epoch=1)) == [first]
        pull(store, replace(first, epoch=1))
        assert store.standing_before(replace(project, epoch=1)) == []
        pull(store, replace(first, state=AnnotationState.TOMBSTONE, answer=None))
        assert store.what_is_known(project)[TaskId(100)].versions == frozenset()
        assert store.newest_annotations(project, 5) == []

    def test_the_next_epoch_forgets_the_cursor_and_the_last_sweep(self, store: SqlStore) -> None:
        project = Project(KEY, PROJECT, "payments", "", "")
        store.record_project(project)
        pull(store)
        store.record_sweep(PROJECT, NOW)
        assert (store.cursor(PROJECT), store.swept_at(PROJECT)) == ("2026-11-22T11:00:00Z", NOW)
        begun = store.begin_epoch(project, LATER)
        assert store.projects() == [begun]
        assert (begun.epoch, store.cursor(PROJECT), store.swept_at(PROJECT)) == (1, None, None)

    def test_a_task_that_cannot_be_shown_is_noted_once_and_taken_off_when_it_can(self, store: SqlStore) -> None:
        item = an_item()
        ingest(store, item)
        push(store, a_task(item))
        state = RemoteTaskState(a_task(item).push_key, TaskId(100), "then", "now", unreadable="500")
        for _ in range(2):
            store.record_unreadable(PROJECT, [state], NOW)
        assert store.unreadable_tasks(PROJECT) == {TaskId(100): "500"}
        told = store.insights().last_event("unreadable")
        assert told is not None
        assert (told.item_id, told.detail["task_id"]) == (item.item_id, 100)
        store.record_unreadable(PROJECT, [replace(state, unreadable="")], LATER)
        assert store.unreadable_tasks(PROJECT) == {}
        assert store.insights().last_event("readable_again") is not None

    def test_an_open_review_has_its_tasks_its_answers_and_its_standing_decision(self, store: SqlStore) -> None:
        item = an_item()
        first = answered_review(store, item)
        (review,) = store.open_reviews()
        assert [task.state for task in review.tasks] == [TaskState.LIVE]
        assert (review.annotations, review.earlier, review.decision) == ((first,), (), None)
        decision = a_decision(item, behind=[first])
        store.record_settlements([decided(item, decision)], LATER)
        assert store.open_reviews() == []
        edited = replace(first, updated_at="2026-11-22T12:00:00Z", answer=Answer({"label": "cancel"}))
        pull(store, edited)
        (review,) = store.open_reviews()
        assert (review.annotations, review.decision) == ((edited,), decision)
        assert review.item.state == ItemState.DECIDED

    def test_answers_of_the_round_before_are_earlier_ones(self, store: SqlStore) -> None:
        item = an_item()
        first = answered_review(store, item)
        route = replace(item.route, tier="adjudication", reviewers=1)
        following = replace(item, round=1, state=ItemState.QUEUED, route=route)
        store.intend([a_task(item, seat=2)])
        store.record_settlements([Settlement(item.item_id, 0, ItemState.QUEUED, next_round=following, event="disputed")], LATER)
        assert [(each.round, each.route.tier) for each in store.items_in(ItemState.QUEUED)] == [(1, "adjudication")]
        assert [task.seat for task in store.tasks_in(TaskState.CLOSED)] == [2]  # promised for round 0, never sent
        push(store, a_task(following))
        verdict = an_annotation(a_task(following), number=2)
        pull(store, verdict)
        (review,) = store.open_reviews()
        assert (review.annotations, review.earlier) == ((verdict,), (first,))
        assert store.adjudications() == [review]
        settlement = decided(review.item, a_decision(review.item, behind=[verdict]))
        store.record_settlements([settlement], LATER)
        assert store.adjudications() == []

    def test_a_deleted_answer_is_in_the_review_no_more(self, store: SqlStore) -> None:
        first = answered_review(store, an_item())
        pull(store, replace(first, state=AnnotationState.TOMBSTONE, answer=None))
        (review,) = store.open_reviews()
        assert (review.annotations, review.earlier) == ((), ())
        assert [each.state for each in store.annotations_of([first.push_key])] == [AnnotationState.TOMBSTONE]

    def test_settlements_recorded_twice_change_nothing(self, store: SqlStore) -> None:
        item, disputed, waiting = an_item(), an_item("t-2"), an_item("t-3")
        answers = [answered_review(store, each) for each in (item, disputed, waiting)]
        settlements = [
            decided(item, a_decision(item, behind=answers[:1])),
            Settlement(disputed.item_id, 0, ItemState.QUEUED, next_round=replace(disputed, round=1), event="disputed"),
            Settlement(waiting.item_id, 0, ItemState.ANSWERED, event="incomplete"),
        ]
        store.record_settlements(settlements, LATER)
        before = contents(store)
        store.record_settlements(settlements, LATER)
        assert contents(store) == before

    def test_an_answer_that_came_in_while_the_item_was_being_settled_is_not_forgotten(self, store: SqlStore) -> None:
        item = an_item()
        first = answered_review(store, item)
        assert len(store.open_reviews()) == 1
        edited = replace(first, updated_at="2026-11-22T12:00:00Z")
        pull(store, edited)
        store.record_settlements([decided(item, a_decision(item, behind=[first]))], LATER)
        assert [review.annotations for review in store.open_reviews()] == [(edited,)]

    def test_an_illegal_move_is_refused_and_nothing_of_its_transaction_stays(self, store: SqlStore) -> None:
        item, queued = an_item(), an_item("t-2")
        answer = answered_review(store, item)
        ingest(store, queued, batch_id="b-2")
        before = contents(store)
        settlements = [decided(item, a_decision(item, behind=[answer])), decided(queued, a_decision(queued))]
        with pytest.raises(UsageError, match=r"'t-2'.*'queued' to 'decided'"):
            store.record_settlements(settlements, LATER)
        assert contents(store) == before

    def test_a_settlement_of_an_unknown_item_is_refused(self, store: SqlStore) -> None:
        with pytest.raises(UnknownName, match="nobody"):
            store.record_settlements([Settlement(ItemId("nobody"), 0, ItemState.ANSWERED)], LATER)

    def test_another_decision_of_the_same_number_or_another_round_in_its_place_is_refused(self, store: SqlStore) -> None:
        item = an_item()
        decision = decided_item(store, item)
        with pytest.raises(UsageError, match=r"t-1#0\.0"):
            store.record_settlements([decided(item, replace(decision, rationale="no"))], LATER)
        other = replace(item, route=replace(item.route, pool="general"))
        with pytest.raises(UsageError, match="round 0"):
            store.record_settlements([Settlement(item.item_id, 0, ItemState.QUEUED, next_round=other)], LATER)

    def test_a_decision_waits_until_a_version_holds_it(self, store: SqlStore) -> None:
        item = an_item()
        decision = decided_item(store, item)
        (waiting,) = store.uncommitted()
        assert (waiting.decision, waiting.committed, waiting.answered_at) == (decision, None, "2026-11-22T11:00:00.5Z")
        assert waiting.item.prediction == item.prediction
        store.record_version(a_version(), [decision])
        assert store.uncommitted() == []
        assert store.dataset_versions() == [a_version()]
        assert [each.state for each in store.items_in(ItemState.COMMITTED)] == [ItemState.COMMITTED]

    def test_a_version_recorded_twice_changes_nothing_and_another_of_its_name_is_refused(self, store: SqlStore) -> None:
        decision = decided_item(store, an_item())
        store.record_version(a_version(), [decision])
        before = contents(store)
        store.record_version(a_version(), [decision])
        assert contents(store) == before
        with pytest.raises(UsageError, match=r"v0\.1\.0"):
            store.record_version(replace(a_version(), git_commit="beef"), [decision])

    def test_of_two_decisions_the_later_waits_and_takes_the_earlier_along(self, store: SqlStore) -> None:
        item = an_item()
        first = decided_item(store, item)
        second = replace(first, seq=1, rationale="better")
        store.record_settlements([decided(item, second)], LATER)
        assert [each.decision for each in store.uncommitted()] == [second]
        store.record_version(a_version(), [second])
        assert store.uncommitted() == []
        third = replace(first, seq=2, op=Op.CHANGE)
        store.record_settlements([decided(item, third)], LATER)
        assert [(each.decision, each.committed) for each in store.uncommitted()] == [(third, second)]

    def test_the_decision_of_the_newest_revision_holds(self, store: SqlStore) -> None:
        first = decided_item(store, an_item())
        store.record_version(a_version(), [first])
        newer = decided_item(store, an_item(revision=1))
        assert [(each.decision, each.committed) for each in store.uncommitted()] == [(newer, first)]

    def test_taking_back_what_was_never_committed_does_not_come_up(self, store: SqlStore) -> None:
        item = an_item()
        decided_item(store, item)
        store.record_settlements([decided(item, a_decision(item, 1, op=Op.REMOVE))], LATER)
        assert store.uncommitted() == []

    def test_taking_back_what_was_committed_comes_up_once(self, store: SqlStore) -> None:
        item = an_item()
        first = decided_item(store, item)
        store.record_version(a_version(), [first])
        removal = a_decision(item, 1, op=Op.REMOVE)
        store.record_settlements([decided(item, removal)], LATER)
        assert [(each.decision, each.committed) for each in store.uncommitted()] == [(removal, first)]
        store.record_version(a_version(2), [removal])
        assert store.uncommitted() == []
        assert store.insights().decision_counts() == {}

    def test_an_item_settled_anew_while_its_version_was_made_stays_decided(self, store: SqlStore) -> None:
        item = an_item()
        first = decided_item(store, item)
        second = replace(first, seq=1)
        store.record_settlements([decided(item, second)], LATER)
        store.record_version(a_version(), [first])
        assert len(store.items_in(ItemState.DECIDED)) == 1
        assert [each.decision for each in store.uncommitted()] == [second]
