"""Whatever happens in whatever order: nothing is lost, nothing is doubled.

Reviewers and the bridge take turns by chance, and the labeling service fails by chance, before or after it did what it was
asked. The commit, which needs seconds of DVC, is left out; it has tests of its own.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hitl_bridge.core.model import ADJUDICATION, AnnotationId, AnnotationState, ItemState, Project, ReviewTask, TaskState
from hitl_bridge.core.task_types.controls import LABEL, RATIONALE
from hitl_bridge.errors import LabelingUnavailable
from tests.services.bench import ANA, AUTO, BEN, COMPREHENSIVE, DEE, LABELS, QUICK, STRANGER, Bench, row, without_git

places = st.integers(min_value=0, max_value=30)
labels = st.sampled_from(LABELS)
confidences = st.sampled_from([AUTO, QUICK, COMPREHENSIVE])
_MOST_ITEMS = 6
_CALM_CYCLES = 3


class Trouble(StrEnum):
    CALL_FAILS = "a call fails and does nothing"
    REPLY_IS_LOST = "tasks are made, and that is all that is known"
    CONNECTION_BREAKS = "tasks are made, and the caller gets an error"


class ReviewsInAnyOrder(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(prefix="hitl-machine-"))
        self.bench = Bench(without_git(self.home / "workspace"))
        self.given: dict[AnnotationId, str] = {}
        self.items = 0

    def teardown(self) -> None:
        try:
            self._at_quiescence_a_cycle_changes_nothing()
        finally:
            self.bench.bridge.close()
            shutil.rmtree(self.home)

    # ------------------------------------------------------------------------------------------ the bridge

    @initialize(sure=st.lists(confidences, min_size=2, max_size=4))
    def predictions_come_in(self, sure: list[float]) -> None:
        self._ingest(sure)
        self.bench.bridge.push()

    @precondition(lambda self: self.items < _MOST_ITEMS)
    @rule(sure=confidences)
    def one_more_comes_in(self, sure: float) -> None:
        self._ingest([sure])

    @rule(seconds=st.sampled_from([1, 61]))
    def push(self, seconds: int) -> None:
        self.bench.clock.turn(seconds)
        self._unless_away(self.bench.bridge.push)

    @rule()
    def pull(self) -> None:
        self._unless_away(self.bench.bridge.pull)

    @rule()
    def a_cycle(self) -> None:
        self._cycle()

    @rule()
    def another_process_takes_over_and_settles(self) -> None:
        self.bench.bridge.close()
        self.bench.bridge = self.bench.opened()
        self.bench.bridge.resolve()

    # ------------------------------------------------------------------------------------ the labeling service

    @rule(trouble=st.sampled_from(Trouble))
    def something_will_go_wrong(self, trouble: Trouble) -> None:
        match trouble:
            case Trouble.CALL_FAILS:
                self.bench.labeling.fail_next()
            case Trouble.REPLY_IS_LOST:
                self.bench.labeling.lose_next_reply()
            case Trouble.CONNECTION_BREAKS:
                self.bench.labeling.breaks = True

    @precondition(lambda self: self._live())
    @rule(place=places, reviewer=st.sampled_from([ANA, BEN, DEE, STRANGER]), label=st.none() | labels)
    def somebody_answers_or_skips(self, place: int, reviewer: str, label: str | None) -> None:
        task = self._pick(place)
        if label is not None:
            self._answer(task, reviewer, label)
        elif task.task_id is not None:
            self.bench.labeling.skip(task.task_id, reviewer)

    @precondition(lambda self: self._live())
    @rule(place=places, said=st.lists(labels, min_size=2, max_size=2), is_settled=st.booleans())
    def all_who_should_answer_do(self, place: int, said: list[str], is_settled: bool) -> None:
        task = self._pick(place)
        people = (DEE,) if task.project_key.tier == ADJUDICATION else (ANA, BEN)
        for reviewer, label in zip(people, said, strict=False):
            self._answer(task, reviewer, label)
        if is_settled:
            self._cycle()

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
        del self.given[annotation]

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
        current = store.annotations_of([task.push_key for task in self.bench.tasks()])
        known = {each.annotation_id: each for each in current}
        marked = {review.item.item_id for review in store.open_reviews()}
        for each in store.uncommitted():
            assert each.decision.annotations
            if each.item.item_id not in marked:  # else it is about to be settled anew
                # By annotation: an edit that says the same is a newer revision and leaves the decision as it is.
                behind = [known[_annotation_id(key)] for key in each.decision.annotations]
                assert {annotation.state for annotation in behind} == {AnnotationState.ANSWER}
                assert {annotation.reviewer for annotation in behind} == set(each.decision.reviewers)
                assert STRANGER not in each.decision.reviewers

    # ----------------------------------------------------------------------------------------------- the end

    def _at_quiescence_a_cycle_changes_nothing(self) -> None:
        calm = 0
        while calm < _CALM_CYCLES:
            self.bench.clock.turn(61)
            calm += self._cycle()
        before = self.bench.database()
        self.bench.clock.turn(61)
        self._cycle()
        assert self.bench.database() == before
        self.no_task_is_there_twice()
        self.every_decision_has_its_annotations()
        self._nothing_is_lost()

    def _nothing_is_lost(self) -> None:
        assert all(task.state is TaskState.LIVE for task in self.bench.tasks())
        assert {task.push_key for task in self._live()} == set(self.bench.labeling.tasks())
        assert not self.bench.bridge.store.items_in(ItemState.QUEUED)
        keys = [task.push_key for task in self.bench.tasks()]
        stored = {(each.annotation_id, each.updated_at) for each in self.bench.bridge.store.annotations_of(keys)}
        there = self._in_the_twin()
        assert there <= stored
        behind = {_annotation_id(key) for each in self.bench.bridge.store.uncommitted() for key in each.decision.annotations}
        assert behind <= {annotation_id for annotation_id, _ in there}

    def _in_the_twin(self) -> set[tuple[AnnotationId, str]]:
        projects: list[Project] = self.bench.bridge.store.projects()
        states = [state for project in projects for state in self.bench.labeling.changed_since(project, None)]
        return {(each.annotation_id, each.updated_at) for state in states for each in state.annotations}

    def _cycle(self) -> bool:
        """Whether every step went through."""
        bridge = self.bench.bridge
        went = [self._unless_away(step) for step in (bridge.push, bridge.pull, bridge.resolve, bridge.push)]
        return all(went)

    def _ingest(self, sure: list[float]) -> None:
        self.bench.ingest(*(row(f"t-{self.items + number}", confidence) for number, confidence in enumerate(sure)))
        self.items += len(sure)

    def _answer(self, task: ReviewTask, reviewer: str, label: str) -> None:
        assert task.task_id is not None
        why = {RATIONALE: ("because",)} if task.project_key.tier == ADJUDICATION else {}
        self.given[self.bench.labeling.answer(task.task_id, reviewer, {LABEL: (label,)} | why)] = reviewer

    def _live(self) -> list[ReviewTask]:
        return self.bench.tasks(TaskState.LIVE)

    def _pick(self, place: int) -> ReviewTask:
        return self._live()[place % len(self._live())]

    def _standing(self) -> list[AnnotationId]:
        return list(self.given)

    @staticmethod
    def _unless_away(step: Callable[[], object]) -> bool:
        try:
            result = step()
        except LabelingUnavailable:
            return False
        return not getattr(result, "troubles", ())  # a project that could not be read


def _annotation_id(key: str) -> AnnotationId:
    return AnnotationId(int(key.partition("@")[0].partition("/")[2]))


ReviewsInAnyOrder.TestCase.settings = settings(
    max_examples=10, stateful_step_count=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
TestReviewsInAnyOrder = ReviewsInAnyOrder.TestCase
