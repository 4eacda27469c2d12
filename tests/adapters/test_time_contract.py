"""What was escalated, and the outbox, in the store, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hitl_bridge.adapters.sql.store import SqlStore
from hitl_bridge.core.ladder import ADJUDICATOR, LEAD, OVERDUE, Rung
from hitl_bridge.core.model import ItemState, Purpose
from hitl_bridge.core.notices import Notice, Text
from hitl_bridge.core.review.escalation import Escalation
from hitl_bridge.core.review.handed_on import to_adjudicator, to_pool
from hitl_bridge.ports import EscalationStore, NoticeStore, OpenDeadline
from tests.adapters.store_examples import LATER, NOW, a_task, an_item, answered_review, ingest, push

GIVE = Rung(give_to=ADJUDICATOR)
TOLD = Notice("late", "t-1", "chat", {"step": "overdue"})
CHANNELS = ("chat", "mail")
TEXT = Text("one", "one thing")


class TestTime:
    def test_a_step_is_taken_once_and_opens_its_round_and_tells_of_it_in_the_same_transaction(self, store: SqlStore) -> None:
        escalations: EscalationStore = store.escalations()
        item = an_item()
        ingest(store, item)
        push(store, a_task(item))
        (late,) = escalations.due_by(item.route.due_at, {})
        due = [
            Escalation(late, "overdue", OVERDUE, notices=(TOLD, replace(TOLD, channel="mail"))),
            Escalation(late, "adjudicator", GIVE, to_adjudicator(late, LATER, "Late.")),
        ]
        assert [escalations.record(due, LATER) for _ in range(3)] == [due, [], []]
        (moved,) = store.items_in(ItemState.QUEUED)
        assert (moved.round, moved.route.tier) == (late.round + 1, "adjudication")
        key = (late.item_id, late.revision, late.route.due_at)
        assert escalations.taken([late]) == {key: frozenset({"overdue", "adjudicator"})}
        assert [(each.kind, each.channel) for each in store.notices().waiting(CHANNELS)] == [("late", "chat"), ("late", "mail")]
        assert store.verify_audit({}).problems == ()

    def test_what_was_told_is_not_read_again_unless_its_tier_has_more_steps(self, store: SqlStore) -> None:
        item = an_item()
        ingest(store, item)
        push(store, a_task(item))
        due_at = item.route.due_at
        (late,) = store.escalations().due_by(due_at, {})
        store.escalations().record([Escalation(late, "overdue", OVERDUE)], LATER)
        assert store.escalations().due_by(due_at, {}) == []
        assert store.escalations().due_by(due_at, {item.route.tier: {"overdue", "pool:second", "lead"}}) == [late]
        assert (
            store.escalations().due_by(due_at - timedelta(seconds=1), {item.route.tier: {"overdue", "pool:second", "lead"}}) == []
        )

    def test_a_step_that_the_settings_have_no_more_stands_for_no_other(self, store: SqlStore) -> None:
        item = an_item()
        ingest(store, item)
        push(store, a_task(item))
        (late,) = store.escalations().due_by(item.route.due_at, {})
        store.escalations().record([Escalation(late, step, OVERDUE) for step in ("at_risk", "overdue")], LATER)
        tier = item.route.tier
        assert store.escalations().due_by(item.route.due_at, {tier: {"overdue", "lead"}}) == [late]
        assert store.escalations().due_by(item.route.due_at, {tier: {"overdue"}}) == []
        assert store.escalations().due_by(item.route.due_at) == [late]

    def test_a_round_that_keeps_the_deadline_keeps_the_steps_that_were_taken(self, store: SqlStore) -> None:
        item = an_item()
        ingest(store, item)
        push(store, a_task(item))
        (late,) = store.escalations().due_by(item.route.due_at, {})
        store.escalations().record([Escalation(late, "pool:second", Rung(give_to="second"), to_pool(late, "second"))], LATER)
        (moved,) = store.items_in(ItemState.QUEUED)
        assert (moved.route.pool, moved.route.due_at, moved.round) == ("second", late.route.due_at, late.round + 1)
        push(store, replace(a_task(moved), project_key=replace(a_task(moved).project_key, pool="second")), first_task_id=300)
        assert store.escalations().due_by(item.route.due_at, {}) == []
        (late,) = store.escalations().due_by(item.route.due_at, {item.route.tier: {"overdue", "pool:second", "lead"}})
        assert list(store.escalations().taken([late]).values()) == [frozenset({"pool:second"})]

    def test_an_item_with_an_answer_to_settle_is_not_taken_away(self, store: SqlStore) -> None:
        item = an_item()
        answered_review(store, item)
        (late,) = store.escalations().due_by(item.route.due_at, {})
        due = [Escalation(late, "adjudicator", GIVE, to_adjudicator(late, LATER, "Late."))]
        assert store.escalations().record(due, LATER) == []
        assert store.escalations().taken([late]) == {}

    def test_open_deadlines_are_counted_by_place_and_moment(self, store: SqlStore) -> None:
        ingest(store, *(an_item(f"t-{number}") for number in range(3)))
        route = an_item().route
        expected = OpenDeadline(route.pool, route.tier, Purpose.REVIEW, route.due_at, 3)
        assert store.escalations().open_deadlines() == [expected]

    def test_a_notice_is_written_once_goes_into_one_message_and_is_sent_until_it_was_taken(self, store: SqlStore) -> None:
        notices: NoticeStore = store.notices()
        others = [replace(TOLD, subject="t-2"), replace(TOLD, channel="mail"), replace(TOLD, kind="lot")]
        assert [notices.add([TOLD, *others], NOW), notices.add([TOLD, *others], LATER)] == [4, 0]
        numbers = [each.number for each in notices.waiting(["chat"])]
        notices.compose("chat", TEXT, numbers, NOW)
        notices.compose("chat", TEXT, numbers, LATER)
        assert [each.channel for each in notices.waiting(CHANNELS)] == ["mail"]
        (message,) = notices.unsent()
        assert (message.channel, message.text, message.notices, message.tries, message.tried_at) == ("chat", TEXT, 3, 0, None)
        assert notices.last_messages() == {"chat": NOW}
        notices.record_try(message.number, LATER)
        (message,) = notices.unsent()
        assert (message.tries, message.tried_at) == (1, LATER)
        notices.record_sent(message, LATER)
        notices.record_sent(message, LATER)
        assert notices.unsent() == []
        sent = store.insights().last_event("notice.sent")
        assert sent is not None
        assert sent.detail == {"message": message.number, "channel": "chat", "notices": 3}
        assert notices.of_kinds(["lot"]) == [others[2]]
        assert store.verify_audit({}).problems == ()

    def test_the_lead_is_told_by_a_step_like_any_other(self, store: SqlStore) -> None:
        item = an_item()
        ingest(store, item)
        push(store, a_task(item))
        (late,) = store.escalations().due_by(item.route.due_at, {})
        (recorded,) = store.escalations().record([Escalation(late, "lead", LEAD, passed_over=True)], LATER)
        told = store.insights().last_event("escalated")
        assert told is not None
        assert (recorded.step, told.detail["passed_over"], told.item_id) == ("lead", True, item.item_id)
