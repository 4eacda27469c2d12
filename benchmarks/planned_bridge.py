"""One run of `benchmarks/plan.py` through the whole bridge: files, store, review tasks (in memory), answers, decisions, plan.

A month of work is done in minutes: the clock is turned by hand, and what reviewers would do in Label Studio they do in the
twin of it that the tests use. All else is the bridge as it is.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from report import Report

from hitl_bridge.adapters.memory import InMemoryLabeling
from hitl_bridge.bootstrap import Bridge, make_workspace, open_bridge
from hitl_bridge.core.model import ADJUDICATION, Item, ItemState, Purpose, ReviewTask, TaskState
from hitl_bridge.core.planning.forecast import Range
from hitl_bridge.core.task_types.controls import LABEL, RATIONALE
from hitl_bridge.services.keeping.init import InitRequest
from hitl_bridge.services.policy.plan import PlanWish

DAYS, A_DAY, NEXT, BATCHES = 10, 500, 250, 8
ERRS, KEEPS_THE_MODEL_S = 0.05, 0.5
MEDIAN_SECONDS = (20.0, 40.0)
"""Of an answer: with one reviewer an item, and where two answer or an adjudicator settles."""

BETWEEN = 60.0
"""Seconds from one answer to the next, of all people together."""

ANA, BEN, DEE = "ana@example.com", "ben@example.com", "dee@example.com"

POLICY = """\
task: text-classification
labels: {labels}
tiers:
  auto: {{max_risk: {auto}}}
  quick: {{max_risk: 0.4, reviewers: 1, sla: 4h}}
  comprehensive: {{reviewers: 2, sla: 24h, consensus: unanimous}}
audit: {{rate: 0.05, uniform: 0.02, sla: 48h}}
expertise:
  - {{name: general, reviewers: [{ana}, {ben}], adjudicators: [{dee}]}}
"""


@dataclass(frozen=True, slots=True)
class Said:
    """A query that was scored: what the model says of it, how sure it is, and what is right."""

    text: str
    says: str
    sure: float
    right: str


class _Clock:
    """Turned by hand."""

    def __init__(self) -> None:
        self.at = datetime(2026, 11, 2, 8, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@dataclass
class _Workplace:
    """A workspace and its two reviewers and one adjudicator."""

    root: Path
    labels: Sequence[str]
    chance: np.random.Generator
    labeling: InMemoryLabeling = field(default_factory=InMemoryLabeling)
    clock: _Clock = field(default_factory=_Clock)
    said: dict[str, Said] = field(default_factory=dict)
    answers: int = 0
    waited: timedelta = timedelta()

    def make(self) -> None:
        make_workspace(InitRequest(target=self.root, task="text-classification", labels=tuple(self.labels)))
        (self.root / "hitl.yaml").write_text(self.policy(0.10), encoding="utf-8")
        (self.root / "wider.yaml").write_text(self.policy(0.25), encoding="utf-8")

    def policy(self, auto: float) -> str:
        return POLICY.format(labels=json.dumps(list(self.labels)), auto=auto, ana=ANA, ben=BEN, dee=DEE)

    def opened(self) -> Bridge:
        return open_bridge(self.root, labeling=self.labeling, clock=self.clock)

    def day(self, bridge: Bridge, name: str, came: Sequence[Said]) -> None:
        """Predictions come in, people answer, and all of it is settled."""
        rows = {f"{name}-{at}": each for at, each in enumerate(came)}
        self.said |= rows
        file = self.root / ".hitl" / f"{name}.jsonl"
        file.write_text("".join(json.dumps(_row(item_id, each)) + "\n" for item_id, each in rows.items()), encoding="utf-8")
        bridge.ingest(str(file))
        for _ in range(2):  # the first round, and what goes on to the adjudicator
            bridge.push()
            self._answer(bridge)
            bridge.pull()
            bridge.resolve()
        self._wait(timedelta(days=1) - self.waited % timedelta(days=1))
        self.clock.sleep(86_400)

    def _answer(self, bridge: Bridge) -> None:
        open_items = {(each.item_id, each.revision): each for each in bridge.store.items_in(ItemState.PUSHED)}
        for task in bridge.store.tasks_in(TaskState.LIVE):
            item = open_items.get((task.item_id, task.revision))
            if item is not None and item.round == task.round:
                self._answer_task(task, item)

    def _answer_task(self, task: ReviewTask, item: Item) -> None:
        assert task.task_id is not None
        settles = task.project_key.tier == ADJUDICATION
        people = [DEE] if settles else [ANA, BEN][: item.route.reviewers]
        for person in people:
            label = self.said[item.item_id].right if settles else self._says(item)
            seconds = float(self.chance.lognormal(np.log(MEDIAN_SECONDS[item.route.reviewers > 1 or settles]), 0.6))
            self.labeling.answer(task.task_id, person, {LABEL: (label,), RATIONALE: ("as it says",)}, lead_time=seconds)
            self._wait(timedelta(seconds=BETWEEN))
            self.answers += 1

    def _wait(self, span: timedelta) -> None:
        """On the labeling service's clock, which says when an answer was given."""
        self.labeling.turn_clock(span)
        self.waited += span

    def _says(self, item: Item) -> str:
        """A reviewer who errs leaves what the page shows, or chooses anything."""
        query = self.said[item.item_id]
        if self.chance.random() >= ERRS:
            return query.right
        if item.triage.purpose is Purpose.REVIEW and self.chance.random() < KEEPS_THE_MODEL_S:
            return query.says
        return str(self.chance.choice(self.labels))


