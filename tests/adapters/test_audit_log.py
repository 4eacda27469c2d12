"""Whatever is done to the audit log behind the bridge's back is found and named, on SQLite and on PostgreSQL."""

from __future__ import annotations

import re
import threading
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from hitl_bridge.adapters.sql import audit_log
from hitl_bridge.adapters.sql.engine import make_engine
from hitl_bridge.adapters.sql.store import SqlStore, open_store
from hitl_bridge.adapters.sql.tables import annotation_revisions, decisions, events
from hitl_bridge.core.model import ItemState
from hitl_bridge.errors import StoreUnavailable, UsageError
from hitl_bridge.ports import AuditHead, Event
from tests.adapters.store_examples import NOW, a_task, an_annotation, an_item, answered_review, decided_item

pytestmark = pytest.mark.catalogue("C6")
ROWS = 12
_SHARED = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]  # each example is rolled back
_COLUMNS = [column for column in events.c if column.name != "seq"]


def told(number: int, action: str = "cycle") -> Event:
    return Event(NOW + timedelta(seconds=number), action, detail={"number": number}, actor="dee")


def state_or_action(table: sa.Table) -> dict[str, str]:
    return {"action": "other"} if table is events else {"state": "answer"}


def problems(store: SqlStore, **anchors: AuditHead) -> list[tuple[int, str]]:
    return [(each.seq, each.what) for each in store.verify_audit(anchors).problems]


