"""An adjudicator is somebody else than who asked for one; where there is nobody else, the lead is told and the item waits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hitl_bridge.core.model import ADJUDICATION, AnnotationId
from hitl_bridge.core.review.handed_on import NOT_THEIRS
from hitl_bridge.core.task_types.controls import ESCALATE, RATIONALE, REQUEST
from tests.services.bench import ANA, BEN, COMPREHENSIVE, DEE, POLICY, STRANGER, Bench, row, without_git

BOTH = POLICY.replace("adjudicators: [dee@example.com]", "adjudicators: [ana@example.com]")
"""Ana reviews, and is the only one who adjudicates."""

AND_DEE = POLICY.replace("adjudicators: [dee@example.com]", "adjudicators: [ana@example.com, dee@example.com]")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(without_git(tmp_path / "workspace", BOTH))
    yield bench
    bench.bridge.close()


def rewritten(bench: Bench, policy: str) -> None:
    bench.bridge.close()
    (bench.root / "hitl.yaml").write_text(policy, encoding="utf-8")
    bench.bridge = bench.opened()


def pleads(bench: Bench, item_id: str, who: str) -> AnnotationId:
    plea = bench.labeling.answer(bench.task_id(item_id), who, {REQUEST: (ESCALATE,), RATIONALE: ("Two things are asked for.",)})
    bench.brought_back()
    bench.bridge.push()
    return plea


def test_who_asked_for_an_adjudicator_settles_it_not_even_alone_and_the_lead_sees_that_it_waits(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    pleads(bench, "t-1", ANA)
    assert bench.item("t-1").route.tier == ADJUDICATION
    bench.answer("t-1", ANA, "billing", why="I say so")
    bench.brought_back()
    assert bench.decided() == {}
    assert (bench.item("t-1").route.tier, bench.item("t-1").route.note) == (ADJUDICATION, NOT_THEIRS)
    assert bench.bridge.status().nobody_settles == {"general": 1}
    rewritten(bench, AND_DEE)
    bench.bridge.push()
    assert bench.bridge.status().nobody_settles == {}
    bench.answer("t-1", ANA, "billing", why="I say so")
    bench.brought_back()
    assert bench.decided() == {}
    bench.bridge.push()
    bench.answer("t-1", DEE, "cancel", why="They want to leave")
    bench.brought_back()
    assert bench.decision("t-1").reviewers == (DEE,)


def test_a_party_of_a_dispute_does_not_settle_it_where_others_may(bench: Bench) -> None:
    rewritten(bench, AND_DEE)
    bench.pushed(row("t-1", COMPREHENSIVE))
    for who, label in ((ANA, "billing"), (BEN, "cancel")):
        bench.answer("t-1", who, label)
    bench.brought_back()
    for who, label in ((ANA, "billing"), (DEE, "cancel")):
        bench.bridge.push()
        bench.answer("t-1", who, label, why="I say so")
        bench.brought_back()
    assert (bench.decision("t-1").reviewers, bench.decision("t-1").output) == ((DEE,), {"label": "cancel"})


def test_a_plea_that_is_deleted_is_taken_back_as_one_that_is_changed_and_not_unsaid(bench: Bench) -> None:
    """Whoever deletes it leaves the item to others where there are any; where there are none, it no longer waits for somebody."""
    bench.pushed(row("t-1"), row("t-2"))
    pleas = [pleads(bench, item_id, ANA) for item_id in ("t-1", "t-2")]
    assert bench.bridge.status().nobody_settles == {"general": 2}
    for plea in pleas:
        bench.labeling.delete_annotation(plea)
    bench.brought_back()
    assert bench.bridge.status().nobody_settles == {}
    bench.answer("t-1", ANA, "billing", why="I have looked again")
    bench.brought_back()
    assert bench.decision("t-1").reviewers == (ANA,)
    rewritten(bench, AND_DEE)
    bench.answer("t-2", ANA, "billing", why="I have looked again")
    bench.brought_back()
    assert (set(bench.decided()), bench.item("t-2").route.note) == ({"t-1"}, NOT_THEIRS)
    bench.bridge.push()
    bench.answer("t-2", DEE, "cancel", why="They want to leave")
    bench.brought_back()
    assert bench.decision("t-2").reviewers == (DEE,)


def test_a_party_of_a_dispute_who_deletes_their_answer_is_still_one(bench: Bench) -> None:
    rewritten(bench, AND_DEE)
    bench.pushed(row("t-1", COMPREHENSIVE))
    said = [bench.answer("t-1", who, label) for who, label in ((ANA, "billing"), (BEN, "cancel"))]
    bench.brought_back()
    bench.bridge.push()
    bench.labeling.delete_annotation(said[0])
    bench.answer("t-1", ANA, "billing", why="I say so")
    bench.brought_back()
    assert (bench.decided(), bench.item("t-1").route.note) == ({}, NOT_THEIRS)


def test_adjudicators_settle_alone_also_where_everybody_may_review(bench: Bench) -> None:
    rewritten(bench, POLICY.replace("reviewers: [ana@example.com, ben@example.com], ", ""))
    bench.pushed(row("t-1"))
    pleads(bench, "t-1", ANA)
    for who in (STRANGER, DEE):
        bench.answer("t-1", who, "billing", why="I say so")
        bench.brought_back()
        bench.bridge.push()
    assert bench.decision("t-1").reviewers == (DEE,)


def test_where_each_reviewer_has_projects_nobody_is_given_what_they_have_asked_for(tmp_path: Path) -> None:
    bench = Bench(without_git(tmp_path / "personal", BOTH + "assignment: reviewer\n"))
    bench.pushed(row("t-1"))
    pleads(bench, "t-1", ANA)
    result = bench.bridge.push()
    assert ([each.key for each in result.unassigned], bench.state("t-1")) == (["t-1"], "queued")
    assert bench.bridge.status().nobody_settles == {"general": 1}
    rewritten(bench, AND_DEE + "assignment: reviewer\n")
    bench.bridge.push()
    assert {task.project_key.reviewer for task in bench.tasks() if task.project_key.tier == ADJUDICATION} == {DEE}
    bench.bridge.close()
