"""Thresholds from judged items: when they open, who may open them, and that they tighten alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hitl_bridge.adapters.sql.access_tokens import SqlAccessTokens
from hitl_bridge.adapters.sql.store import SqlStore, open_store
from hitl_bridge.adapters.triage_engine.duckdb import DuckDbTriage
from hitl_bridge.core.budget.budget_policy import BudgetPolicy, plan_in_force
from hitl_bridge.core.budget.choosing import step
from hitl_bridge.core.budget.costs import Costs
from hitl_bridge.core.model import BatchId, Item, ItemId, ItemState, Outcome, Prediction, Purpose, Split
from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.core.task_types import task_type
from hitl_bridge.core.triage.plan import CLOSED, Rule, TierBound, TriagePlan
from hitl_bridge.errors import RefusedForSafety, UsageError
from hitl_bridge.ports import Standing
from hitl_bridge.services.keeping.access import make_token, revoke_token
from hitl_bridge.services.model.signing import approver
from hitl_bridge.services.policy.thresholds import ModelThresholds, ThresholdPorts, approve, choose, show, tighten
from tests.adapters.store_examples import NOW, a_batch, a_decision, an_item, decided
from tests.services.bench import POLICY, Bench, Watch, without_git

KEY = b"k" * 32
PLAN = TriagePlan(
    policy_version="p-test",
    tiers=(TierBound("auto", CLOSED), TierBound("quick", 0.3), TierBound("comprehensive", 1.0)),
    rules=(Rule("coalesce(scenario, '') = 'legal'", "comprehensive", "high stakes"),),
)
BUDGET = BudgetPolicy(share=0.05, confidence=0.9, decides=True)


@dataclass
class Desk:
    """A store with what people said of the uniform stream, and the clock."""

    store: SqlStore
    clock: Watch
    batches: int = 0

    def judged(self, count: int, *, wrong_above: float = 0.8, seed: int = 1, open_ones: int = 0, **of_item: Any) -> None:
        """`count` items of any confidence; those of a risk above `wrong_above` are wrong half of the time."""
        rng = np.random.default_rng(seed)
        self.batches += 1
        sure = rng.random(count)
        wrong = (1 - sure > wrong_above) & (rng.random(count) < 0.5)
        items = [self._item(f"{self.batches}-{n}", float(each), of_item) for n, each in enumerate(sure)]
        batch = BatchId(f"b-{self.batches}")
        self.store.record_batch(a_batch(batch, count), None, [replace(each, batch_id=batch) for each in items])
        done = items[: count - open_ones]
        outcomes = [Outcome.CORRECTED if each else Outcome.ACCEPTED for each in wrong[: len(done)]]
        decisions = [replace(a_decision(item), outcome=outcome) for item, outcome in zip(done, outcomes, strict=True)]
        self.store.record_settlements([decided(item, each) for item, each in zip(done, decisions, strict=True)], NOW)

    def _item(self, name: str, sure: float, of_item: Mapping[str, Any]) -> Item:
        item = an_item(name, state=ItemState.PUSHED)
        prediction = Prediction(ItemId(name), {}, {"label": "refund"}, sure, "m1", scenario=of_item.get("scenario"))
        triage = replace(item.triage, purpose=Purpose.UNIFORM, split=Split.CALIBRATION, rule=None)
        received = NOW + timedelta(hours=self.batches)
        route = replace(item.route, due_at=self.clock.at + timedelta(days=2))
        return replace(item, prediction=prediction, triage=triage, route=route, received_at=received)

    def ports(self, plan: TriagePlan = PLAN) -> ThresholdPorts:
        return ThresholdPorts(self.store.thresholds(), DuckDbTriage(), self.clock, KEY, plan)

    def choose(self, policy: BudgetPolicy = BUDGET, plan: TriagePlan = PLAN) -> ModelThresholds:
        (model,) = choose(self.ports(plan), whole(policy), force=True).models
        return model

    def approve(self) -> None:
        approve(self.store.thresholds(), self.clock, by="approver.dee", reason="I looked")

    def in_force(self, policy: BudgetPolicy = BUDGET) -> TriagePlan:
        return plan_in_force(PLAN, self.store.thresholds().in_force(), policy)

    def actions(self) -> Sequence[str]:
        names = ("calibration", *(f"thresholds.{each}" for each in Standing))
        return [name for name in names if self.store.insights().last_event(name) is not None]


def whole(budget: BudgetPolicy) -> ReviewPolicy:
    hours = timedelta(hours=1)
    return ReviewPolicy(task_type("text-classification"), ("refund", "billing"), PLAN, {}, {}, hours, hours, budget=budget)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    store = open_store("sqlite:///bridge.db", tmp_path, key=KEY)
    yield Desk(store, Watch())
    store.close()


class TestOpening:
    def test_too_few_labels_leave_it_closed_and_say_how_many_are_needed(self, desk: Desk) -> None:
        desk.judged(30)
        model = desk.choose()
        assert (model.choice.thresholds, model.did) == ((), "nothing")
        needed = model.choice.outlooks[0].labels_needed
        assert needed is not None
        assert 15 <= needed <= 60  # 45 judged without an error are the least for 5 % at 90 %
        assert desk.actions() == []

    def test_as_many_labels_as_were_asked_for_are_enough(self, desk: Desk) -> None:
        desk.judged(30)
        needed = desk.choose().choice.outlooks[0].labels_needed
        assert needed is not None
        desk.judged(needed + 10, seed=2)
        assert desk.choose().choice.thresholds

    def test_the_first_opening_waits_for_a_person(self, desk: Desk) -> None:
        desk.judged(400)
        model = desk.choose()
        assert model.did == "proposed"
        assert desk.in_force().thresholds == ()
        desk.approve()
        (threshold,) = desk.in_force().thresholds
        assert threshold == model.choice.thresholds[0]
        assert desk.actions() == ["calibration", "thresholds.proposed", "thresholds.approved"]
        assert desk.store.verify_audit({}).problems == ()

    def test_the_budget_holds_on_the_judged_items_with_its_bound(self, desk: Desk) -> None:
        desk.judged(600)
        figures = desk.choose().choice.overall
        assert figures.share_at_most <= 0.05
        assert figures.coverage > 0.7
        assert figures.error is not None

    def test_choosing_again_from_the_same_items_changes_nothing(self, desk: Desk) -> None:
        desk.judged(400)
        desk.choose()
        assert desk.choose().did == "nothing"
        desk.approve()
        assert desk.choose().did == "nothing"

    def test_nothing_is_chosen_anew_before_a_tenth_more_was_judged(self, desk: Desk) -> None:
        desk.judged(400)
        desk.choose()
        desk.judged(5, seed=3)
        assert choose(desk.ports(), whole(BUDGET)).models == ()
        desk.judged(5, seed=4)  # the steps are 369 and 406
        assert len(choose(desk.ports(), whole(BUDGET)).models) == 1

    def test_a_dry_run_and_a_look_write_nothing(self, desk: Desk) -> None:
        desk.judged(400)
        assert choose(desk.ports(), whole(BUDGET), dry_run=True).did_something
        assert show(desk.ports(), whole(BUDGET)).models[0].proposal is not None
        assert desk.store.thresholds().newest() == 0

    def test_a_confidence_alone_is_calibrated_and_the_version_of_the_policy_changes(self, desk: Desk) -> None:
        desk.judged(400)
        assert desk.choose().calibration.method in ("temperature", "platt")
        desk.approve()
        assert desk.in_force().policy_version != PLAN.policy_version


class TestTightening:
    def opened(self, desk: Desk) -> float:
        desk.judged(400)
        desk.choose()
        desk.approve()
        return desk.in_force().thresholds[0].max_risk

    def test_worse_news_tightens_at_once(self, desk: Desk) -> None:
        before = self.opened(desk)
        desk.judged(300, wrong_above=0.2, seed=5)
        assert desk.choose().did == "chosen"
        assert desk.in_force().thresholds[0].max_risk < before

    def test_bad_news_everywhere_leave_little_open(self, desk: Desk) -> None:
        before = self.opened(desk)
        desk.judged(400, wrong_above=-1.0, seed=6)
        assert desk.choose().did == "chosen"
        assert desk.in_force().thresholds[0].max_risk < before / 3

    def test_better_news_waits_for_a_person_and_what_is_in_force_stays(self, desk: Desk) -> None:
        before = self.opened(desk)
        desk.judged(300, wrong_above=1.0, seed=7)
        assert desk.choose().did == "proposed"
        assert desk.in_force().thresholds[0].max_risk == before

    def test_an_audit_tightens_and_never_loosens(self, desk: Desk) -> None:
        before = self.opened(desk)
        store, clock = desk.store.thresholds(), desk.clock
        assert tighten(store, clock, "m1", before + 0.01, reason="a lot was held") is None
        assert tighten(store, clock, "m1", before / 2, reason="a lot was held") is not None
        assert desk.in_force().thresholds[0].max_risk == before / 2
        assert tighten(store, clock, "m1", CLOSED, reason="another lot was held") is not None
        assert desk.in_force().thresholds == ()
        assert tighten(store, clock, "m2", CLOSED, reason="nothing is open there") is None

    def test_what_an_audit_tightened_is_not_loosened_by_the_old_items(self, desk: Desk) -> None:
        before = self.opened(desk)
        tighten(desk.store.thresholds(), desk.clock, "m1", before / 2, reason="a lot was held")
        assert desk.choose().did == "proposed"
        assert desk.in_force().thresholds[0].max_risk == before / 2

    def test_in_one_scenario_alone(self, desk: Desk) -> None:
        before = self.opened(desk)
        tighten(desk.store.thresholds(), desk.clock, "m1", CLOSED, scenario="payments", reason="a lot was held")
        bounds = {each.scenario: each.max_risk for each in desk.in_force().thresholds}
        assert bounds == {None: before, "payments": CLOSED}

    def test_a_stricter_budget_in_the_settings_closes_until_it_is_chosen_anew(self, desk: Desk) -> None:
        before = self.opened(desk)
        stricter = replace(BUDGET, share=0.03)
        assert desk.in_force(stricter).thresholds == ()
        assert desk.in_force(replace(BUDGET, share=0.06)).thresholds[0].max_risk == before


class TestWhichItemsCount:
    def test_an_open_item_in_time_holds_back_those_after_it(self, desk: Desk) -> None:
        desk.judged(100, open_ones=1)
        desk.judged(50, seed=8)
        model = desk.choose()
        assert model.judged + model.fitted_on < 150
        assert model.waiting == 150 - model.judged - model.fitted_on

    def test_an_overdue_item_counts_as_wrong(self, desk: Desk) -> None:
        desk.judged(100, wrong_above=1.0, open_ones=5)
        desk.clock.turn(3 * 24 * 3600)
        model = desk.choose()
        assert model.judged + model.fitted_on == 98  # the last step before 100
        assert (model.waiting, model.counted_wrong > 0) == (2, True)

    def test_items_count_in_steps_that_are_fixed_beforehand(self) -> None:
        sizes = [step(items) for items in range(5_000)]
        assert all(size <= items and size > items / 1.1 - 1 for items, size in enumerate(sizes))
        assert sizes == sorted(sizes)
        assert sizes[:4] == [0, 1, 2, 3]

    def test_items_that_a_rule_sends_to_people_are_never_approved_but_counted(self, desk: Desk) -> None:
        desk.judged(300, wrong_above=1.0)
        desk.judged(300, wrong_above=1.0, scenario="legal", seed=9)
        figures = desk.choose().choice.overall
        assert figures.coverage == pytest.approx(0.5, abs=0.08)


class TestTerms:
    def test_each_scenario_has_a_threshold_of_its_own_and_items_without_one_have_none(self, desk: Desk) -> None:
        desk.judged(500, scenario="payments")
        desk.judged(500, scenario="cards", wrong_above=0.3, seed=10)
        desk.judged(100, seed=11)
        choice = desk.choose(replace(BUDGET, per="scenario")).choice
        bounds = {each.scenario: each.max_risk for each in choice.thresholds}
        assert bounds["cards"] < bounds["payments"]
        assert set(bounds) == {"cards", "payments"}

    def test_costly_errors_lower_the_threshold(self, desk: Desk) -> None:
        desk.judged(1_500)
        cheap, dear = desk.choose(), desk.choose(replace(BUDGET, costs=Costs({"billing": 5.0})))
        assert dear.choice.overall.coverage < cheap.choice.overall.coverage

    def test_of_the_approved_promises_the_other_figure(self, desk: Desk) -> None:
        desk.judged(1_500, wrong_above=0.7)
        figures = desk.choose(replace(BUDGET, of="approved")).choice.overall
        assert figures.error_at_most is not None
        assert figures.error_at_most <= 0.05

    def test_a_threshold_set_by_hand_is_measured_and_promised_by_nobody(self, desk: Desk) -> None:
        desk.judged(300)
        plan = replace(PLAN, tiers=(TierBound("auto", 0.2), *PLAN.tiers[1:]))
        result = show(desk.ports(plan), whole(BudgetPolicy()))
        assert (result.by, result.hand_set) == ("hand", 0.2)
        assert result.models[0].choice.overall.approved > 0

    def test_by_hand_a_calibration_that_lets_through_less_is_in_force_at_once(self, desk: Desk) -> None:
        desk.judged(400, wrong_above=0.9)
        plan = replace(PLAN, tiers=(TierBound("auto", 0.2), *PLAN.tiers[1:]))
        before = desk.choose(BudgetPolicy(), plan)
        assert before.did == "chosen"
        assert desk.in_force(BudgetPolicy()).calibrations == {"m1": before.calibration}
        after = desk.choose(BudgetPolicy(), plan)
        assert after.did == "nothing"
        assert after.choice.overall.approved < before.choice.overall.approved


class TestSigningOff:
    def test_it_takes_a_reason_and_something_that_waits(self, desk: Desk) -> None:
        with pytest.raises(UsageError, match="wait"):
            approve(desk.store.thresholds(), desk.clock, by="approver.dee", reason="because")
        desk.judged(400)
        desk.choose()
        with pytest.raises(UsageError, match="reason"):
            approve(desk.store.thresholds(), desk.clock, by="approver.dee", reason=" ")

    def test_it_takes_the_token_of_an_approver_that_is_in_force(self, desk: Desk) -> None:
        tokens = SqlAccessTokens(desk.store.engine)
        dee = make_token(tokens, desk.clock, "approver.dee", by="Ana").token
        prometheus = make_token(tokens, desk.clock, "prometheus", by="Ana").token
        assert approver(tokens, desk.clock, dee) == "approver.dee"
        for token in (None, "hitlb_wrong", prometheus):
            with pytest.raises(RefusedForSafety):
                approver(tokens, desk.clock, token)
        revoke_token(tokens, desk.clock, "approver.dee", by="Ana")
        with pytest.raises(RefusedForSafety):
            approver(tokens, desk.clock, dee)


class TestInAWorkspace:
    def test_a_cycle_chooses_where_the_budget_decides_and_only_when_something_was_judged(self, tmp_path: Path) -> None:
        by_budget = POLICY.replace("{max_risk: 0.1}", "{max_risk: budget}").replace("uniform: 0.0", "uniform: 0.02")
        policy = by_budget.replace("tiers:", "triage: {error_budget: 0.05, confidence: 0.9}\ntiers:", 1)
        bench = Bench(without_git(tmp_path / "workspace", policy))
        with bench.bridge as bridge, bench.opened() as other:
            Desk(bridge.store, bench.clock).judged(400)
            kept = bridge.keep_thresholds()
            assert kept is not None
            assert kept.models[0].did == "proposed"
            assert bridge.keep_thresholds() is None
            assert other.policy.plan.thresholds == ()
            approve(bridge.store.thresholds(), bench.clock, by="approver.dee", reason="I looked")
            bench.clock.turn(3)
            assert other.policy.plan.thresholds == kept.models[0].choice.thresholds
            assert other.policy.plan.policy_version != other.settings.plan.policy_version

    def test_where_the_threshold_was_set_by_hand_a_cycle_chooses_nothing(self, bench: Bench) -> None:
        assert bench.bridge.keep_thresholds() is None
