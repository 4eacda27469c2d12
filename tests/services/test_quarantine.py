"""What can't be believed is listed, and counts when a person says so. Nothing of it is ever deleted."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from hitl_bridge.adapters.sql.tables import annotation_revisions, unreadable_tasks
from hitl_bridge.core.model import JSON, AnnotationState, ItemId
from hitl_bridge.core.task_types.controls import LABEL
from hitl_bridge.errors import UnknownName, UsageError
from hitl_bridge.services.keeping.quarantine import Doubtful
from tests.services.bench import ANA, BEN, COMPREHENSIVE, STRANGER, Bench, row

DEE_SAYS = "Dee Lead <dee@example.com>"
UNFIT = "2 labels chosen where one is due"


def made_in_bulk(bench: Bench, item_id: str = "t-1", reviewer: str = ANA) -> None:
    """The item's only annotation is one that nobody looked at; the item is asked again."""
    bench.pushed(row(item_id))
    bench.labeling.annotate_in_bulk(bench.bridge.store.projects()[0], reviewer)
    bench.brought_back()
    bench.bridge.push()


def only(bench: Bench) -> Doubtful:
    (line,) = bench.bridge.quarantined()
    return line


def number(bench: Bench) -> int:
    line = only(bench)
    assert line.id is not None
    return line.id


def accepted(bench: Bench, why: str = "I asked her") -> None:
    bench.bridge.accept_quarantined(number(bench), reason=why, by=DEE_SAYS)
    bench.bridge.resolve()


def revisions(bench: Bench) -> list[tuple[object, ...]]:
    with bench.bridge.store.engine.connect() as connection:
        return [tuple(each) for each in connection.execute(sa.select(annotation_revisions).order_by(annotation_revisions.c.id))]


def events(bench: Bench, action: str) -> list[dict[str, JSON]]:
    told = bench.bridge.trace("t-1")["events"]
    assert isinstance(told, list)
    return [event for event in told if event["action"] == action]


def test_the_list_says_what_is_wrong_where_and_what_the_answer_says(bench: Bench) -> None:
    made_in_bulk(bench)
    line = only(bench)
    assert (line.item_id, line.reviewer, line.says) == ("t-1", ANA, "refund")
    assert "in bulk" in line.reason
    assert "due in" in line.project
    assert line.link.startswith("http")


