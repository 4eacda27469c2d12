"""What every state store must do, run on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from hitl_bridge.adapters.sql.engine import writing
from hitl_bridge.adapters.sql.store import SqlStore
from hitl_bridge.adapters.sql.tables import metadata
from hitl_bridge.core.model import (
    BatchId,
    ItemState,
    Project,
    PushKey,
    TaskId,
    TaskState,
)
from hitl_bridge.errors import UsageError
from hitl_bridge.ports import (
    Insights,
    ReceiptFile,
    Refusal,
    RemoteTask,
    StateStore,
)
from tests.adapters.store_examples import (
    KEY,
    LATER,
    NOW,
    PROJECT,
    a_batch,
    a_task,
    an_item,
    contents,
    decided_item,
    ingest,
    push,
)


class TestStore:
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

    # -------------------------------------------------------------------------------------------- sweep

    # ------------------------------------------------------------------------------------------ resolve

    # ------------------------------------------------------------------------------------------- commit


def _insert_row(store: SqlStore, table: sa.Table, row: dict[str, object]) -> None:
    with writing(store.engine) as connection:
        connection.execute(sa.insert(table).values(row))
