"""What every state store must do, run on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from hitl_bridge.adapters.sql.engine import writing
from hitl_bridge.adapters.sql.store import SqlStore
from hitl_bridge.adapters.sql.tables import metadata
from hitl_bridge.core.model import (
    AnnotationState,
    Answer,
    BatchId,
    ItemId,
    ItemState,
    Op,
    Project,
    PushKey,
    TaskId,
    TaskState,
)
from hitl_bridge.errors import UnknownName, UsageError
from hitl_bridge.ports import (
    Insights,
    KnownTask,
    ReceiptFile,
    Refusal,
    RemoteTask,
    RemoteTaskState,
    Settlement,
    StateStore,
)
from tests.adapters.store_examples import (
    KEY,
    LATER,
    NOW,
    PROJECT,
    a_batch,
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


class StoreContract:
    @pytest.fixture
    def url(self) -> str:
        raise NotImplementedError

    def test_it_is_a_state_store_with_insights(self, store: SqlStore) -> None:
        as_store: StateStore = store
        as_insights: Insights = store.insights()
        assert as_store.items_in(ItemState.QUEUED) == []
        assert as_insights.problems() == []

    # ------------------------------------------------------------------------------------------- ingest

    def test_a_batch_comes_back_with_its_items_and_receipts(self, store: SqlStore) -> None:
        item = an_item()
        ingest(store, item)
        assert store.batch(BatchId("b-1")) == a_batch()
        assert store.batch(BatchId("b-2")) is None
        assert store.items_in(ItemState.QUEUED) == [replace(item, batch_id=BatchId("b-1"))]
        assert store.receipt_files() == [ReceiptFile("receipts/b-1.parquet", "cd" * 32, 10)]

    def test_a_batch_recorded_twice_changes_nothing(self, store: SqlStore) -> None:
        ingest(store, an_item())
        before = contents(store)
        ingest(store, an_item(), an_item("t-2"))
        assert contents(store) == before

    def test_an_item_that_is_there_already_is_not_replaced_by_another_batch(self, store: SqlStore) -> None:
        ingest(store, an_item())
        push(store, a_task(an_item()))
        ingest(store, an_item(), batch_id="b-2")
        assert [item.state for item in store.items_in(*ItemState)] == [ItemState.PUSHED]

    def test_a_batch_of_more_items_than_a_chunk_is_whole_and_in_order_of_priority(self, store: SqlStore) -> None:
        ingest(store, *[an_item(f"t-{n}", priority=(1200 - n) / 1200) for n in range(1200)])
        waiting = store.items_in(ItemState.QUEUED)
        assert len(waiting) == 1200
        assert [item.route.priority for item in waiting] == sorted(item.route.priority for item in waiting)

    def test_a_newer_revision_withdraws_the_open_older_one_and_closes_its_tasks(self, store: SqlStore) -> None:
        old, new = an_item(), an_item(revision=1)
        ingest(store, old)
        push(store, a_task(old))
        ingest(store, new, batch_id="b-2")
        assert [(item.revision, item.state) for item in store.items_in(*ItemState)] == [(1, ItemState.QUEUED)]
        assert [task.revision for task in store.tasks_in(TaskState.CLOSED)] == [0]
        assert store.insights().life_of(old.item_id)["events"][-1]["action"] == "withdrawn"  # type: ignore[index,call-overload]

    def test_a_newer_revision_leaves_a_decided_older_one_alone(self, store: SqlStore) -> None:
        decision = decided_item(store, an_item())
        ingest(store, an_item(revision=1), batch_id="b-2")
        assert [each.decision for each in store.uncommitted()] == [decision]

    def test_an_older_revision_that_arrives_late_is_withdrawn_at_once(self, store: SqlStore) -> None:
        ingest(store, an_item(revision=1))
        ingest(store, an_item(revision=0), batch_id="b-2")
        assert [item.revision for item in store.items_in(ItemState.QUEUED)] == [1]
        assert store.items_in(ItemState.WITHDRAWN) == []  # only latest revisions are listed

    def test_an_item_whose_payload_was_erased_keeps_its_life_without_its_input(self, store: SqlStore) -> None:
        ingest(store, an_item())
        with writing(store.engine) as connection:
            connection.execute(sa.delete(metadata.tables["payloads"]))
        assert store.items_in(ItemState.QUEUED)[0].prediction.input == {}

    # --------------------------------------------------------------------------------------------- push

    def test_a_project_is_inserted_and_then_updated_under_the_same_key(self, store: SqlStore) -> None:
        project = Project(KEY, PROJECT, "payments (3 due)", "http://ls/projects/7", "ef" * 32)
        store.record_project(project)
        store.record_project(project)
        store.record_project(replace(project, title="payments (0 due)"))
        assert store.projects() == [replace(project, title="payments (0 due)")]

    def test_a_task_goes_from_intended_over_unknown_to_live_and_its_item_is_pushed(self, store: SqlStore) -> None:
        item = an_item()
        task = a_task(item)
        ingest(store, item)
        store.intend([task])
        assert store.tasks_in(TaskState.INTENDED) == [task]
        store.mark_unknown([task.push_key], NOW)
        assert store.tasks_in(TaskState.INTENDED, TaskState.UNKNOWN) == [replace(task, state=TaskState.UNKNOWN, sent_at=NOW)]
        store.mark_unknown([task.push_key], LATER)  # sent once more
        store.confirm(PROJECT, [RemoteTask(task.push_key, TaskId(9), "then")], NOW)
        there = {"project_id": PROJECT, "task_id": TaskId(9), "task_created_at": "then", "sent_at": LATER}
        live = replace(task, state=TaskState.LIVE, **there)  # type: ignore[arg-type]
        assert store.tasks_by_key([task.push_key, PushKey("other")]) == {task.push_key: live}
        assert store.task_counts() == {KEY: 1}
        assert len(store.items_in(ItemState.PUSHED)) == 1

    def test_every_step_of_a_push_done_twice_changes_nothing(self, store: SqlStore) -> None:
        item, refused = an_item(), an_item("t-2")
        ingest(store, item, refused)
        for _ in range(2):
            push(store, a_task(item))
            store.intend([a_task(refused)])
            store.refuse([Refusal(a_task(refused).push_key, "too long")], NOW)
            if _ == 0:
                before = contents(store)
        assert contents(store) == before

    def test_a_seat_can_not_have_two_tasks(self, store: SqlStore) -> None:
        item = an_item()
        ingest(store, item)
        store.intend([a_task(item)])
        store.intend([a_task(item, push_key="another key")])
        assert [task.push_key for task in store.tasks_in(*TaskState)] == [a_task(item).push_key]
        table = metadata.tables["review_tasks"]
        with writing(store.engine) as connection:
            row = dict(connection.execute(sa.select(table)).mappings().one())
        with pytest.raises(UsageError):
            _insert_row(store, table, {**row, "push_key": "another key"})

    @pytest.mark.catalogue("A2")
    def test_the_creation_time_of_a_task_is_learned_once_and_only_for_that_very_task(self, store: SqlStore) -> None:
        item = an_item()
        ingest(store, item)
        store.intend([a_task(item)])
        store.confirm(PROJECT, [RemoteTask(a_task(item).push_key, TaskId(9))], NOW)
        other = RemoteTask(a_task(item).push_key, TaskId(8), "another's")
        for learned in (other, replace(other, task_id=TaskId(9), created_at="then"), replace(other, task_id=TaskId(9))):
            store.learn(PROJECT, [learned])
        (task,) = store.tasks_in(TaskState.LIVE, project=KEY)
        assert (task.task_id, task.task_created_at) == (TaskId(9), "then")
        assert store.tasks_in(TaskState.LIVE, project=replace(KEY, part=2)) == []

    @pytest.mark.catalogue("A10")
    def test_a_task_that_was_sent_twice_is_the_one_that_was_chosen_and_the_log_says_so_once(self, store: SqlStore) -> None:
        item = an_item()
        ingest(store, item)
        push(store, a_task(item))
        for _ in range(2):
            store.move_task(PROJECT, RemoteTask(a_task(item).push_key, TaskId(300), "later"), NOW)
        (task,) = store.tasks_in(TaskState.LIVE)
        assert (task.task_id, task.task_created_at) == (TaskId(300), "later")
        moved = store.insights().last_event("task_moved")
        assert moved is not None
        assert (moved.item_id, moved.detail["from"], moved.detail["to"]) == (item.item_id, 100, 300)

    def test_a_task_for_an_unknown_item_is_wrong_use(self, store: SqlStore) -> None:
        with pytest.raises(UsageError) as caught:
            store.intend([a_task(an_item())])
        assert caught.value.remedy

    def test_a_refused_task_quarantines_its_item_with_the_reason(self, store: SqlStore) -> None:
        item = an_item()
        ingest(store, item)
        store.intend([a_task(item)])
        store.refuse([Refusal(a_task(item).push_key, "text too long")], NOW)
        assert [task.state for task in store.tasks_in(TaskState.REJECTED)] == [TaskState.REJECTED]
        assert [item.state for item in store.items_in(ItemState.QUARANTINED)] == [ItemState.QUARANTINED]
        assert [(row["kind"], row["reason"]) for row in store.insights().problems()] == [("item", "text too long")]

    def test_a_task_confirmed_after_its_item_was_withdrawn_stays_closed_but_is_known(self, store: SqlStore) -> None:
        item = an_item()
        ingest(store, item)
        store.intend([a_task(item)])
        store.mark_unknown([a_task(item).push_key], NOW)
        ingest(store, an_item(revision=1), batch_id="b-2")
        store.confirm(PROJECT, [RemoteTask(a_task(item).push_key, TaskId(9), "then")], NOW)
        task = store.tasks_by_key([a_task(item).push_key])[a_task(item).push_key]
        assert (task.state, task.task_id) == (TaskState.CLOSED, TaskId(9))

    # --------------------------------------------------------------------------------------------- pull

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

    # -------------------------------------------------------------------------------------------- sweep

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

    # ------------------------------------------------------------------------------------------ resolve

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

    # ------------------------------------------------------------------------------------------- commit

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


def _insert_row(store: SqlStore, table: sa.Table, row: dict[str, object]) -> None:
    with writing(store.engine) as connection:
        connection.execute(sa.insert(table).values(row))


class TestSqlite(StoreContract):
    @pytest.fixture
    def url(self) -> str:
        return "sqlite:///.hitl/bridge.db"


class TestPostgresql(StoreContract):
    @pytest.fixture
    def url(self, postgres_url: str) -> str:
        return postgres_url