class AuditLog:
    @pytest.fixture
    def url(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    def log(self, store: SqlStore) -> SqlStore:
        store.record_events([told(number) for number in range(ROWS)])
        return store

    def unlock(self, connection: Connection) -> None:
        """What somebody with all rights on the database can do."""
        raise NotImplementedError

    # ------------------------------------------------------------------------------------------- what holds

    def test_a_log_that_nobody_touched_verifies_against_its_anchors(self, log: SqlStore) -> None:
        middle = log.audit_head()
        log.record_events([told(99)])
        report = log.verify_audit({"v0.1.0": middle, "v0.2.0": log.audit_head()})
        assert (report.head.seq, report.anchors, report.problems) == (ROWS + 1, 2, ())

    def test_the_same_event_twice_is_one(self, log: SqlStore) -> None:
        log.record_events([told(3), told(50), told(50)])
        assert log.audit_head().seq == ROWS + 1

    def test_events_written_at_once_by_several_make_one_chain(self, url: str, log: SqlStore, tmp_path: Path) -> None:
        others = [open_store(url, tmp_path) for _ in range(3)]

        def write(store: SqlStore, start: int) -> None:
            for number in range(start, start + 15):
                store.record_events([told(number)])

        threads = [threading.Thread(target=write, args=(other, 100 * (n + 1))) for n, other in enumerate(others)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        for other in others:
            other.close()
        assert log.audit_head().seq == ROWS + 45
        assert problems(log) == []

    def test_answers_and_decisions_are_in_it_with_their_digests_and_no_address(self, store: SqlStore) -> None:
        decided_item(store, an_item())
        report = store.verify_audit({})
        assert (report.records, report.problems) == (2, ())
        with store.engine.connect() as connection:
            text = str(connection.execute(sa.select(events)).all())
        assert "@example.com" not in text
        assert "secret words" not in text

    # ------------------------------------------------------------------------------------ what can't be done

    @pytest.mark.parametrize("table", [events, annotation_revisions])
    def test_rows_can_not_be_changed_or_removed(self, log: SqlStore, table: sa.Table) -> None:
        answered_review(log, an_item())
        for statement in (sa.update(table).values(state_or_action(table)), sa.delete(table)):
            with (
                pytest.raises((sa.exc.DBAPIError, StoreUnavailable, UsageError), match="can not be changed"),
                log.engine.begin() as c,
            ):
                c.execute(statement)

    # --------------------------------------------------------------------------------------- what is found

    @given(column=st.sampled_from(_COLUMNS), seq=st.integers(1, ROWS))
    @settings(max_examples=30, deadline=None, suppress_health_check=_SHARED)
    def test_any_column_of_any_row_that_was_edited_is_named(self, log: SqlStore, column: sa.Column[object], seq: int) -> None:
        with log.engine.connect() as connection:
            self.unlock(connection)
            as_it_was = connection.execute(sa.select(column).where(events.c.seq == seq))
            other = {"detail": '{"number":-1}', "at": "2020-01-01T00:00:00.000000Z"}.get(column.name, f"{as_it_was.scalar()}x")
            there = sa.table("events", sa.column(column.name), sa.column("seq"))  # past the column types, which would check
            connection.execute(sa.update(there).where(there.c.seq == seq).values({column.name: other}))
            found = _verified(log, connection)
            connection.rollback()
        assert found
        assert found[0][0] in (seq, seq + 1)

    @given(gone=st.lists(st.integers(1, ROWS), min_size=1, max_size=4, unique=True))
    @settings(max_examples=20, deadline=None, suppress_health_check=_SHARED)
    def test_rows_that_were_removed_are_named(self, log: SqlStore, gone: list[int]) -> None:
        anchor = {"decisions@v0.1.0": log.audit_head()}
        with log.engine.connect() as connection:
            self.unlock(connection)
            connection.execute(sa.delete(events).where(events.c.seq.in_(gone)))
            found = " ".join(what for _, what in _verified(log, connection, anchor))
            connection.rollback()
        tail = [seq for seq in range(ROWS, 0, -1) if set(range(seq, ROWS + 1)) <= set(gone)]
        for seq in gone:
            assert "rows up to 12 are missing" in found if seq in tail else _names(found, seq)

    def test_a_tail_that_was_cut_is_found_by_the_anchor_alone(self, log: SqlStore) -> None:
        anchor = {"decisions@v0.3.0": log.audit_head()}
        with log.engine.connect() as connection:
            self.unlock(connection)
            connection.execute(sa.delete(events).where(events.c.seq > ROWS - 3))
            assert _verified(log, connection) == []
            assert _verified(log, connection, anchor) == [
                (ROWS - 2, "rows up to 12 are missing at the end: decisions@v0.3.0 was made after them")
            ]
            connection.rollback()

    def test_a_log_written_anew_from_the_start_is_found_by_the_anchor(self, url: str, log: SqlStore, tmp_path: Path) -> None:
        anchor = {"decisions@v0.3.0": log.audit_head()}
        with log.engine.connect() as connection:
            self.unlock(connection)
            connection.execute(sa.delete(events))
            connection.commit()
        log.record_events([told(number) for number in range(1, ROWS + 3)])
        assert problems(log) == []
        assert [seq for seq, _ in problems(log, **anchor)] == [ROWS]

    def test_an_answer_and_a_decision_that_were_edited_or_put_in_are_named(self, store: SqlStore) -> None:
        decided_item(store, an_item())
        with store.engine.connect() as connection:
            self.unlock(connection)
            connection.execute(sa.update(annotation_revisions).values(lead_time=1.0))
            connection.execute(sa.update(decisions).values(rationale="because I say so"))
            found = [what for _, what in _verified(store, connection)]
            assert any(what.startswith("annotation 1 is not what the log says") for what in found)
            assert any("decision t-1#0.0 is not what the log says" in what for what in found)
            connection.execute(sa.delete(decisions))
            assert any("decision t-1#0.0 is in the log and was removed" in what for _, what in _verified(store, connection))
            connection.rollback()


def _verified(store: SqlStore, connection: Connection, anchors: dict[str, AuditHead] | None = None) -> list[tuple[int, str]]:
    """Within the transaction of the culprit, which is never committed."""
    report = audit_log.verify(connection, store._seal, anchors or {})
    return [(each.seq, each.what) for each in report.problems]


def _names(found: str, seq: int) -> bool:
    spans = [(int(a), int(b or a)) for a, b in re.findall(r"rows? (\d+)(?: to (\d+))? before it: removed", found)]
    return any(first <= seq <= last for first, last in spans)


class TestSqlite(AuditLog):
    @pytest.fixture
    def url(self) -> str:
        return "sqlite:///.hitl/bridge.db"

    def unlock(self, connection: Connection) -> None:
        for table in ("events", "annotations"):
            for verb in ("update", "delete"):
                connection.exec_driver_sql(f"DROP TRIGGER {table}_no_{verb}")


class TestPostgresql(AuditLog):
    @pytest.fixture
    def url(self, postgres_url: str) -> str:
        return postgres_url

    def unlock(self, connection: Connection) -> None:
        for table in ("events", "annotations"):
            connection.exec_driver_sql(f"DROP TRIGGER {table}_no_change ON {table}")


def test_a_database_of_the_first_schema_keeps_its_events_and_its_answers(tmp_path: Path) -> None:
    engine = make_engine("sqlite:///old.db", tmp_path)
    _first_schema(engine)
    engine.dispose()
    store = open_store("sqlite:///old.db", tmp_path)
    try:
        report = store.verify_audit({})
        assert (report.head.seq, report.problems) == (3, ())  # two of then, and the one that says where the log began
        assert store.items_in(*ItemState) == []
        store.record_pull(an_annotation(a_task(an_item())).project_id, [an_annotation(a_task(an_item()), 2)], "c", NOW)
        assert store.verify_audit({}).problems == ()
    finally:
        store.close()


def _first_schema(engine: sa.Engine) -> None:
    from alembic import command
    from alembic.config import Config

    import hitl_bridge.adapters.sql

    config = Config()
    config.set_main_option("script_location", str(Path(hitl_bridge.adapters.sql.__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for row in _OF_THEN:
            connection.execute(sa.text(row))


_OF_THEN = (
    """INSERT INTO events (at, action, item_id, detail, fingerprint)
       VALUES ('2026-11-22T10:00:00.000000Z', 'ingested', NULL, '{}', 'a'),
              ('2026-11-22T10:00:01.000000Z', 'cycle', NULL, '{}', 'b')""",
    """INSERT INTO annotations (project_id, task_id, annotation_id, push_key, created_at, updated_at, reviewer, updated_by,
                               state, result, reason, recorded_at)
       VALUES (7, 100, 1, 'k', 'x', 'y', 'ana@example.com', 'ana@example.com', 'skip',
               '[]', '', '2026-11-22T10:00:01.000000Z')""",
)
