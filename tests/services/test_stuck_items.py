"""Nobody can annul another's answer, and answers that do not count leave no item waiting for ever."""

from __future__ import annotations

import pytest

from hitl_bridge.core.model import ADJUDICATION, AnnotationState, ItemId
from tests.services.bench import ANA, BEN, COMPREHENSIVE, DEE, STRANGER, Bench, row

FOREIGN = "edited by somebody other than its author"
ASKED_AGAIN = "the answers given do not count; asked again"


def events(bench: Bench, item_id: str) -> list[object]:
    """The reasons of all that happened to the item."""
    listed = bench.bridge.trace(item_id)["events"]
    assert isinstance(listed, list)
    return [event["detail"].get("reason") for event in listed]


def edited_after_the_decision(bench: Bench) -> None:
    """Decided by ANA as `billing`, then edited by BEN."""
    bench.pushed(row("t-1"))
    given = bench.answer("t-1", ANA, "billing")
    bench.brought_back()
    bench.revise(given, BEN, "cancel")


# ------------------------------------------------------------------------------------------- foreign edits


def test_a_decision_stands_although_somebody_else_edits_the_answer_and_the_edit_is_listed(bench: Bench) -> None:
    edited_after_the_decision(bench)
    assert bench.bridge.pull().quarantined == 1
    bench.bridge.resolve()
    assert bench.decision("t-1").output == {"label": "billing"}
    assert (bench.decided(), bench.state("t-1")) == ({"t-1": "add"}, "decided")
    assert [problem["reason"] for problem in bench.bridge.status().problems] == [FOREIGN]


def test_an_edit_by_somebody_else_is_recorded_once(bench: Bench) -> None:
    edited_after_the_decision(bench)
    bench.brought_back()
    before = bench.database()
    bench.clock.turn(60)
    bench.brought_back()
    assert bench.database() == before