def _row(item_id: str, said: Said) -> Mapping[str, Any]:
    return {
        "item_id": item_id,
        "input": {"text": f"{item_id}: {said.text}"},
        "prediction": {"label": said.says},
        "confidence": round(said.sure, 9),
        "model_version": "m1",
    }


def whole_bridge(report: Report, labels: Sequence[str], traffic: Sequence[Said]) -> None:
    """Adds the figures of one run: what plan says of the next items, and what comes."""
    chance = np.random.default_rng(79)
    with tempfile.TemporaryDirectory(prefix="hitl-plan-") as folder:
        place = _Workplace(Path(folder) / "workspace", labels, chance)
        place.make()
        with place.opened() as bridge:
            for day in range(DAYS):
                place.day(bridge, f"day{day}", _drawn(traffic, A_DAY, chance))
            plan = bridge.plan(place.root / "wider.yaml", PlanWish(items=NEXT))
            came = [_next(place, bridge, f"next{number}", _drawn(traffic, NEXT, chance)) for number in range(BATCHES)]
    today, wider = plan.policies
    add = report.add
    add("bridge_recorded", "through the whole bridge: items recorded", plan.recorded.predictions)
    for name, says, found, at in (("reviews", "reviews", today.reviews, 0), ("escaped", "errors let through", today.escaped, 1)):
        counts = [each[at] for each in came]
        add(f"bridge_{name}_planned", f"{says} of the next {NEXT}, as planned", _told(found))
        add(f"bridge_{name}", f"… as {BATCHES} batches came", " · ".join(map(str, counts)))
        held = sum(found is not None and found.low <= count <= found.high for count in counts)
        add(f"bridge_{name}_in_range", "… of these in the range", held)
    add("bridge_wider_reviews_planned", "reviews with the wider policy, as planned", _told(wider.reviews))
    add("bridge_wider_escaped_planned", "errors with it, as planned", _told(wider.escaped))


def _next(place: _Workplace, bridge: Bridge, name: str, batch: Sequence[Said]) -> tuple[int, int]:
    """How many answers a batch asked, and how many wrong predictions of it nobody saw."""
    before = place.answers
    place.day(bridge, name, batch)
    seen = {item.item_id for item in bridge.store.items_in(*ItemState)}
    coming = {item_id: each for item_id, each in place.said.items() if item_id.startswith(f"{name}-")}
    return place.answers - before, sum(each.says != each.right for item_id, each in coming.items() if item_id not in seen)


def _drawn(traffic: Sequence[Said], number: int, chance: np.random.Generator) -> list[Said]:
    return [traffic[at] for at in chance.integers(len(traffic), size=number)]


def _told(found: Range | None) -> str:
    return "can't be known" if found is None else f"{found.expected:.1f} ({found.low:.0f} to {found.high:.0f})"
