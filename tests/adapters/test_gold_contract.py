"""Known items that the bridge asks by itself, and newcomers, in the store, on both databases."""

from __future__ import annotations

from dataclasses import replace

from hitl_bridge.adapters.sql.store import SqlStore
from hitl_bridge.core.gold import FirstAnswer, Known
from hitl_bridge.core.model import Answer, BatchId, Item, ItemId, ItemState, Request
from hitl_bridge.ports import AskedGold, BankedItem, GoldStore, Settlement
from tests.adapters.store_examples import (
    LATER,
    NOW,
    a_batch,
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


def banked(name: str, why: str = "") -> BankedItem:
    return BankedItem(ItemId(name), {"item_id": name, "input": {"text": "words"}}, why)


def of_batch(name: str, batch: str) -> Item:
    return replace(an_item(name), batch_id=BatchId(batch), round=1)


class TestGold:
    def test_the_bank_holds_what_is_known_still_and_tells_what_is_left_of_it(self, store: SqlStore) -> None:
        gold: GoldStore = store.gold()
        gold.keep([banked("g-1"), banked("g-2", "Because.")], "Ana", NOW)
        gold.keep([banked("g-1", "Clearer.")], "Ana", LATER)
        assert (gold.bank(), gold.left()) == ([], 0)
        store.agreement().record_gold({ItemId(name): {"label": "refund"} for name in ("g-1", "g-2")}, "Ana", NOW)
        assert [(each.item_id, each.why) for each in gold.bank()] == [("g-1", "Clearer."), ("g-2", "Because.")]
        ingest(store, an_item("g-2"))
        assert gold.left() == 1
        assert gold.mixed_in() == {ItemId("g-2")}
        store.agreement().forget_gold([ItemId("g-1")], "Ana", LATER)
        store.agreement().record_gold({ItemId("g-1"): None}, "Ana", LATER)
        assert [each.item_id for each in gold.bank()] == ["g-2"]

    def test_what_is_asked_comes_with_its_event_and_once(self, store: SqlStore) -> None:
        gold, item = store.gold(), of_batch("g-1", "gold-1")
        asked = [AskedGold(item, ItemId("g-1"), "payments", beside="t-1#1")]
        for _ in range(2):
            gold.ask(a_batch("gold-1", 1), asked, NOW)
        assert [each.item_id for each in store.items_in(ItemState.QUEUED)] == ["g-1"]
        assert gold.paired(["t-1#1", "t-2#1"]) == {"t-1#1"}
        assert gold.lessons() == {}
        event = store.insights().last_event("gold.asked")
        assert event is not None
        assert event.detail == {"batch_id": "gold-1", "items": 1}
        assert not store.verify_audit({}).problems

    def test_a_learner_s_first_answers_are_told_whatever_is_said_afterwards(self, store: SqlStore) -> None:
        gold = store.gold()
        gold.begin([("payments", ANA), ("payments", BEN)], NOW)
        gold.begin([("payments", ANA)], LATER)
        assert gold.newcomers() == {"payments": {ANA: None, BEN: None}}
        names = ("training-1", "training-2", "training-3")
        lessons = [of_batch(name, "training-b") for name in names]
        asked = [AskedGold(each, ItemId(f"g-{place}"), "payments", person=ANA) for place, each in enumerate(lessons)]
        store.agreement().record_gold({ItemId(f"g-{place}"): {"label": "refund"} for place in range(3)}, "Ana", NOW)
        gold.keep([banked("g-0", "Because.")], "Ana", NOW)
        gold.ask(a_batch("training-b", 3), asked, NOW)
        assert gold.lessons() == {
            "training-1": Known({"label": "refund"}, "Because."),
            "training-2": Known({"label": "refund"}),
            "training-3": Known({"label": "refund"}),
        }
        tasks = [a_task(each) for each in lessons]
        push(store, *tasks)
        pull(store, an_annotation(tasks[0], 1, label="billing"))
        pull(store, an_annotation(tasks[0], 1, label="refund", updated_at="2026-11-22T12:00:00Z"))
        plea = replace(an_annotation(tasks[1], 2), answer=Answer(None, "", request=Request.ESCALATE))
        pull(store, plea, replace(an_annotation(tasks[2], 3), reviewer=BEN, updated_by=BEN))
        ana, ben = gold.learners()
        assert (ana.person, sorted(ana.given), ana.open) == (ANA, ["g-0", "g-1", "g-2"], 3)
        known = {"label": "refund"}
        assert ana.answers == (FirstAnswer({"label": "billing"}, known), FirstAnswer(None, known, asked=True))
        assert (ben.given, ben.answers) == (frozenset(), ())
        assert store.agreement().given(10) == []

    def test_who_has_passed_counts_from_then_on_with_an_event_that_names_nobody(self, store: SqlStore) -> None:
        gold = store.gold()
        gold.begin([("payments", ANA)], NOW)
        (learner,) = gold.learners()
        gold.passed(learner, LATER)
        gold.passed(learner, NOW)
        assert gold.newcomers() == {"payments": {ANA: LATER}}
        assert gold.learners() == []
        event = store.insights().last_event("reviewer.passed")
        assert event is not None
        assert event.detail["pool"] == "payments"
        assert ANA not in str(event)

    def test_a_known_item_that_nothing_was_decided_on_still_tells_of_people(self, store: SqlStore) -> None:
        item = of_batch("g-1", "gold-1")
        store.agreement().record_gold({item.item_id: {"label": "refund"}}, "Ana", NOW)
        store.gold().ask(a_batch("gold-1", 1), [AskedGold(item, item.item_id, "payments", beside="t-1#1")], NOW)
        task = a_task(item)
        push(store, task)
        pull(store, an_annotation(task, label="billing"))
        store.open_reviews()
        store.record_settlements([Settlement(item.item_id, item.revision, ItemState.WITHDRAWN)], LATER)
        (told,) = store.people().checked_answers(10)
        assert (told.said, told.decided) == ({"label": "billing"}, {"label": "refund"})

    def test_an_answer_that_asks_for_something_is_held_against_nobody(self, store: SqlStore) -> None:
        item = an_item("t-2")
        given = answered_review(store, item)
        store.record_settlements([decided(item, replace(a_decision(item), reviewers=("dee@example.com",)))], LATER)
        assert [each.said for each in store.people().checked_answers(10)] == [{"label": "billing"}]
        pull(store, replace(given, updated_at="2026-11-22T13:00:00Z", answer=Answer(None, request=Request.ESCALATE)))
        assert list(store.people().checked_answers(10)) == []

    def test_a_queued_item_changes_its_pool_until_it_is_promised(self, store: SqlStore) -> None:
        waiting, promised = an_item("t-1"), an_item("t-2")
        ingest(store, waiting, promised)
        store.intend([a_task(promised)])
        store.people().reroute([(waiting, "east"), (promised, "east")], LATER)
        assert {item.item_id: item.route.pool for item in store.items_in(ItemState.QUEUED)} == {"t-1": "east", "t-2": "payments"}
        event = store.insights().last_event("rerouted")
        assert event is not None
        assert (event.item_id, event.detail["to"]) == ("t-1", "east")
        assert store.people().open_in_pools() == {}
