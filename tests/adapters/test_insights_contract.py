"""What the read model tells of a store, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta, timezone

import pytest

from hitl_bridge.adapters.sql.store import SqlStore
from hitl_bridge.core.model import (
    AnnotationState,
    ItemId,
    Project,
    Purpose,
)
from hitl_bridge.errors import UsageError
from hitl_bridge.ports import Event
from tests.adapters.store_examples import (
    KEY,
    LATER,
    NOW,
    PROJECT,
    a_task,
    a_version,
    an_annotation,
    an_item,
    contents,
    decided_item,
    ingest,
    pull,
    push,
)


class TestInsights:
    def test_an_event_told_twice_is_one_and_the_last_of_its_kind_is_found(self, store: SqlStore) -> None:
        cycle = Event(NOW, "cycle", detail={"decisions": 3, "note": "Grüße"})
        store.record_events([cycle, cycle])
        store.record_events([cycle])
        later = replace(cycle, at=LATER)
        store.record_events([later])
        assert store.insights().last_event("cycle") == later
        assert store.insights().last_event("never") is None
        assert len(contents(store)["events"]) == 2

    def test_times_come_back_in_utc_to_the_microsecond(self, store: SqlStore) -> None:
        abroad = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
        store.record_events([Event(abroad, "cycle")])
        found = store.insights().last_event("cycle")
        assert found is not None
        assert (found.at, found.at.utcoffset()) == (NOW, timedelta(0))
        with pytest.raises(UsageError, match="time zone"):
            store.record_events([Event(NOW.replace(tzinfo=None), "cycle")])

    def test_the_life_of_an_item_is_told_whole_and_without_its_input(self, store: SqlStore) -> None:
        item = an_item()
        store.record_project(Project(KEY, PROJECT, "payments", "http://ls/projects/7", "ef" * 32))
        decision = decided_item(store, item)
        store.record_version(a_version(), [decision])
        life = store.insights().life_of(item.item_id)
        told = json.dumps(life)
        assert "secret words" not in told
        assert list(life) == ["item_id", "revisions", "tasks", "annotations", "decisions", "versions", "events"]
        assert life["versions"] == ["decisions@v0.1.0"]
        assert life["revisions"][0]["state"] == "committed"  # type: ignore[index,call-overload]
        assert life["annotations"][0]["answer"]["output"] == {"label": "billing"}  # type: ignore[index,call-overload]
        assert life["decisions"][0]["decision_id"] == "t-1#0.0"  # type: ignore[index,call-overload]
        assert [each["action"] for each in life["events"]] == ["annotation", "decided"]  # type: ignore[index,call-overload,union-attr]
        assert store.insights().life_of(ItemId("nobody")) == {}

    def test_the_counts_add_up(self, store: SqlStore) -> None:
        store.record_project(Project(KEY, PROJECT, "payments", "http://ls/projects/7", "ef" * 32))
        audit = an_item("t-2")
        audit = replace(audit, triage=replace(audit.triage, purpose=Purpose.AUDIT))
        decided_item(store, audit)
        ingest(store, an_item(), an_item("t-3"))
        push(store, a_task(an_item()))
        insights = store.insights()
        assert insights.item_counts() == {"decided": 1, "queued": 1, "pushed": 1, "auto_approved": 17}
        assert insights.tier_counts() == {"auto": 18, "comprehensive": 2}
        assert insights.decision_counts() == {"corrected": 1}
        assert insights.audit_counts() == {"decided": 1, "overturned": 1}
        (project,) = insights.project_counts()
        assert (project["tasks"], project["answered"], project["open"]) == (2, 1, 1)
        assert (project["closed"], project["open_answered"]) == (1, 0)
        late = insights.overdue(NOW + timedelta(hours=25))
        assert [(row["item_id"], row["hours_late"]) for row in late] == [("t-1", 1.0), ("t-3", 1.0)]

    def test_a_quarantined_annotation_is_a_problem_until_a_good_revision_comes(self, store: SqlStore) -> None:
        item = an_item()
        ingest(store, item)
        push(store, a_task(item))
        odd = an_annotation(a_task(item), state=AnnotationState.QUARANTINED)
        pull(store, odd)
        assert [(row["kind"], row["item_id"], row["reason"]) for row in store.insights().problems()] == [
            ("annotation", "t-1", "why")
        ]
        pull(store, an_annotation(a_task(item), updated_at="2026-11-22T12:00:00Z"))
        assert store.insights().problems() == []
