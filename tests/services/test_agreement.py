"""Weighted consensus, further reviewers, blind shares and gold items, in a small workspace."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hitl_bridge.core.audits.reviewers import FAULTLESS
from hitl_bridge.core.model import Purpose
from hitl_bridge.core.review.records import GoldMisses
from hitl_bridge.core.routing import blind_draw
from hitl_bridge.errors import UsageError
from hitl_bridge.ports import Blind
from hitl_bridge.services.audits.lots import reviewer_error
from hitl_bridge.services.desk.agreement import LearnedWeighing
from tests.services.bench import ANA, BEN, COMPREHENSIVE, DEE, POLICY, Bench, row, without_git, write_rows

CY = "cy@example.com"
WEIGHTED = POLICY.replace(
    "{reviewers: 2, sla: 24h, consensus: unanimous}",
    "{reviewers: 2, max_reviewers: 4, sla: 24h, consensus: weighted, min_probability: 0.8}",
).replace("ben@example.com]", "ben@example.com, cy@example.com]")


def a_bench(tmp_path: Path, policy: str) -> Bench:
    return Bench(without_git(tmp_path / "workspace", policy))


def test_a_consensus_comes_with_its_probability_and_where_answers_differ_one_more_reviewer_is_asked(tmp_path: Path) -> None:
    bench = a_bench(tmp_path, WEIGHTED)
    bench.pushed(row("same", COMPREHENSIVE), row("other", COMPREHENSIVE))
    for item, labels in (("same", ("cancel", "cancel")), ("other", ("cancel", "billing"))):
        for person, label in zip((ANA, BEN), labels, strict=True):
            bench.answer(item, person, label)
    bench.bridge.pull()
    result = bench.bridge.resolve()
    assert (result.decisions, result.added, result.incomplete, result.disputed) == (1, 1, 1, 0)
    decision = bench.decision("same")
    assert decision.probability is not None
    assert 0.8 <= decision.probability < 1
    asked = bench.item("other")
    assert (asked.state.value, asked.round, asked.route.reviewers, asked.route.tier) == ("queued", 2, 3, "comprehensive")
    bench.bridge.push()
    bench.answer("other", CY, "cancel")
    bench.brought_back()
    assert bench.item("other").state.value in ("decided", "queued")


def test_after_the_last_reviewer_a_dispute_goes_to_the_adjudicator(tmp_path: Path) -> None:
    bench = a_bench(tmp_path, WEIGHTED.replace("max_reviewers: 4", "max_reviewers: 3"))
    bench.pushed(row("t-1", COMPREHENSIVE))
    bench.answer("t-1", ANA, "cancel")
    bench.answer("t-1", BEN, "billing")
    bench.brought_back()
    bench.bridge.push()
    bench.answer("t-1", CY, "refund")
    bench.bridge.pull()
    assert bench.bridge.resolve().disputed == 1
    bench.bridge.push()
    bench.answer("t-1", DEE, "cancel", why="They want to leave.")
    bench.brought_back()
    assert bench.decision("t-1").probability is None


def test_who_answers_the_further_round_twice_is_not_counted_twice(tmp_path: Path) -> None:
    bench = a_bench(tmp_path, WEIGHTED)
    bench.pushed(row("t-1", COMPREHENSIVE))
    bench.answer("t-1", ANA, "cancel")
    bench.answer("t-1", BEN, "billing")
    bench.brought_back()
    bench.bridge.push()
    bench.answer("t-1", ANA, "cancel")
    bench.answer("t-1", BEN, "billing")
    bench.bridge.pull()
    assert bench.bridge.resolve().asked_again == 1


def test_a_share_of_reviews_shows_no_prediction_and_looks_like_an_audit(tmp_path: Path) -> None:
    bench = a_bench(tmp_path, POLICY.replace("reviewers: 1, sla: 4h", "reviewers: 1, sla: 4h, blind: 0.5"))
    bench.ingest(*(row(f"t-{number}") for number in range(40)))
    items = [bench.item(f"t-{number}") for number in range(40)]
    blind = [item for item in items if item.route.blind]
    assert 8 < len(blind) < 32
    assert {item.triage.blind_rate for item in items} == {0.5}
    assert {item.triage.purpose for item in items} == {Purpose.REVIEW}
    key = bench.bridge.settings.workspace_key
    assert {item.item_id for item in blind} == {each.item_id for each in items if blind_draw(key, "m1", each.item_id) < 0.5}
    assert len({item.triage.reason for item in blind}) == 1


def test_gold_items_measure_reviewers_and_what_showing_the_model_s_answer_does(tmp_path: Path) -> None:
    bench = a_bench(tmp_path, POLICY.replace("reviewers: 1, sla: 4h", "reviewers: 1, sla: 4h, blind: 0.5"))
    rows = [row(f"t-{number}", scenario="legal" if number % 2 else "payments") for number in range(24)]
    bench.pushed(*rows)
    known = write_rows(bench.root / "gold.jsonl", [{"item_id": f"t-{number}", "label": "cancel"} for number in range(20)])
    assert bench.bridge.add_gold(known, by="Ana").added == 20
    assert bench.bridge.add_gold(known, by="Ana").added == 0
    for number in range(24):
        shown = not bench.item(f"t-{number}").route.blind
        bench.answer(f"t-{number}", ANA, "refund" if shown else "cancel")
    bench.brought_back()
    report = bench.bridge.reviewers_report()
    (line,) = report.reviewers
    assert (line.answers, line.gold, report.gold) == (24, 20, 20)
    assert line.anchoring.excess == pytest.approx(1.0)
    assert line.anchoring.answers_shown + line.anchoring.answers_blind == 20
    assert [each.name for each in report.scenarios] == ["legal", "payments"]
    assert report.notices
    assert bench.bridge.remove_gold(["t-1", "nothing"], by="Ana") == 1
    assert bench.bridge.gold().known == 19


def test_a_gold_file_with_a_mistake_is_refused_as_a_whole(bench: Bench) -> None:
    good, bad = {"item_id": "t-1", "label": "None of these"}, {"item_id": "t-2", "label": "refnd"}
    with pytest.raises(UsageError, match="Row 2: unknown label 'refnd'"):
        bench.bridge.add_gold(write_rows(bench.root / "gold.jsonl", [good, bad]), by="Ana")
    assert bench.bridge.gold().known == 0
    with pytest.raises(UsageError, match="None of these is a gold item"):
        bench.bridge.remove_gold(["t-1"], by="Ana")


def test_misses_on_gold_are_allowed_for_in_audits_once_there_are_enough() -> None:
    assert reviewer_error(Blind(0, 0), GoldMisses(49, 5)) == FAULTLESS
    error = reviewer_error(Blind(1_000, 40), GoldMisses(200, 10))
    assert 0.015 < error.miss.low < 0.05 < error.miss.best < error.miss.high < 0.25
    assert error.false_alarm.high < 0.01
    assert error.doubt == pytest.approx(0.01)


def test_the_audit_report_tells_what_gold_items_say_of_misses(bench: Bench) -> None:
    says = bench.bridge.audit_picture().reviewers.says
    assert "misses: not known, taken as 0 (0 blind answers to gold items" in says


def test_among_many_labels_the_model_tips_the_scale_between_two_who_differ_and_never_where_it_is_measured(tmp_path: Path) -> None:
    labels = ", ".join(["refund", "billing", "cancel", *(f"other {number}" for number in range(9))])
    policy = WEIGHTED.replace("labels: [refund, billing, cancel]", f"labels: [{labels}]")
    bench = a_bench(tmp_path, policy.replace("uniform: 0.0", "uniform: 0.4"))
    rows = [row(f"t-{number}", COMPREHENSIVE, scores={"refund": 0.5, "cancel": 0.4, "billing": 0.001}) for number in range(12)]
    bench.pushed(*rows)
    items = [bench.item(f"t-{number}") for number in range(12)]
    shown = next(item for item in items if item.triage.purpose is Purpose.REVIEW)
    blind = next(item for item in items if item.triage.purpose is Purpose.UNIFORM)
    weigh = LearnedWeighing(bench.bridge.store.agreement(), bench.bridge.policy)
    tier = bench.bridge.policy.tier("comprehensive")
    told = weigh.of(tier, shown)
    assert told is not None
    assert told.model is not None
    assert told.model["refund"] == pytest.approx(0.5)
    assert sum(told.model.values()) == pytest.approx(1)
    assert weigh.of(tier, replace(blind, route=shown.route)).model is None  # type: ignore[union-attr]
    bench.answer(shown.item_id, ANA, "refund")
    bench.answer(shown.item_id, BEN, "billing")
    bench.brought_back()
    assert bench.decision(shown.item_id).output == {"label": "refund"}
