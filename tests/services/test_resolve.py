"""Answers become decisions, disputes go to an adjudicator, and what is changed later changes the decision."""

from __future__ import annotations

from pathlib import Path

from hitl_bridge.core.model import ADJUDICATION, AnnotationId, ItemId
from tests.services.bench import ANA, AUTO, BEN, COMPREHENSIVE, DEE, POLICY, STRANGER, Bench, row, without_git


def disputed(bench: Bench, item_id: str = "t-1") -> None:
    """Two reviewers disagree, and the item is with the adjudicator."""
    bench.pushed(row(item_id, COMPREHENSIVE))
    bench.answer(item_id, ANA, "refund", why="Money back is asked for.")
    bench.answer(item_id, BEN, "cancel", why="They want to leave.")
    bench.bridge.pull()
    assert bench.bridge.resolve().disputed == 1
    bench.bridge.push()


def test_one_answer_is_enough_where_one_is_due(bench: Bench) -> None:
    bench.pushed(row("same"), row("other"))
    bench.answer("same", ANA, "refund")
    bench.answer("other", BEN, "billing", why="An invoice is named.")
    bench.bridge.pull()
    assert bench.bridge.resolve().decisions == 2
    accepted, corrected = bench.decision("same"), bench.decision("other")
    assert (accepted.outcome.value, accepted.reviewers) == ("accepted", (ANA,))
    assert (corrected.outcome.value, corrected.output, corrected.rationale) == (
        "corrected",
        {"label": "billing"},
        "An invoice is named.",
    )
    assert len(corrected.annotations) == 1


def test_two_answers_are_waited_for_where_two_are_due(bench: Bench) -> None:
    bench.pushed(row("t-1", COMPREHENSIVE))
    bench.answer("t-1", ANA, "cancel")
    bench.bridge.pull()
    assert bench.bridge.resolve().incomplete == 1
    bench.answer("t-1", BEN, "cancel")
    bench.bridge.pull()
    assert bench.bridge.resolve().decisions == 1
    assert set(bench.decision("t-1").reviewers) == {ANA, BEN}


def test_one_person_s_two_answers_count_once(bench: Bench) -> None:
    bench.pushed(row("t-1", COMPREHENSIVE))
    bench.answer("t-1", ANA, "cancel")
    bench.answer("t-1", ANA, "cancel")
    bench.bridge.pull()
    assert bench.bridge.resolve().incomplete == 1
    assert bench.decided() == {}


