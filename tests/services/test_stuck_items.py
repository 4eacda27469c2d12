"""Nobody can annul another's answer, and answers that do not count leave no item waiting for ever."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

import pytest

from hitl_bridge.core.model import ADJUDICATION, AnnotationState, ItemId, JSONObject
from hitl_bridge.core.task_types import Controls
from hitl_bridge.core.task_types.classification import TextClassification
from hitl_bridge.errors import LabelingUnavailable
from hitl_bridge.services.sync.attempts import MOST_DEATHS, in_order, tried
from hitl_bridge.services.sync.push import push
from hitl_bridge.services.sync.resolve import resolve
from hitl_bridge.services.sync.sending import FIRST_SENT
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


# ------------------------------------------------------------------------------- items that the process dies of


class Poisonous(TextClassification):
    """A task type that takes the process with it when it compares a certain answer."""

    def same(self, one: JSONObject | None, other: JSONObject | None) -> bool:
        if (one or {}).get("label") == "cancel":
            os._exit(70)
        return super().same(one, other)


class Puzzled(TextClassification):
    """One that meets what nobody foresaw."""

    def same(self, one: JSONObject | None, other: JSONObject | None) -> bool:
        if (one or {}).get("label") == "cancel":
            raise ZeroDivisionError
        return super().same(one, other)


def answered(bench: Bench, *labels: str) -> None:
    """An item for each answer: `cancel` is what the process dies of."""
    bench.pushed(*(row(f"t-{number}") for number in range(len(labels))))
    for number, label in enumerate(labels):
        bench.answer(f"t-{number}", ANA, label)
    bench.bridge.pull()


def resolved_in_a_process(bench: Bench) -> bool:
    """Whether a process that resolves comes to its end."""
    bench.bridge.close()  # no connection goes through a fork
    child = os.fork()
    if child == 0:
        bridge = bench.opened()
        resolve(bridge.store, replace(bridge.policy, kind=Poisonous()), bridge.clock)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    bench.bridge = bench.opened()
    return os.waitstatus_to_exitcode(status) == 0


@pytest.mark.catalogue("C9")
def test_an_item_that_the_process_dies_of_is_set_aside_and_all_the_others_go_on(bench: Bench) -> None:
    answered(bench, "refund", "billing", "cancel", "refund", "billing")
    ended = [resolved_in_a_process(bench) for _ in range(MOST_DEATHS + 1)]
    assert ended == [*[False] * MOST_DEATHS, True]
    assert [bench.state(f"t-{number}") for number in range(5)] == ["decided", "decided", "failed", "decided", "decided"]
    (line,) = bench.bridge.failures()
    assert (line.item_id, line.state) == ("t-2", "failed")
    assert f"{MOST_DEATHS} times" in line.reason
    assert bench.bridge.store.deaths("resolve") == {}
    told = bench.bridge.store.insights().last_event("failed")
    assert told is not None
    assert told.item_id == ItemId("t-2")


@pytest.mark.catalogue("C9")
def test_the_others_wait_for_no_more_than_the_first_death(bench: Bench) -> None:
    answered(bench, "cancel", "refund", "billing", "refund")
    resolved_in_a_process(bench)  # all of them at once
    resolved_in_a_process(bench)  # one by one, the poison first
    resolved_in_a_process(bench)  # the least suspicious first
    assert [bench.state(f"t-{number}") for number in (1, 2, 3)] == ["decided"] * 3
    assert bench.bridge.store.deaths("resolve") == {"t-0#1": 3}


@pytest.mark.catalogue("C9")
def test_two_poisons_are_both_set_aside_in_the_end(bench: Bench) -> None:
    answered(bench, "cancel", "refund", "cancel", "billing")
    deaths = 0
    while not resolved_in_a_process(bench):
        deaths += 1
        assert deaths < 10
    assert [bench.state(f"t-{number}") for number in range(4)] == ["failed", "decided", "failed", "decided"]


def test_an_item_that_was_set_aside_is_asked_again_and_decided_once_the_cause_is_mended(bench: Bench) -> None:
    answered(bench, "cancel")
    while not resolved_in_a_process(bench):
        pass
    bench.bridge.retry("t-0", by="Ben <ben@example.com>", reason="new version installed")
    assert bench.bridge.push().created == 1
    assert bench.bridge.resolve().decisions == 1  # the answer of the round before is there
    assert bench.decision("t-0").output == {"label": "cancel"}


def test_what_nobody_foresaw_is_counted_as_a_death_and_set_aside_in_the_end(bench: Bench) -> None:
    answered(bench, "refund", "cancel")
    policy = replace(bench.bridge.policy, kind=Puzzled())
    for _ in range(MOST_DEATHS):
        with pytest.raises(ZeroDivisionError):
            resolve(bench.bridge.store, policy, bench.clock)
    assert resolve(bench.bridge.store, policy, bench.clock).failed == 1
    assert [bench.state(f"t-{number}") for number in range(2)] == ["decided", "failed"]


class PoisonousPage(TextClassification):
    """One that takes the process with it when a certain prediction is put on the page."""

    def prefill(self, output: JSONObject) -> Controls:
        if output.get("label") == "cancel":
            os._exit(70)
        return super().prefill(output)


def pushed_in_a_process(bench: Bench) -> bool:
    """Whether a process that pushes comes to its end. What it sends goes to a labeling service of its own, and is lost."""
    bench.bridge.close()
    bench.clock.turn(61)  # what died may have been sent: not again at once
    child = os.fork()
    if child == 0:
        bridge = bench.opened()
        push(bridge._push_ports, replace(bridge.policy, kind=PoisonousPage()))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    bench.bridge = bench.opened()
    return os.waitstatus_to_exitcode(status) == 0


@pytest.mark.catalogue("C9")
def test_a_task_that_the_process_dies_of_is_set_aside_and_all_the_others_are_sent(bench: Bench) -> None:
    poison = row("poison", prediction={"label": "cancel"})
    bench.pushed(row("first"))  # the project is there
    bench.ingest(row("t-1"), poison, row("t-2"))
    ended = [pushed_in_a_process(bench) for _ in range(MOST_DEATHS + 1)]
    assert ended == [*[False] * MOST_DEATHS, True]
    assert [bench.state(item_id) for item_id in ("t-1", "poison", "t-2")] == ["pushed", "failed", "pushed"]
    assert bench.bridge.store.deaths("push") == {}
    bench.bridge.retry("poison", by="Ben <ben@example.com>")
    assert bench.bridge.push().created == 1


def test_a_push_whose_outcome_is_unclear_is_held_against_nobody(bench: Bench) -> None:
    bench.ingest(row("t-1"), row("t-2"))
    bench.labeling.lose_next_reply()
    assert bench.bridge.push().pending == 2
    assert bench.bridge.store.deaths("push") == {}
    bench.labeling.breaks = True
    bench.ingest(row("t-3"))
    bench.clock.turn(61)
    with pytest.raises(LabelingUnavailable):
        bench.bridge.push()
    assert bench.bridge.store.deaths("push") == {}


def test_ctrl_c_in_a_push_is_held_against_nobody(bench: Bench) -> None:
    bench.ingest(*(row(f"t-{number}") for number in range(FIRST_SENT + 1)))

    def interrupts(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # the first chunk is there, and the second on its way
        push(bench.bridge._push_ports, bench.bridge.policy, progress=interrupts)
    assert bench.bridge.store.deaths("push") == {}
    bench.clock.turn(61)
    bench.bridge.push()
    assert len(bench.labeling.tasks()) == FIRST_SENT + 1


def test_an_outage_is_held_against_nobody(bench: Bench) -> None:
    counted: list[Mapping[str, int]] = []

    def meets_an_outage() -> None:
        with tried(bench.bridge.store, "resolve", ["t-1#1"], bench.clock.now()):
            counted.append(bench.bridge.store.deaths("resolve"))
            raise LabelingUnavailable("away")

    with pytest.raises(LabelingUnavailable):
        meets_an_outage()
    assert counted == [{"t-1#1": 1}]
    assert bench.bridge.store.deaths("resolve") == {}


def test_nothing_is_written_where_nothing_is_to_be_resolved(bench: Bench) -> None:
    answered(bench, "refund")
    bench.bridge.resolve()
    before = bench.database()
    assert bench.bridge.resolve().decisions == 0
    assert bench.database() == before


def test_a_few_suspects_come_one_by_one_after_all_others_the_least_suspicious_first() -> None:
    order = in_order(list("abcdef"), str, {"b": 2, "c": 1, "e": 5, "f": 1})
    assert order.batches == (("a", "d"), ("c",), ("f",), ("b",))
    assert order.given_up == ("e",)


def test_thousands_that_a_process_was_killed_with_come_in_a_few_groups() -> None:
    order = in_order(range(2000), str, dict.fromkeys(map(str, range(2000)), 1))
    assert [len(batch) for batch in order.batches] == [100] * 20
    assert [each for batch in order.batches for each in batch] == list(range(2000))
