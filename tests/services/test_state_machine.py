"""Whatever happens in whatever order: nothing is lost, nothing is doubled.

Reviewers and the bridge take turns by chance, and the labeling service fails by chance, before or after it did what it was
asked. The commit, which needs seconds of DVC, is left out; it has tests of its own.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hitl_bridge.core.model import ADJUDICATION, AnnotationId, ItemState, Project, ReviewTask, TaskState
from hitl_bridge.core.task_types.controls import LABEL, RATIONALE
from hitl_bridge.errors import LabelingUnavailable
from tests.services.bench import ANA, AUTO, BEN, COMPREHENSIVE, DEE, LABELS, QUICK, STRANGER, Bench, row, without_git

places = st.integers(min_value=0, max_value=30)
labels = st.sampled_from(LABELS)
_QUIET_CYCLES = 6


class ReviewsInAnyOrder(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(prefix="hitl-machine-"))
        self.bench = Bench(without_git(self.home / "workspace"))
        self.given: dict[AnnotationId, str] = {}
        self.deleted: set[AnnotationId] = set()
        self.items = 0

    def teardown(self) -> None:
        try:
            self._at_quiescence_a_cycle_changes_nothing()
        finally:
            self.bench.bridge.close()
            shutil.rmtree(self.home)

    # ------------------------------------------------------------------------------------------ the bridge

    @initialize(sure=st.lists(st.sampled_from([AUTO, QUICK, COMPREHENSIVE]), min_size=1, max_size=4))
    def predictions_come_in(self, sure: list[float]) -> None:
        rows = [row(f"t-{self.items + number}", confidence) for number, confidence in enumerate(sure)]
        self.items += len(rows)
        self.bench.ingest(*rows)

    @precondition(lambda self: self.items < 8)
    @rule(sure=st.sampled_from([AUTO, QUICK, COMPREHENSIVE]))
    def one_more_comes_in(self, sure: float) -> None:
        self.predictions_come_in([sure])

    @rule()
    def push(self) -> None:
        self._unless_away(self.bench.bridge.push)

    @rule()
    def pull(self) -> None:
        self._unless_away(self.bench.bridge.pull)

    @rule()
    def resolve(self) -> None:
        self.bench.bridge.resolve()

    @rule(seconds=st.sampled_from([1, 30, 61]))
    def time_passes(self, seconds: int) -> None:
        self.bench.clock.turn(seconds)

    @rule()
    def another_process_takes_over(self) -> None:
        self.bench.bridge.close()
        self.bench.bridge = self.bench.opened()

    # ------------------------------------------------------------------------------------ the labeling service

    @rule(times=st.integers(min_value=1, max_value=2))
    def the_next_calls_fail(self, times: int) -> None:
        self.bench.labeling.fail_next(times=times)

    @rule()
    def the_next_reply_is_lost(self) -> None:
        self.bench.labeling.lose_next_reply()

    @rule()
    def the_connection_breaks_after_the_next_creation(self) -> None:
        self.bench.labeling.breaks = True

    @precondition(lambda self: self._live())
    @rule(place=places, reviewer=st.sampled_from([ANA, BEN, DEE, STRANGER]), label=labels)
    def somebody_answers(self, place: int, reviewer: str, label: str) -> None:
        task = self._pick(place)
        assert task.task_id is not None
        why = {RATIONALE: ("because",)} if task.project_key.tier == ADJUDICATION else {}
        self.given[self.bench.labeling.answer(task.task_id, reviewer, {LABEL: (label,)} | why)] = reviewer

    @precondition(lambda self: self._live())
    @rule(place=places)
    def somebody_skips(self, place: int) -> None:
        task = self._pick(place)
        assert task.task_id is not None
        self.bench.labeling.skip(task.task_id, ANA)

    @precondition(lambda self: self._standing())
    @rule(place=places, label=labels)
    def somebody_edits(self, place: int, label: str) -> None:
        annotation = self._standing()[place % len(self._standing())]
        self.bench.labeling.revise(annotation, self.given[annotation], {LABEL: (label,), RATIONALE: ("on reflection",)})

    @precondition(lambda self: self._standing())
    @rule(place=places)
    def somebody_deletes(self, place: int) -> None:
        annotation = self._standing()[place % len(self._standing())]
        self.bench.labeling.delete_annotation(annotation)
        self.deleted.add(annotation)

    # --------------------------------------------------------------------------------------- what always holds

    @invariant()
    def no_task_is_there_twice(self) -> None:
        doubled = [key for key, count in Counter(self.bench.labeling.tasks()).items() if count > 1]
        assert not doubled

    @invariant()
    def no_item_has_two_live_tasks_in_one_round_and_seat(self) -> None:
        places = Counter((task.item_id, task.revision, task.round, task.seat) for task in self._live())
        assert all(count == 1 for count in places.values())

    @invariant()
    def every_decision_has_its_annotations(self) -> None:
        store = self.bench.bridge.store
        known = {each.key: each for each in store.annotations_of([task.push_key for task in self.bench.tasks()])}
        marked = {review.item.item_id for review in store.open_reviews()}
        for each in store.uncommitted():
            assert each.decision.annotations
            if each.item.item_id not in marked:  # else it is about to be settled anew
                behind = [known[key] for key in each.decision.annotations]
                assert {annotation.reviewer for annotation in behind} == set(each.decision.reviewers)
                assert STRANGER not in each.decision.reviewers

    # ----------------------------------------------------------------------------------------------- the end

    def _at_quiescence_a_cycle_changes_nothing(self) -> None:
        for _ in range(_QUIET_CYCLES):
            self.bench.clock.turn(61)
            self._cycle()
        before = self.bench.database()
        self.bench.clock.turn(61)
        self._cycle()
        assert self.bench.database() == before
        self._nothing_is_lost()

    def _nothing_is_lost(self) -> None:
        assert all(task.state is TaskState.LIVE for task in self.bench.tasks())
        assert {task.push_key for task in self._live()} == set(self.bench.labeling.tasks())
        assert not self.bench.bridge.store.items_in(ItemState.QUEUED)
        keys = [task.push_key for task in self.bench.tasks()]
        stored = {(each.annotation_id, each.updated_at) for each in self.bench.bridge.store.annotations_of(keys)}
        assert self._in_the_twin() <= stored

    def _in_the_twin(self) -> set[tuple[AnnotationId, str]]:
        projects: list[Project] = self.bench.bridge.store.projects()
        states = [state for project in projects for state in self.bench.labeling.changed_since(project, None)]
        return {(each.annotation_id, each.updated_at) for state in states for each in state.annotations}

    def _cycle(self) -> None:
        bridge = self.bench.bridge
        for step in (bridge.push, bridge.pull, bridge.resolve, bridge.push):
            self._unless_away(step)

    def _live(self) -> list[ReviewTask]:
        return self.bench.tasks(TaskState.LIVE)

    def _pick(self, place: int) -> ReviewTask:
        return self._live()[place % len(self._live())]

    def _standing(self) -> list[AnnotationId]:
        return [annotation for annotation in self.given if annotation not in self.deleted]

    @staticmethod
    def _unless_away(step: Callable[[], object]) -> None:
        with suppress(LabelingUnavailable):
            step()


ReviewsInAnyOrder.TestCase.settings = settings(
    max_examples=10, stateful_step_count=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
TestReviewsInAnyOrder = ReviewsInAnyOrder.TestCase
