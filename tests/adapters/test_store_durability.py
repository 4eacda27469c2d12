"""What a store does with odd data, crashes, neighbours and old schemas, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event

import hitl_bridge.adapters.sql
from hitl_bridge.adapters.sql import migrate
from hitl_bridge.adapters.sql.engine import make_engine, writing
from hitl_bridge.adapters.sql.store import SqlStore, open_store
from hitl_bridge.adapters.sql.tables import metadata
from hitl_bridge.core.model import (
    JSON,
    BatchId,
    ItemId,
    ItemState,
    ProjectId,
    PushKey,
    TaskState,
)
from hitl_bridge.errors import RefusedForSafety, StoreUnavailable, UsageError
from hitl_bridge.ports import Event, Refusal, Settlement
from tests.adapters.store_examples import (
    KEY,
    LATER,
    NOW,
    a_decision,
    a_task,
    a_version,
    an_item,
    answered_review,
    decided,
    ingest,
    push,
)

_ODD_BUT_LEGAL = [
    "Grüße 漢字 🙂",
    "\\u0000 in letters",
    "'; DROP TABLE items; --",
    "%s %(x)s :x",
    "\ufeff\u202e",
    " \t\r\n",
]
_CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"


class StoreDurability:
    @pytest.fixture
    def url(self) -> str:
        raise NotImplementedError

    # ----------------------------------------------------------------------------------------- odd data

    @pytest.mark.catalogue("A8")
    def test_odd_but_legal_text_comes_back_as_it_was(self, store: SqlStore) -> None:
        items = [an_item(f"t-{text}", priority=n / 10) for n, text in enumerate(_ODD_BUT_LEGAL)]
        inputs: list[dict[str, JSON]] = [{text: [text, {"deep": text}]} for text in _ODD_BUT_LEGAL]
        odd = [
            replace(item, prediction=replace(item.prediction, input=each, scenario=text))
            for item, each, text in zip(items, inputs, _ODD_BUT_LEGAL, strict=True)
        ]
        ingest(store, *odd)
        assert [item.prediction for item in store.items_in(ItemState.QUEUED)] == [item.prediction for item in odd]

    @pytest.mark.catalogue("A8")
    def test_text_that_a_database_can_not_hold_is_refused_without_being_quoted(self, store: SqlStore) -> None:
        item = an_item()
        for odd in ("\0", "a\0b", "\ud800", "\udc80\ud83d"):
            inputs: list[Any] = [{"text": f"private {odd}"}, {odd: 1}, {"deep": [[odd]]}]
            for each in inputs:
                bad = replace(item, prediction=replace(item.prediction, input=each))
                with pytest.raises(UsageError, match="'input'") as caught:
                    ingest(store, bad)
                assert "private" not in str(caught.value)
            with pytest.raises(UsageError, match="'item_id'"):
                ingest(store, replace(item, item_id=ItemId(odd)))
            with pytest.raises(UsageError, match="'push_key'"):
                store.tasks_by_key([PushKey(odd)])
        assert store.batch(BatchId("b-1")) is None

    @pytest.mark.catalogue("A6")
    @pytest.mark.parametrize("number", [float("nan"), float("-inf")])
    def test_numbers_that_are_not_finite_are_refused(self, store: SqlStore, number: float) -> None:
        item = an_item()
        with pytest.raises(UsageError, match="'confidence'"):
            ingest(store, replace(item, prediction=replace(item.prediction, confidence=number)))
        with pytest.raises(UsageError, match="'scores'"):
            ingest(store, replace(item, prediction=replace(item.prediction, scores={"refund": number})))

    def test_an_id_that_does_not_fit_is_refused(self, store: SqlStore) -> None:
        with pytest.raises(UsageError):
            store.record_pull(ProjectId(2**70), [], None, NOW)

    # --------------------------------------------------------------------- crashes, neighbours, schema

    @pytest.mark.catalogue("C3")
    def test_a_second_writer_waits_for_the_first(self, url: str, store: SqlStore, tmp_path: Path) -> None:
        other = open_store(url, tmp_path)
        done: list[float] = []

        def write() -> None:
            other.record_events([Event(NOW, "cycle")])
            done.append(time.monotonic())

        with writing(store.engine):
            thread = threading.Thread(target=write)
            thread.start()
            time.sleep(0.4)
            assert not done
            assert other.items_in(ItemState.QUEUED) == []  # readers do not wait
            released = time.monotonic()
        thread.join(timeout=20)
        other.close()
        assert done
        assert done[0] >= released

    @pytest.mark.catalogue("C3")
    def test_a_writer_that_waited_too_long_says_so(self, url: str, store: SqlStore, tmp_path: Path) -> None:
        impatient = open_store(url, tmp_path, patience=0.2)
        with writing(store.engine), pytest.raises(StoreUnavailable) as caught:
            impatient.record_events([Event(NOW, "cycle")])
        impatient.close()
        assert "Another process is writing" in caught.value.remedy

    @pytest.mark.catalogue("C3")
    def test_writers_side_by_side_lose_and_double_nothing(self, url: str, store: SqlStore, tmp_path: Path) -> None:
        items = [an_item(f"t-{n}") for n in range(20)]
        ingest(store, *items)
        others = [open_store(url, tmp_path) for _ in range(3)]
        threads = [threading.Thread(target=push, args=(other, *[a_task(item) for item in items])) for other in others]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
        for other in others:
            other.close()
        assert store.task_counts() == {KEY: 20}
        assert len(store.items_in(ItemState.PUSHED)) == 20

    @pytest.mark.catalogue("C1")
    def test_a_process_killed_at_any_statement_of_a_batch_leaves_all_of_it_or_nothing(
        self, url: str, store: SqlStore, tmp_path: Path
    ) -> None:
        command = [sys.executable, "-m", "tests.adapters.killed_in_record_batch", url, str(tmp_path)]
        root = Path(__file__).parents[2]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) >= 7  # begin, batch, receipts, items, payloads, older revisions, event
        with store.engine.connect() as connection:
            counts = {
                table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
                for table in metadata.sorted_tables
            }
        filled = {name: count for name, count in counts.items() if count}
        assert filled == {"batches": 1, "receipt_files": 1, "items": 30, "payloads": 30, "events": 1}

    def test_the_migrations_give_exactly_the_tables(self, store: SqlStore) -> None:
        with store.engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
            assert compare_metadata(context, metadata) == []

    def test_opening_again_runs_nothing(self, url: str, store: SqlStore, tmp_path: Path) -> None:
        engine = make_engine(url, tmp_path)
        statements: list[str] = []
        event.listen(engine, "before_cursor_execute", lambda _c, _cursor, statement, *_: statements.append(statement))
        assert not migrate.bring_up_to_date(engine)
        engine.dispose()
        assert not [each for each in statements if each.split()[0] not in ("SELECT", "BEGIN", "PRAGMA")]

    @pytest.mark.catalogue("C7")
    def test_two_processes_may_open_an_empty_database_at_once(self, url: str, tmp_path: Path) -> None:
        failures: list[BaseException] = []

        def first_open() -> None:
            try:
                open_store(url, tmp_path).close()
            except BaseException as error:  # noqa: BLE001 (told to the thread that asserts)
                failures.append(error)

        threads = [threading.Thread(target=first_open) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
        assert failures == []

    @pytest.mark.catalogue("C7")
    def test_a_migration_that_is_interrupted_leaves_the_database_as_it_was(self, url: str, tmp_path: Path) -> None:
        engine = make_engine(url, tmp_path)
        created: list[str] = []

        @event.listens_for(engine, "before_cursor_execute")
        def _stop(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            if statement.lstrip().startswith("CREATE TABLE"):
                created.append(statement)
                if len(created) == 6:
                    raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            migrate.bring_up_to_date(engine)
        with engine.connect() as connection:
            assert sa.inspect(connection).get_table_names() == []
        engine.dispose()
        open_store(url, tmp_path).close()

    def test_a_database_of_a_newer_version_is_left_alone(self, url: str, store: SqlStore, tmp_path: Path) -> None:
        with writing(store.engine) as connection:
            connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(RefusedForSafety, match="9999"):
            open_store(url, tmp_path)


class TestSqlite(StoreDurability):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return "sqlite:///.hitl/bridge.db"

    def test_the_database_lies_in_the_workspace_for_its_owner_only(self, store: SqlStore, tmp_path: Path) -> None:
        path = tmp_path / ".hitl" / "bridge.db"
        assert path.stat().st_mode & 0o077 == 0
        assert {each.stat().st_mode & 0o077 for each in path.parent.iterdir()} == {0}

    @pytest.mark.catalogue("C1")
    def test_what_is_acknowledged_survives_a_power_cut(self, store: SqlStore) -> None:
        with writing(store.engine) as connection:
            pragmas = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in _PRAGMAS}
        assert pragmas == _PRAGMAS

    def test_a_file_that_is_no_database_is_unavailable_with_a_remedy(self, tmp_path: Path) -> None:
        (tmp_path / "odd.db").write_bytes(b"something else entirely\n" * 100)
        with pytest.raises(StoreUnavailable, match="not a database") as caught:
            open_store("sqlite:///odd.db", tmp_path)
        assert "backup" in caught.value.remedy

    def test_a_folder_that_can_not_be_made_is_unavailable(self, tmp_path: Path) -> None:
        (tmp_path / ".hitl").write_text("a file in the way")
        with pytest.raises(StoreUnavailable) as caught:
            open_store("sqlite:///.hitl/bridge.db", tmp_path)
        assert caught.value.remedy

    @pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://x/y", "no url at all"])
    def test_other_databases_are_wrong_use(self, url: str, tmp_path: Path) -> None:
        with pytest.raises(UsageError) as caught:
            open_store(url, tmp_path)
        assert "hitl.yaml" in caught.value.remedy

    def test_the_store_knows_the_newest_schema_without_asking_alembic(self) -> None:
        folder = Path(next(iter(hitl_bridge.adapters.sql.__path__))) / "migrations"
        assert ScriptDirectory(str(folder)).get_heads() == [migrate.HEAD]

    def test_what_the_cycle_asks_and_writes_is_found_by_indexes(self, store: SqlStore) -> None:
        asked: dict[str, Any] = {}

        @event.listens_for(store.engine, "before_cursor_execute")
        def _note(_c: object, _k: object, sql: str, values: Any, _x: object, many: bool) -> None:
            asked[sql] = values[0] if many else values

        _live_through_everything(store)
        event.remove(store.engine, "before_cursor_execute", _note)
        statements = {sql: values for sql, values in asked.items() if sql.startswith(("SELECT", "UPDATE"))}
        assert len(statements) >= 30
        with store.engine.connect() as connection:
            plans = {sql: _plan(connection, sql, values) for sql, values in statements.items()}
        partial = ("ix_items_needs_resolve", "ix_decisions_uncommitted", "ix_annotations_quarantined")
        assert not [line for plan in plans.values() for line in plan if line.startswith("SCAN") and not line.endswith(partial)]
        # An update of some items must not look through all the items in their state.
        assert not [plan for sql, plan in plans.items() if sql.startswith("UPDATE") and "_state (" in str(plan)]
        used = {name for name in partial if any(name in str(plan) for plan in plans.values())}
        assert used == set(partial)


def _plan(connection: sa.Connection, sql: str, values: Any) -> list[str]:
    return [str(row[3]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)]


def _live_through_everything(store: SqlStore) -> None:
    items = [an_item(f"t-{n}") for n in range(3)]
    for item in items:
        answered_review(store, item)
    answers = [(review.item, review.annotations) for review in store.open_reviews()]
    decisions = [a_decision(item, behind=behind) for item, behind in answers[:2]]
    settlements = [decided(item, decision) for (item, _), decision in zip(answers, decisions, strict=False)]
    last = answers[2][0]
    disputed = Settlement(last.item_id, 0, ItemState.QUEUED, next_round=replace(last, round=1), event="disputed")
    store.record_settlements([*settlements, disputed], LATER)
    store.uncommitted()
    store.record_version(a_version(), decisions)
    refused = an_item("refused")
    ingest(store, refused, *[replace(item, revision=1) for item in items], *[an_item(f"n-{n}") for n in range(600)], batch_id="b")
    store.intend([a_task(refused)])
    store.refuse([Refusal(a_task(refused).push_key, "too long")], LATER)
    store.items_in(ItemState.QUEUED)
    store.tasks_in(TaskState.INTENDED, TaskState.UNKNOWN)
    store.task_counts()
    store.annotations_of([a_task(item).push_key for item in items])
    store.insights().life_of(items[0].item_id)
    store.insights().overdue(NOW)
    store.insights().problems()


_PRAGMAS = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}


class TestPostgresql(StoreDurability):
    @pytest.fixture
    def url(self, postgres_url: str) -> str:
        return postgres_url

    def test_a_server_that_is_not_there_is_unavailable_and_the_password_unsaid(self, tmp_path: Path) -> None:
        with pytest.raises(StoreUnavailable) as caught:
            open_store("postgresql+psycopg://bridge:hunter2@127.0.0.1:1/bridge", tmp_path)
        assert "hunter2" not in f"{caught.value} {caught.value.remedy}"
        assert "PostgreSQL runs" in caught.value.remedy

    @pytest.mark.catalogue("C4")
    def test_a_connection_that_was_cut_is_replaced(self, store: SqlStore, tmp_path: Path, url: str) -> None:
        ingest(store, an_item())
        other = make_engine(url, tmp_path)
        with other.begin() as connection:
            connection.execute(sa.text(_CUT))
        other.dispose()
        assert len(store.items_in(ItemState.QUEUED)) == 1