def test_an_author_who_edits_after_somebody_else_is_heard_again(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    given = bench.answer("t-1", ANA, "billing")
    for editor, label in ((ANA, "billing"), (BEN, "cancel"), (ANA, "refund")):
        bench.revise(given, editor, label)
        bench.brought_back()
    assert bench.decision("t-1").output == {"label": "refund"}
    assert bench.bridge.status().problems == []


def test_an_author_s_deletion_takes_the_answer_back_even_after_a_foreign_edit(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    given = bench.answer("t-1", ANA, "billing")
    bench.brought_back()
    bench.revise(given, BEN, "cancel")
    bench.bridge.pull()
    bench.labeling.delete_annotation(given)
    bench.brought_back()
    assert (bench.decided(), bench.state("t-1")) == ({}, "pushed")


def test_a_foreign_edit_hides_no_answer_from_the_adjudicator(bench: Bench) -> None:
    bench.pushed(row("t-1", COMPREHENSIVE))
    given = bench.answer("t-1", ANA, "refund")
    bench.answer("t-1", BEN, "cancel")
    bench.answer("t-1", STRANGER, "billing")
    bench.brought_back()
    bench.revise(given, BEN, "cancel")
    bench.bridge.pull()
    bench.bridge.push()
    assert answers_shown(bench) == {"refund", "cancel"}


def answers_shown(bench: Bench) -> set[object]:
    data = bench.labeling.page(bench.task_id("t-1"))["data"]
    assert isinstance(data, dict)
    shown = data["answers"]
    assert isinstance(shown, list | tuple)
    return {answer["Answer"] for answer in shown if isinstance(answer, dict)}


# ---------------------------------------------------------------------------------- answers that do not count


def test_one_person_s_two_answers_lead_to_a_next_round_of_two_others(bench: Bench) -> None:
    bench.pushed(row("t-1", COMPREHENSIVE))
    first_page = bench.labeling.page(bench.task_id("t-1"))
    bench.answer("t-1", ANA, "cancel")
    bench.answer("t-1", ANA, "cancel")
    bench.bridge.pull()
    result = bench.bridge.resolve()
    assert (result.incomplete, result.asked_again) == (1, 1)
    assert bench.bridge.push().created == 1
    item, second_page = bench.item("t-1"), bench.labeling.page(bench.task_id("t-1"))
    assert (item.round, item.route.tier) == (2, "comprehensive")
    assert page_without_key(second_page) == page_without_key(first_page)
    assert ASKED_AGAIN in events(bench, "t-1")
    bench.answer("t-1", ANA, "billing")
    bench.answer("t-1", BEN, "billing")
    bench.brought_back()
    assert (bench.decision("t-1").output, bench.decision("t-1").round) == ({"label": "billing"}, 2)


def page_without_key(page: object) -> object:
    assert isinstance(page, dict)
    data = page["data"]
    assert isinstance(data, dict)
    return {name: value for name, value in data.items() if "key" not in name}, page["prediction"]["result"]


def test_a_next_round_that_nobody_has_answered_opens_no_other(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    bench.answer("t-1", STRANGER, "cancel")
    bench.brought_back()
    bench.bridge.push()
    before = bench.database()
    for _ in range(3):
        bench.clock.turn(61)
        bench.bridge.pull()
        assert bench.bridge.resolve().asked_again == 0
        assert bench.bridge.push().created == 0
    assert bench.database() == before


def test_answers_made_in_bulk_do_not_keep_their_items_for_ever(bench: Bench) -> None:
    bench.pushed(row("t-1"), row("t-2"))
    bench.labeling.annotate_in_bulk(bench.bridge.store.projects()[0], ANA)
    bench.bridge.pull()
    assert bench.bridge.resolve().asked_again == 2
    bench.bridge.push()
    bench.answer("t-1", ANA, "cancel")
    bench.brought_back()
    assert bench.decision("t-1").output == {"label": "cancel"}


def test_a_skip_leaves_the_seat_to_somebody_else(bench: Bench) -> None:
    bench.pushed(row("t-1", COMPREHENSIVE))
    bench.labeling.skip(bench.task_id("t-1"), ANA)
    bench.answer("t-1", BEN, "cancel")
    bench.bridge.pull()
    assert bench.bridge.resolve().asked_again == 0
    assert bench.state("t-1") == "answered"


def test_an_adjudication_by_somebody_who_may_not_is_asked_again_of_the_adjudicator(bench: Bench) -> None:
    bench.pushed(row("t-1", COMPREHENSIVE))
    bench.answer("t-1", ANA, "refund")
    bench.answer("t-1", BEN, "cancel")
    bench.brought_back()
    bench.bridge.push()
    bench.answer("t-1", ANA, "billing", why="I changed my mind.")
    bench.bridge.pull()
    assert bench.bridge.resolve().asked_again == 1
    bench.bridge.push()
    assert (bench.item("t-1").round, bench.item("t-1").route.tier) == (3, ADJUDICATION)
    assert answers_shown(bench) == {"refund", "cancel"}  # not what was tried meanwhile
    bench.answer("t-1", DEE, "cancel", why="They say so twice.")
    bench.brought_back()
    assert bench.decision("t-1").output == {"label": "cancel"}


@pytest.mark.parametrize("dry_run", [True, False])
def test_what_is_asked_again_is_foretold_by_a_dry_run(bench: Bench, dry_run: bool) -> None:
    bench.pushed(row("t-1"))
    bench.answer("t-1", STRANGER, "cancel")
    bench.bridge.pull()
    assert bench.bridge.resolve(dry_run=dry_run).asked_again == 1
    assert bench.item("t-1").round == (1 if dry_run else 2)


def test_every_annotation_that_did_not_count_is_kept(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    bench.answer("t-1", STRANGER, "cancel")
    bench.brought_back()
    bench.bridge.push()
    keys = [task.push_key for task in bench.tasks() if task.item_id == ItemId("t-1")]
    assert [each.state for each in bench.bridge.store.annotations_of(keys)] == [AnnotationState.ANSWER]
    assert len(keys) == 2
