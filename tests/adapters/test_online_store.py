"""Answered predictions in the store, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from hitl_bridge.adapters.sql.online import SqlOnline
from hitl_bridge.adapters.sql.store import SqlStore
from hitl_bridge.core.model import BatchId, Item, ItemId, ItemState
from hitl_bridge.core.triage.revisions import Arrival
from hitl_bridge.errors import LeaseLost
from hitl_bridge.ports import OnlineRow, OnlineView, ReceiptFile, RequestKey
from tests.adapters.store_examples import LATER, NOW, a_batch, an_item, ingest

KEY = RequestKey("pipeline", "k-1", "d-1")


def a_row(item_id: str, *, text: str = "i", content: str = "c", item: Item | None = None) -> OnlineRow:
    arrival = Arrival(item_id, "intent-3", text, content)
    return OnlineRow(arrival, 1, f'{{"item_id":"{item_id}"}}', NOW, asked=item is not None, item=item)


def seen(store: SqlStore, *item_ids: str) -> OnlineView:
    return store.online().look(item_ids, [KEY], 0)


class TestOnline:
    @pytest.fixture
    def online(self, store: SqlStore) -> SqlOnline:
        return store.online()

    def test_what_was_recorded_is_there_word_for_word(self, store: SqlStore, online: SqlOnline) -> None:
        item = replace(an_item("t-2"), batch_id=BatchId(""))
        rows = [a_row("t-1"), a_row("t-2", item=item)]
        assert online.record(rows, [KEY], seen(store, "t-1", "t-2"), NOW)
        view = seen(store, "t-1", "t-2", "t-3")
        assert [replace(row, seq=0) for row in view.rows] == [rows[0], replace(rows[1], item=None)]
        assert view.keys == {("pipeline", "k-1"): "d-1"}
        assert [replace(row, seq=0) for row in online.waiting(10)] == rows
        assert [row.seq for row in online.waiting(10)] == [1, 2]
        assert online.waiting_for(ItemId("t-1")) == ['{"item_id":"t-1"}']

    def test_who_looked_before_somebody_else_wrote_of_the_same_item_has_to_look_again(
        self, store: SqlStore, online: SqlOnline
    ) -> None:
        early = seen(store, "t-1", "t-2")
        assert online.record([a_row("t-1")], [], early, NOW)
        assert not online.record([a_row("t-1", text="other")], [], early, NOW)
        assert not online.record([a_row("t-2"), a_row("t-1", text="other")], [], early, NOW)
        assert online.record([a_row("t-2")], [], early, NOW)
        assert online.record([a_row("t-1", text="other")], [], seen(store, "t-1"), NOW)
        assert len(online.waiting(10)) == 3

    def test_a_key_is_used_once(self, store: SqlStore, online: SqlOnline) -> None:
        early = seen(store, "t-1")
        assert online.record([], [KEY], early, NOW)
        assert not online.record([a_row("t-1")], [KEY], early, NOW)
        assert online.record([a_row("t-1")], [replace(KEY, caller="another")], early, NOW)

    def test_a_file_of_receipts_that_came_meanwhile_has_to_be_looked_into(self, store: SqlStore, online: SqlOnline) -> None:
        early = seen(store, "t-1")
        ingest(store, an_item("t-9"))
        assert not online.record([a_row("t-1")], [], early, NOW)
        late = seen(store, "t-1")
        assert [file.path for file in late.new_files] == [file.path for file in store.receipt_files()]
        assert online.record([a_row("t-1")], [], late, NOW)
        assert online.look(["t-1"], [], late.newest_file).new_files == []

    def test_a_flush_is_one_transaction_and_is_made_once(self, store: SqlStore, online: SqlOnline) -> None:
        item = replace(an_item("t-1"), batch_id=BatchId(""))
        online.record([a_row("t-1", item=item), a_row("t-2")], [], seen(store), NOW)
        batch, file = a_batch("b-online"), ReceiptFile("online.parquet", "0" * 64, 2)
        for _ in range(2):
            online.record_flush(batch, file, [replace(item, batch_id=batch.batch_id)], up_to=2)
            online.record_flush(replace(batch, batch_id=BatchId("b-again")), file, [], up_to=2)
        assert [each.path for each in store.receipt_files()] == ["online.parquet"]
        assert [each.item_id for each in store.items_in(ItemState.QUEUED)] == ["t-1"]
        assert online.waiting(10) == []
        assert online.waiting_for(ItemId("t-1")) == []
        assert len(seen(store, "t-1", "t-2").rows) == 2
        online.record([a_row("t-3")], [], seen(store), NOW)
        assert [row.seq for row in online.waiting(10)] == [3]

    def test_a_flush_of_one_whose_lease_is_lost_is_refused(self, store: SqlStore, online: SqlOnline) -> None:
        leases = store.leases()
        store.fence = leases.take("projects", "old", leases.look("projects"))
        leases.take("projects", "new", leases.look("projects"))
        assert online.record([a_row("t-1")], [], seen(store), NOW)
        with pytest.raises(LeaseLost):
            online.record_flush(a_batch("b-online"), ReceiptFile("online.parquet", "0" * 64, 1), [], up_to=1)
        assert len(online.waiting(10)) == 1

    def test_what_is_forgotten_was_flushed_and_no_number_is_given_twice(self, store: SqlStore, online: SqlOnline) -> None:
        online.record([a_row(f"t-{n}") for n in range(6)], [KEY], seen(store), NOW)
        online.record_flush(a_batch("b-online"), ReceiptFile("online.parquet", "0" * 64, 4), [], up_to=4)
        online.forget(keep=1, keys_before=NOW - timedelta(hours=1))
        assert [row.seq for row in seen(store, *(f"t-{n}" for n in range(6))).rows] == [4, 5, 6]
        assert seen(store).keys
        online.record_flush(replace(a_batch("b-2"), batch_id=BatchId("b-2")), ReceiptFile("2.parquet", "1" * 64, 2), [], up_to=6)
        online.forget(keep=0, keys_before=LATER)
        assert seen(store, "t-5").rows == []
        assert not seen(store).keys
        online.record([a_row("t-7")], [], seen(store), NOW)
        assert [row.seq for row in online.waiting(10)] == [7]