def test_an_answer_of_someone_outside_the_pool_does_not_decide(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    bench.answer("t-1", STRANGER, "cancel")
    bench.bridge.pull()
    assert bench.bridge.resolve().decisions == 0
    bench.bridge.push()  # that answer took the task's only place: the item is asked again
    bench.answer("t-1", ANA, "billing")
    bench.brought_back()
    assert bench.decision("t-1").output == {"label": "billing"}


def test_an_edited_answer_changes_the_decision_and_keeps_the_old_one(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    given = bench.answer("t-1", ANA, "billing")
    bench.brought_back()
    bench.revise(given, ANA, "cancel")
    bench.brought_back()
    decision = bench.decision("t-1")
    assert (decision.seq, decision.op.value, decision.output) == (1, "change", {"label": "cancel"})
    decisions = bench.bridge.trace("t-1")["decisions"]
    assert isinstance(decisions, list)
    assert len(decisions) == 2


def test_an_edit_that_says_the_same_changes_nothing(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    given = bench.answer("t-1", ANA, "billing")
    bench.brought_back()
    bench.revise(given, ANA, "billing")
    bench.bridge.pull()
    assert bench.bridge.resolve().decisions == 0
    assert bench.decision("t-1").seq == 0


def test_a_deleted_answer_takes_the_decision_back_and_the_task_is_open_again(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    bench.labeling.delete_annotation(_answered_and_decided(bench))
    bench.bridge.pull()
    assert bench.bridge.resolve().decisions == 0
    assert bench.decided() == {}  # no version ever held it
    assert bench.state("t-1") == "pushed"
    bench.answer("t-1", BEN, "cancel")
    bench.brought_back()
    assert (bench.decision("t-1").seq, bench.decision("t-1").op.value) == (2, "add")


def _answered_and_decided(bench: Bench) -> AnnotationId:
    given = bench.answer("t-1", ANA, "billing")
    bench.brought_back()
    return given


def test_a_dispute_becomes_an_adjudication_task_that_shows_both_answers_without_names(bench: Bench) -> None:
    disputed(bench)
    item = bench.item("t-1")
    assert (item.round, item.route.tier, item.route.reviewers) == (2, ADJUDICATION, 1)
    data = bench.labeling.page(bench.task_id("t-1"))["data"]
    assert isinstance(data, dict)
    shown = data["answers"]
    assert isinstance(shown, list | tuple)
    said = {(answer["Answer"], answer["Rationale"]) for answer in shown if isinstance(answer, dict)}
    assert said == {("refund", "Money back is asked for."), ("cancel", "They want to leave.")}
    assert ANA not in str(data)
    assert BEN not in str(data)


def test_the_adjudicator_s_answer_decides(bench: Bench) -> None:
    disputed(bench)
    bench.answer("t-1", DEE, "cancel", why="They say so twice.")
    bench.brought_back()
    decision = bench.decision("t-1")
    assert (decision.outcome.value, decision.output, decision.round) == ("corrected", {"label": "cancel"}, 2)
    assert (decision.reviewers, decision.rationale) == ((DEE,), "They say so twice.")


def test_an_adjudication_without_a_reason_is_asked_again_with_a_note(bench: Bench) -> None:
    disputed(bench)
    bench.answer("t-1", DEE, "cancel")
    assert bench.bridge.pull().quarantined == 0
    assert bench.bridge.resolve().asked_again == 1
    assert bench.decided() == {}
    assert bench.item("t-1").route.note == "Asked again, because an answer came without the reason in words."
    bench.bridge.push()
    bench.answer("t-1", DEE, "cancel", why="They say so twice.")
    bench.brought_back()
    assert bench.decision("t-1").output == {"label": "cancel"}


def test_a_reviewer_does_not_settle_the_dispute_they_are_part_of(bench: Bench) -> None:
    disputed(bench)
    bench.answer("t-1", ANA, "refund", why="I still think so.")
    bench.brought_back()
    assert bench.decided() == {}


def test_a_second_look_at_a_dispute_opens_no_third_round(bench: Bench) -> None:
    disputed(bench)
    before = bench.database()
    bench.clock.turn(60)
    assert bench.bridge.resolve().disputed == 0
    assert bench.bridge.push().created == 0
    assert bench.database() == before


def test_a_decision_that_turns_into_a_dispute_is_taken_back_and_adjudicated(bench: Bench) -> None:
    bench.pushed(row("t-1", COMPREHENSIVE))
    bench.answer("t-1", ANA, "cancel")
    second = bench.answer("t-1", BEN, "cancel")
    bench.brought_back()
    assert bench.decided() == {"t-1": "add"}
    bench.revise(second, BEN, "billing")
    bench.bridge.pull()
    assert bench.bridge.resolve().disputed == 1
    assert bench.decided() == {}
    bench.bridge.push()
    bench.answer("t-1", DEE, "billing", why="An invoice is named.")
    bench.brought_back()
    assert (bench.decision("t-1").output, bench.decision("t-1").round) == ({"label": "billing"}, 2)


def test_a_confirmed_audit_is_decided_by_one_answer_and_not_escalated(bench: Bench) -> None:
    bench.pushed(row("t-1", AUTO))
    bench.answer("t-1", ANA, "refund")
    bench.bridge.pull()
    result = bench.bridge.resolve()
    assert (result.decisions, result.escalated) == (1, 0)
    assert bench.bridge.status().audits == {"decided": 1, "overturned": 0}


def test_an_overturned_audit_counts_only_after_an_adjudicator_agrees(bench: Bench) -> None:
    bench.pushed(row("t-1", AUTO))
    bench.answer("t-1", ANA, "cancel")
    bench.bridge.pull()
    result = bench.bridge.resolve()
    assert (result.decisions, result.disputed, result.escalated) == (0, 0, 1)
    assert bench.bridge.status().audits == {"decided": 0, "overturned": 0}
    bench.bridge.push()
    bench.answer("t-1", DEE, "cancel", why="They say so.")
    bench.brought_back()
    assert bench.decision("t-1").outcome.value == "corrected"
    assert bench.bridge.status().audits == {"decided": 1, "overturned": 1}


def test_an_audit_by_an_auditor_who_erred_leaves_the_model_right(bench: Bench) -> None:
    bench.pushed(row("t-1", AUTO))
    bench.answer("t-1", ANA, "cancel")
    bench.brought_back()
    bench.bridge.push()
    bench.answer("t-1", DEE, "refund", why="They say so.")
    bench.brought_back()
    assert bench.bridge.status().audits == {"decided": 1, "overturned": 0}


def test_by_majority_two_of_three_decide(tmp_path: Path) -> None:
    policy = POLICY.replace("reviewers: 2, sla: 24h, consensus: unanimous", "reviewers: 3, sla: 24h, consensus: majority")
    bench = Bench(without_git(tmp_path / "workspace", policy))
    bench.pushed(row("t-1", COMPREHENSIVE))
    for reviewer, label in ((ANA, "cancel"), (BEN, "billing"), (DEE, "cancel")):
        bench.answer("t-1", reviewer, label)
    bench.brought_back()
    decision = bench.decision("t-1")
    assert (decision.output, round(decision.agreement, 2), set(decision.reviewers)) == ({"label": "cancel"}, 0.67, {ANA, DEE})


def test_a_dry_run_says_what_would_follow_and_writes_nothing(bench: Bench) -> None:
    bench.pushed(row("t-1"), row("t-2", COMPREHENSIVE))
    bench.answer("t-1")
    bench.answer("t-2", ANA, "refund")
    bench.answer("t-2", BEN, "cancel")
    bench.bridge.pull()
    before = bench.database()
    foretold = bench.bridge.resolve(dry_run=True)
    assert (foretold.decisions, foretold.disputed) == (1, 1)
    assert bench.database() == before
    assert bench.bridge.resolve() == foretold


def test_a_new_input_of_a_decided_item_is_reviewed_for_itself(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    bench.answer("t-1", ANA, "cancel")
    bench.brought_back()
    bench.pushed(row("t-1", input={"text": "quite different words"}))
    bench.answer("t-1", BEN, "billing")
    bench.brought_back()
    waiting = {each.item.revision: each.decision.output for each in bench.bridge.store.uncommitted()}
    assert waiting[2] == {"label": "billing"}
    assert len([task for task in bench.tasks() if task.item_id == ItemId("t-1")]) == 2


def test_a_decided_item_is_not_asked_again_because_a_new_model_scored_it(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    bench.answer("t-1")
    bench.brought_back()
    bench.pushed(row("t-1", COMPREHENSIVE, model_version="m2"))
    assert len(bench.tasks()) == 1


def test_a_decision_whose_answer_was_deleted_rests_on_the_other_one_that_says_the_same(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    first = bench.answer("t-1", ANA, "billing")
    bench.brought_back()
    second = bench.answer("t-1", ANA, "billing")
    bench.brought_back()
    named = [key.partition("@")[0].partition("/")[2] for key in bench.decision("t-1").annotations]
    assert named == [str(first)]
    bench.labeling.delete_annotation(first)
    bench.brought_back()
    decision = bench.decision("t-1")
    assert [key.partition("@")[0].partition("/")[2] for key in decision.annotations] == [str(second)]
    assert (decision.seq, decision.output) == (1, {"label": "billing"})