def test_nothing_is_listed_where_all_is_well(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    bench.answer("t-1")
    bench.brought_back()
    assert bench.bridge.quarantined() == []


def test_an_accepted_answer_counts_as_its_author_s_although_the_item_was_asked_again(bench: Bench) -> None:
    made_in_bulk(bench)
    assert bench.item("t-1").round == 2
    accepted(bench)
    decision = bench.decision("t-1")
    assert (decision.reviewers, decision.output) == ((ANA,), {"label": "refund"})
    assert bench.bridge.quarantined() == []
    assert bench.bridge.status().problems == []


def test_an_accepted_answer_counts_with_those_of_others(bench: Bench) -> None:
    bench.pushed(row("t-1", COMPREHENSIVE))
    bench.labeling.annotate_in_bulk(bench.bridge.store.projects()[0], ANA)
    bench.answer("t-1", BEN, "refund")
    bench.brought_back()
    assert bench.decided() == {}
    bench.bridge.push()
    accepted(bench)
    assert set(bench.decision("t-1").reviewers) == {ANA, BEN}


def test_an_accepted_edit_by_somebody_else_becomes_the_author_s_own(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    given = bench.answer("t-1", ANA, "billing")
    bench.brought_back()
    bench.revise(given, BEN, "cancel")
    bench.brought_back()
    assert bench.decision("t-1").output == {"label": "billing"}
    accepted(bench)
    decision = bench.decision("t-1")
    assert (decision.output, decision.reviewers, decision.op.value) == ({"label": "cancel"}, (ANA,), "change")


def test_what_the_author_says_after_an_accepted_edit_counts_more(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    given = bench.answer("t-1", ANA, "billing")
    bench.revise(given, BEN, "cancel")
    bench.brought_back()
    bench.bridge.push()
    accepted(bench)
    bench.revise(given, ANA, "refund")
    bench.brought_back()
    assert bench.decision("t-1").output == {"label": "refund"}


def test_a_deletion_takes_an_accepted_answer_back(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    given = bench.answer("t-1", ANA, "billing")
    bench.revise(given, BEN, "cancel")
    bench.brought_back()
    accepted(bench)
    bench.labeling.delete_annotation(given)
    bench.brought_back()
    assert bench.decided() == {}


def test_an_accepted_answer_of_somebody_outside_the_pool_still_decides_nothing(bench: Bench) -> None:
    made_in_bulk(bench, reviewer=STRANGER)
    accepted(bench)
    assert bench.decided() == {}


def test_an_answer_that_can_not_be_read_can_not_be_accepted(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    bench.labeling.answer(bench.task_id("t-1"), ANA, {LABEL: ("refund", "cancel")})
    bench.brought_back()
    assert only(bench).says is None
    with pytest.raises(UsageError, match="2 labels chosen") as caught:
        bench.bridge.accept_quarantined(number(bench), reason="why not", by=DEE_SAYS)
    assert "drop" in caught.value.remedy
    assert len(bench.bridge.quarantined()) == 1


def test_a_dropped_answer_is_off_the_list_and_does_not_count(bench: Bench) -> None:
    made_in_bulk(bench)
    ruled = bench.bridge.drop_quarantined(number(bench), reason="nobody looked", by=DEE_SAYS)
    assert (ruled.counts, ruled.item_id) == (False, "t-1")
    bench.bridge.resolve()
    bench.brought_back()
    assert bench.bridge.quarantined() == []
    assert bench.bridge.status().problems == []
    assert bench.decided() == {}


def test_a_ruling_leaves_the_annotation_as_it_came(bench: Bench) -> None:
    made_in_bulk(bench)
    before = revisions(bench)
    accepted(bench)
    assert revisions(bench) == before
    keys = [task.push_key for task in bench.tasks()]
    assert [each.state for each in bench.bridge.store.annotations_of(keys)] == [AnnotationState.QUARANTINED]
    assert [each.state for each in bench.bridge.store.standing_annotations(keys)] == [AnnotationState.ANSWER]


def test_a_ruling_is_in_the_audit_log_with_who_why_before_and_after(bench: Bench) -> None:
    made_in_bulk(bench)
    accepted(bench, why="I asked her")
    (event,) = events(bench, "quarantine_accepted")
    detail = event["detail"]
    assert isinstance(detail, dict)
    assert detail["reason"] == "I asked her"
    assert "refund" not in str(event)  # what it says is in the annotations, not in the log
    told = bench.bridge.store.insights().last_event("quarantine_accepted")
    assert told is not None
    assert (told.actor, told.item_id) == (DEE_SAYS, ItemId("t-1"))
    assert told.before != told.after
    assert bench.bridge.store.verify_audit({}).problems == ()


def test_nobody_rules_twice(bench: Bench) -> None:
    made_in_bulk(bench)
    ruled = number(bench)
    bench.bridge.drop_quarantined(ruled, reason="nobody looked", by=DEE_SAYS)
    with pytest.raises(UnknownName):
        bench.bridge.accept_quarantined(ruled, reason="but she did", by=DEE_SAYS)


def test_a_ruling_needs_a_reason(bench: Bench) -> None:
    made_in_bulk(bench)
    with pytest.raises(UsageError, match="reason"):
        bench.bridge.drop_quarantined(number(bench), reason="  ", by=DEE_SAYS)


def test_an_answer_that_its_author_put_right_is_off_the_list(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    given = bench.labeling.answer(bench.task_id("t-1"), ANA, {LABEL: ("refund", "cancel")})
    bench.brought_back()
    bench.bridge.push()
    bench.revise(given, ANA, "billing")
    bench.brought_back()
    assert bench.bridge.quarantined() == []
    assert bench.decision("t-1").output == {"label": "billing"}


def test_a_ruling_does_not_rule_on_what_is_edited_later(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    given = bench.answer("t-1", ANA, "billing")
    bench.revise(given, BEN, "cancel")
    bench.brought_back()
    bench.bridge.drop_quarantined(number(bench), reason="not hers", by=DEE_SAYS)
    bench.revise(given, BEN, "refund")
    bench.brought_back()
    assert only(bench).says == "refund"


def test_a_task_that_label_studio_can_not_show_is_listed_without_a_number(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    (project,) = bench.bridge.store.projects()
    unreadable = {"project_id": project.project_id, "task_id": bench.task_id("t-1"), "reason": "500", "since": bench.clock.now()}
    with bench.bridge.store.engine.begin() as connection:
        connection.execute(sa.insert(unreadable_tasks).values(unreadable))
    line = only(bench)
    assert (line.id, line.item_id, line.says) == (None, "t-1", None)
    assert "can't show it: 500" in line.reason


# ---------------------------------------------------------- answers to rounds that asked the same question before


def test_an_answer_that_arrives_on_the_old_task_after_its_item_was_asked_again_counts(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    old = bench.task_id("t-1")
    bench.answer("t-1", STRANGER, "cancel")
    bench.brought_back()
    bench.bridge.push()
    bench.labeling.answer(old, ANA, {LABEL: ("billing",)})
    bench.brought_back()
    decision = bench.decision("t-1")
    assert (decision.reviewers, decision.output, decision.round) == ((ANA,), {"label": "billing"}, 2)


def test_an_answer_of_the_first_round_and_one_of_the_second_make_two(bench: Bench) -> None:
    bench.pushed(row("t-1", COMPREHENSIVE))
    bench.answer("t-1", ANA, "cancel")
    bench.answer("t-1", STRANGER, "cancel")
    bench.brought_back()
    bench.bridge.push()
    bench.answer("t-1", BEN, "cancel")
    bench.brought_back()
    assert set(bench.decision("t-1").reviewers) == {ANA, BEN}


def test_an_adjudicator_sees_the_answers_of_all_rounds_that_led_to_the_dispute(bench: Bench) -> None:
    bench.pushed(row("t-1", COMPREHENSIVE))
    bench.answer("t-1", ANA, "cancel")
    bench.answer("t-1", STRANGER, "cancel")
    bench.brought_back()
    bench.bridge.push()
    bench.answer("t-1", BEN, "billing")
    bench.bridge.pull()
    assert bench.bridge.resolve().disputed == 1
    bench.bridge.push()
    data = bench.labeling.page(bench.task_id("t-1"))["data"]
    assert isinstance(data, dict)
    shown = data["answers"]
    assert isinstance(shown, list | tuple)
    assert {answer["Answer"] for answer in shown if isinstance(answer, dict)} == {"cancel", "billing"}
