"""Tasks that are gone and edits that don't count, run on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hitl_bridge.adapters.sql.store import SqlStore
from hitl_bridge.core.model import AnnotationState, ItemState, Project, ProjectId, TaskState
from hitl_bridge.errors import RefusedForSafety
from tests.adapters.store_examples import (
    KEY,
    LATER,
    PROJECT,
    a_task,
    an_annotation,
    an_item,
    answered_review,
    contents,
    decided_item,
    ingest,
    pull,
    push,
)

PROJECT_ROW = Project(KEY, PROJECT, "payments", "http://ls/projects/7", "ef" * 32)


class TestStoreGone:
    def test_an_item_whose_task_is_gone_is_queued_for_its_next_round_once(self, store: SqlStore) -> None:
        waiting, promised = an_item(), an_item("t-2")
        ingest(store, waiting, promised)
        push(store, a_task(waiting))
        store.intend([a_task(promised)])
        keys = [a_task(waiting).push_key, a_task(promised).push_key]
        assert store.close_gone(keys, "deleted", LATER) == 2
        assert [(each.item_id, each.round) for each in store.items_in(ItemState.QUEUED)] == [("t-1", 1), ("t-2", 1)]
        assert len(store.tasks_in(TaskState.CLOSED)) == 2
        before = contents(store)
        assert store.close_gone(keys, "deleted", LATER) == 0
        assert contents(store) == before

    def test_of_a_decided_item_only_the_task_is_closed(self, store: SqlStore) -> None:
        item = an_item()
        decided_item(store, item)
        assert store.close_gone([a_task(item).push_key], "deleted", LATER) == 1
        assert [each.round for each in store.items_in(ItemState.DECIDED)] == [item.round]

    def test_an_item_whose_answers_wait_to_be_settled_is_left_alone(self, store: SqlStore) -> None:
        item = an_item()
        answered_review(store, item)
        assert store.close_gone([a_task(item).push_key], "deleted", LATER) == 0
        assert len(store.open_reviews()) == 1

    def test_an_edit_by_somebody_else_is_kept_and_does_not_displace_what_the_author_said(self, store: SqlStore) -> None:
        first = answered_review(store, an_item())
        edited = replace(
            first, updated_by="ben", updated_at="2026-11-22T12:00:00Z", state=AnnotationState.QUARANTINED, answer=None
        )
        later = replace(edited, updated_at="2026-11-22T13:00:00Z")
        assert pull(store, edited, later) == 2
        assert store.annotations_of([first.push_key]) == [later]
        assert store.standing_annotations([first.push_key]) == [first]
        assert [review.annotations for review in store.open_reviews()] == [(first,)]
        assert [problem["annotation"] for problem in store.insights().problems()] == [later.key]

    def test_an_answer_known_only_as_somebody_else_left_it_stays_in_quarantine(self, store: SqlStore) -> None:
        item = an_item()
        ingest(store, item)
        push(store, a_task(item))
        foreign = replace(an_annotation(a_task(item), state=AnnotationState.QUARANTINED), updated_by="ben")
        pull(store, foreign)
        assert [review.annotations for review in store.open_reviews()] == [(foreign,)]

    def test_a_project_without_tasks_may_be_another_and_one_with_tasks_may_not(self, store: SqlStore) -> None:
        store.record_project(PROJECT_ROW)
        store.record_project(replace(PROJECT_ROW, project_id=ProjectId(8)))
        item = an_item()
        ingest(store, item)
        push(store, a_task(item))
        before = contents(store)
        for other in (PROJECT_ROW, replace(PROJECT_ROW, project_id=ProjectId(8), key=replace(KEY, part=2))):
            with pytest.raises(RefusedForSafety, match="hitl-bridge:payments"):
                store.record_project(other)
        assert contents(store) == before
