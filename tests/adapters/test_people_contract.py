"""Who might decide when, and what they have said, in the store, on both databases."""

from __future__ import annotations

from dataclasses import replace

from hitl_bridge.adapters.sql.store import SqlStore
from hitl_bridge.core.model import ItemState, ProjectKey
from hitl_bridge.core.people import Role, RosterChange, Seat, Term
from hitl_bridge.ports import CheckedAnswer, PeopleStore
from tests.adapters.store_examples import (
    LATER,
    NOW,
    a_decision,
    a_task,
    an_annotation,
    an_item,
    answered_review,
    decided,
    ingest,
    pull,
    push,
)

ANA, BEN = "ana@example.com", "ben@example.com"
SEAT = Seat("payments", Role.REVIEWER, ANA)


class TestPeople:
    def test_terms_begin_and_end_with_an_event_each_that_names_nobody(self, store: SqlStore) -> None:
        people: PeopleStore = store.people()
        people.record(RosterChange(joined=(SEAT,)), NOW)
        assert people.terms() == [Term(SEAT, NOW)]
        people.record(RosterChange(left=(SEAT,)), LATER)
        assert people.terms() == [Term(SEAT, NOW, LATER)]
        left = store.insights().last_event("reviewer.left")
        assert left is not None
        assert left.detail["pool"] == "payments"
        assert ANA not in str(left)

    def test_open_work_is_what_waits_in_somebodys_own_project(self, store: SqlStore) -> None:
        items = [an_item(f"t-{number}") for number in range(3)]
        ingest(store, *items)
        mine = ProjectKey.personal("payments", ANA, "comprehensive")
        tasks = [replace(a_task(item, 0), project_key=mine) for item in items[:2]]
        push(store, *tasks, a_task(items[2], 0))
        assert store.people().open_work() == {ANA: 2}
        pull(store, an_annotation(tasks[0]))
        assert store.people().open_work() == {ANA: 1}

    def test_an_item_is_pushed_once_all_its_seats_are_there(self, store: SqlStore) -> None:
        item = an_item()
        ingest(store, item)
        first, second = a_task(item, 0), a_task(item, 1)
        store.intend([first, second])
        push(store, first)
        assert [each.state for each in store.items_in(*ItemState)] == [ItemState.QUEUED]
        push(store, second, first_task_id=200)
        assert [each.state for each in store.items_in(*ItemState)] == [ItemState.PUSHED]

    def test_answers_are_held_against_decisions_that_do_not_rest_on_them_alone(self, store: SqlStore) -> None:
        alone, together = an_item("alone"), an_item("together")
        for item, reviewers in ((alone, (ANA,)), (together, (ANA, BEN))):
            answer = answered_review(store, item)
            decision = replace(a_decision(item, behind=[answer]), reviewers=reviewers)
            store.record_settlements([decided(item, decision)], LATER)
        label = {"label": "billing"}
        assert list(store.people().checked_answers(10)) == [CheckedAnswer(ANA, "payments", label, label)]
        store.agreement().record_gold({alone.item_id: {"label": "cancel"}}, "Dee", LATER)
        assert CheckedAnswer(ANA, "payments", label, {"label": "cancel"}) in list(store.people().checked_answers(10))
        assert store.people().seconds_an_answer() == {ANA: 3.25}

    def test_answers_of_others_are_those_of_who_is_not_of_the_pool_s_people(self, store: SqlStore) -> None:
        shared, personal = an_item("shared"), an_item("personal")
        answered_review(store, shared)
        ingest(store, personal)
        theirs = replace(a_task(personal, 0), project_key=ProjectKey.personal("payments", ANA, "comprehensive"))
        push(store, theirs)
        pull(store, replace(an_annotation(theirs), reviewer=ANA))
        found = store.people().answers_of_others({"payments": {BEN}, "pay": ()})
        assert {(each.pool, each.email, each.item_id) for each in found} == {
            ("payments", ANA, "shared"),
            ("payments", ANA, "personal"),
        }
        assert store.people().answers_of_others({"payments": {ANA}}) == store.people().answers_of_others({}) == []
