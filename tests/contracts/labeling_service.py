"""What every labeling service must do: run on the twin in memory and on a real Label Studio."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import pytest

from hitl_bridge.adapters.label_studio.pages import find_template, render_label_config
from hitl_bridge.core.model import JSON, NONE_OF_THESE, AnnotationId, Project, ProjectKey, PushKey, TaskId
from hitl_bridge.core.task_types import Controls
from hitl_bridge.core.task_types.controls import ANOTHER_LABEL, LABEL, OTHER_LABEL, RATIONALE
from hitl_bridge.errors import ProjectChanged, RemoteGone
from hitl_bridge.ports import LabelingService, ProjectLook, ProjectPlan, RemoteTask, RemoteTaskState, TaskContent

LABELS = ("refund", "billing", "cancel")
MANY_LABELS = tuple(f"intent {number:02d}" for number in range(77))
HOSTILE = '</text><script>alert(1)</script> "quoted" $why \u202e 🧾\n\tlast line'
LABEL_CONFIGS = Path(__file__).parents[2] / "label_configs"
ANA, BEN = "ana@example.com", "ben@example.com"


class Reviewers(Protocol):
    """What people do in the labeling service."""

    def answer(
        self, project: Project, task_id: TaskId, reviewer: str, controls: Controls, *, lead_time: float | None = 8.0
    ) -> AnnotationId: ...

    def skip(self, task_id: TaskId, reviewer: str) -> AnnotationId: ...
    def revise(self, project: Project, annotation_id: AnnotationId, reviewer: str, controls: Controls) -> None: ...
    def delete_annotation(self, annotation_id: AnnotationId) -> None: ...
    def annotate_in_bulk(self, project: Project, reviewer: str) -> None: ...
    def delete_task(self, task_id: TaskId) -> None: ...
    def describe(self, project: Project, description: str) -> None: ...
    def delete_project(self, project: Project) -> None: ...
    def relabel(self, project: Project, label_config: str) -> None: ...
    def begin_draft(self, project: Project, task_id: TaskId, reviewer: str) -> None: ...


def a_plan(
    tier: str = "quick",
    *,
    labels: Sequence[str] = LABELS,
    title: str = "Quick · general · 4 due today",
    rationale_required: bool = False,
    overlap: int = 1,
) -> ProjectPlan:
    template = find_template(LABEL_CONFIGS, "text-classification", tier, otherwise="comprehensive")
    checklist = ("I read the whole message",) if tier == "comprehensive" else ()
    config = render_label_config(template, labels, checklist, rationale_required)
    return ProjectPlan(ProjectKey(f"pool {uuid4()}", tier), title, config, "Choose what they <want>.", overlap)


def a_task(key: str, *, label: str | None = "refund", candidates: tuple[str, ...] = (), **fields: JSON) -> TaskContent:
    shown: Mapping[str, JSON] = {"text": f"the text of {key}", "why": "Low margin.", "model_says": "refund (51 %)", **fields}
    prefill: Controls = {} if label is None else {LABEL: (label,)}
    return TaskContent(PushKey(key), shown, prefill, priority=0.4, candidates=candidates)


def states_of(service: LabelingService, project: Project, cursor: str | None = None) -> dict[PushKey, RemoteTaskState]:
    """The latest state of each task by key."""
    return {state.push_key: state for state in service.changed_since(project, cursor)}


class LabelingServiceContract:
    """Subclasses give the fixtures `service` and `reviewers`."""

    @pytest.fixture
    def plan(self) -> ProjectPlan:
        return a_plan()

    @pytest.fixture
    def project(self, service: LabelingService, reviewers: Reviewers, plan: ProjectPlan) -> Iterator[Project]:
        kept = service.keep_project(plan, None)
        yield kept
        with suppress(RemoteGone):
            reviewers.delete_project(kept)

    def pushed(self, service: LabelingService, project: Project, *contents: TaskContent) -> dict[str, TaskId]:
        outcome = service.create_tasks(project, contents)
        assert len(outcome.created) == len(contents), outcome
        return {task.push_key: task.task_id for task in outcome.created}

    def test_a_project_is_made_once_and_found_again_under_another_title(
        self, service: LabelingService, project: Project, plan: ProjectPlan
    ) -> None:
        retitled = ProjectPlan(plan.key, "Quick · general · nothing due", plan.label_config, plan.instructions, plan.overlap)
        again = service.keep_project(retitled, None)
        assert (again.project_id, again.title) == (project.project_id, retitled.title)
        assert again.label_config_sha256 == project.label_config_sha256
        assert str(project.project_id) in project.url

    def test_a_known_project_stays_the_one_whatever_people_made_of_its_description(
        self, service: LabelingService, reviewers: Reviewers, project: Project, plan: ProjectPlan
    ) -> None:
        reviewers.describe(project, "Nicer than what stood here")
        assert service.keep_project(plan, project).project_id == project.project_id
        assert service.keep_project(plan, None).project_id == project.project_id  # its mark is back

    def test_a_known_project_that_is_gone_is_not_silently_replaced(
        self, service: LabelingService, reviewers: Reviewers, project: Project, plan: ProjectPlan
    ) -> None:
        reviewers.delete_project(project)
        with pytest.raises(RemoteGone, match=str(project.project_id)) as gone:
            service.keep_project(plan, project)
        assert "push --replace-gone" in gone.value.remedy
        replacement = service.keep_project(plan, None)
        reviewers.delete_project(replacement)
        assert replacement.project_id != project.project_id

    def test_at_a_glance_a_project_shows_its_tasks_and_its_label_config(
        self, service: LabelingService, reviewers: Reviewers, project: Project
    ) -> None:
        assert service.look(project) == ProjectLook(0, project.label_config_sha256)
        tasks = self.pushed(service, project, a_task("k1"), a_task("k2"), a_task("k3"))
        reviewers.answer(project, tasks["k1"], ANA, {LABEL: ("billing",)})
        reviewers.delete_task(tasks["k2"])
        assert service.look(project).tasks == 2

    def test_created_tasks_are_found_by_their_keys_and_no_others(self, service: LabelingService, project: Project) -> None:
        outcome = service.create_tasks(project, [a_task("k1"), a_task("k2"), a_task("k3 100%25")])
        found = service.find_tasks(project, [PushKey("k1"), PushKey("k3 100%25"), PushKey("absent")])
        assert {replace(task, created_at=None) for task in found} == {task for task in outcome.created if task.push_key != "k2"}
        assert all(task.created_at for task in found)
        assert not outcome.refused
        assert not outcome.unknown

    def test_tasks_that_do_not_fit_are_refused_with_a_reason_and_the_rest_goes_in(
        self, service: LabelingService, project: Project
    ) -> None:
        unknown_label, no_text, not_unicode = a_task("bad label", label="nonsense"), a_task("no text"), a_task("surrogate")
        no_text = TaskContent(no_text.push_key, {"why": ""}, {}, 0.1)
        not_unicode = TaskContent(not_unicode.push_key, {"text": "\ud800"}, {}, 0.1)
        no_score = TaskContent(PushKey("no score"), {"text": "x"}, {}, float("nan"))
        tasks = [a_task("good 1"), unknown_label, no_text, not_unicode, no_score, a_task("good 2")]
        outcome = service.create_tasks(project, tasks)
        assert [task.push_key for task in outcome.created] == ["good 1", "good 2"]
        assert {refusal.push_key for refusal in outcome.refused} == {"bad label", "no text", "surrogate", "no score"}
        assert all(refusal.reason for refusal in outcome.refused)
        assert "$text" in next(refusal.reason for refusal in outcome.refused if refusal.push_key == "no text")

    def test_hostile_text_is_stored_and_comes_back_as_an_answer(
        self, service: LabelingService, reviewers: Reviewers, project: Project
    ) -> None:
        tasks = self.pushed(service, project, a_task("h", text=HOSTILE, why=HOSTILE, answers=[{"Answer": HOSTILE}]))
        reviewers.answer(project, tasks["h"], ANA, {LABEL: ("billing",), RATIONALE: (HOSTILE,)})
        (given,) = states_of(service, project)[PushKey("h")].annotations
        assert given.problem is None
        assert given.controls[RATIONALE] == (HOSTILE,)

    def test_an_answer_comes_back_with_its_reviewer_and_its_controls(
        self, service: LabelingService, reviewers: Reviewers, project: Project
    ) -> None:
        tasks = self.pushed(service, project, a_task("k"), a_task("blind", label=None))
        reviewers.answer(project, tasks["k"], ANA, {LABEL: ("billing",), RATIONALE: ("it asks what for",)}, lead_time=7.5)
        reviewers.answer(project, tasks["blind"], BEN, {LABEL: (NONE_OF_THESE,)})
        states = states_of(service, project)
        (given,) = states[PushKey("k")].annotations
        assert (given.completed_by, given.updated_by, given.was_cancelled, given.problem) == (ANA, ANA, False, None)
        assert given.controls == {LABEL: ("billing",), RATIONALE: ("it asks what for",)}
        assert given.lead_time == 7.5
        assert given.result
        assert states[PushKey("blind")].annotations[0].controls == {LABEL: (NONE_OF_THESE,)}

    def test_a_change_by_somebody_else_names_both(self, service: LabelingService, reviewers: Reviewers, project: Project) -> None:
        tasks = self.pushed(service, project, a_task("k"))
        given = reviewers.answer(project, tasks["k"], ANA, {LABEL: ("billing",)})
        before = states_of(service, project)[PushKey("k")]
        reviewers.revise(project, given, BEN, {LABEL: ("cancel",)})
        (after,) = states_of(service, project, before.updated_at)[PushKey("k")].annotations
        assert (after.completed_by, after.updated_by) == (ANA, BEN)
        assert after.created_at == before.annotations[0].created_at
        assert after.updated_at > before.annotations[0].updated_at
        assert after.controls == {LABEL: ("cancel",)}

    def test_a_skip_says_nothing(self, service: LabelingService, reviewers: Reviewers, project: Project) -> None:
        tasks = self.pushed(service, project, a_task("k"))
        reviewers.skip(tasks["k"], ANA)
        (skipped,) = states_of(service, project)[PushKey("k")].annotations
        assert (skipped.was_cancelled, skipped.controls, skipped.problem) == (True, {}, None)

    def test_a_task_whose_only_annotation_was_deleted_comes_back_with_none(
        self, service: LabelingService, reviewers: Reviewers, project: Project
    ) -> None:
        tasks = self.pushed(service, project, a_task("k"))
        given = reviewers.answer(project, tasks["k"], ANA, {LABEL: ("billing",)})
        cursor = states_of(service, project)[PushKey("k")].updated_at
        reviewers.delete_annotation(given)
        assert states_of(service, project, cursor)[PushKey("k")].annotations == ()
        assert states_of(service, project) == {}

    def test_answers_that_cannot_be_believed_say_why_and_the_others_are_read(
        self, service: LabelingService, reviewers: Reviewers
    ) -> None:
        project = service.keep_project(a_plan("comprehensive", rationale_required=True, overlap=2), None)
        tasks = self.pushed(service, project, *(a_task(key) for key in ("two labels", "no reason", "no label", "fine")))
        why = ("because",)
        reviewers.answer(project, tasks["two labels"], ANA, {LABEL: ("billing", "cancel"), RATIONALE: why})
        reviewers.answer(project, tasks["no reason"], ANA, {LABEL: ("billing",), RATIONALE: ("  ",)})
        reviewers.answer(project, tasks["no label"], ANA, {RATIONALE: why})
        reviewers.answer(project, tasks["fine"], ANA, {LABEL: ("billing",), RATIONALE: why, "reviewer_confidence": (4,)})
        problems = {key: state.annotations[0].problem for key, state in states_of(service, project).items()}
        reviewers.delete_project(project)
        assert problems.pop(PushKey("fine")) is None
        assert problems.pop(PushKey("no reason")) is None  # what a tier asks for beside the answer is checked by `settle`
        assert all(problems.values())
        assert "'label' is required" in str(problems[PushKey("no label")])

    def test_an_answer_outside_the_labels_does_not_echo_what_was_written(
        self, service: LabelingService, reviewers: Reviewers, project: Project
    ) -> None:
        tasks = self.pushed(service, project, a_task("k"))
        reviewers.answer(project, tasks["k"], ANA, {LABEL: ("a secret",)})
        problem = states_of(service, project)[PushKey("k")].annotations[0].problem
        assert problem
        assert "a secret" not in problem

    def test_annotations_made_from_predictions_in_bulk_are_nobody_s_answer(
        self, service: LabelingService, reviewers: Reviewers, project: Project
    ) -> None:
        self.pushed(service, project, a_task("k"), a_task("blind", label=None))
        reviewers.annotate_in_bulk(project, ANA)
        for state in states_of(service, project).values():
            assert "in bulk" in str(state.annotations[0].problem)

    def test_a_label_found_by_search_is_read_and_one_that_was_not_found_is_a_problem(
        self, service: LabelingService, reviewers: Reviewers
    ) -> None:
        project = service.keep_project(a_plan(labels=MANY_LABELS), None)
        offered = MANY_LABELS[:5]
        contents = [a_task(key, label=MANY_LABELS[0], candidates=offered) for key in ("top", "search", "nothing found")]
        tasks = self.pushed(service, project, *contents, a_task("outside", label=MANY_LABELS[60], candidates=offered))
        reviewers.answer(project, tasks["top"], ANA, {LABEL: (MANY_LABELS[1],)})
        reviewers.answer(project, tasks["search"], ANA, {LABEL: (ANOTHER_LABEL,), OTHER_LABEL: (MANY_LABELS[40],)})
        reviewers.answer(project, tasks["nothing found"], ANA, {LABEL: (ANOTHER_LABEL,)})
        states = states_of(service, project)
        reviewers.delete_project(project)
        assert states[PushKey("top")].annotations[0].problem is None
        assert states[PushKey("search")].annotations[0].problem is None
        assert states[PushKey("search")].annotations[0].controls[OTHER_LABEL] == (MANY_LABELS[40],)
        assert "other_label" in str(states[PushKey("nothing found")].annotations[0].problem)

    def test_changes_come_oldest_first_and_those_since_the_cursor_are_all_there(
        self, service: LabelingService, reviewers: Reviewers, project: Project
    ) -> None:
        tasks = self.pushed(service, project, *(a_task(f"k{number}") for number in range(6)))
        for key in ("k3", "k1", "k5"):
            reviewers.answer(project, tasks[key], ANA, {LABEL: ("billing",)})
        everything = list(service.changed_since(project, None))
        assert [state.push_key for state in everything] == ["k3", "k1", "k5"]
        reviewers.answer(project, tasks["k0"], BEN, {LABEL: ("cancel",)})
        later = states_of(service, project, everything[1].updated_at)
        assert {"k1", "k5", "k0"} <= later.keys()
        assert {"k2", "k4"}.isdisjoint(later.keys())

    def test_a_project_that_is_gone_is_never_taken_for_an_empty_one(
        self, service: LabelingService, reviewers: Reviewers, project: Project
    ) -> None:
        self.pushed(service, project, a_task("k"))
        reviewers.delete_project(project)
        with pytest.raises(RemoteGone):
            service.create_tasks(project, [a_task("new")])
        with pytest.raises(RemoteGone):
            service.find_tasks(project, [PushKey("k")])
        with pytest.raises(RemoteGone):
            list(service.changed_since(project, None))
        with pytest.raises(RemoteGone):
            service.look(project)
        with pytest.raises(RemoteGone):
            service.states_of(project, [TaskId(1)])
        with pytest.raises(RemoteGone):
            list(service.manifest(project))

    @pytest.mark.catalogue("B11")
    def test_a_label_config_that_somebody_changed_is_seen_and_only_put_back_when_told_to(
        self, service: LabelingService, reviewers: Reviewers, project: Project, plan: ProjectPlan
    ) -> None:
        reviewers.relabel(project, a_plan(labels=(*LABELS, "sneaked in")).label_config)
        assert service.look(project).label_config_sha256 != project.label_config_sha256
        with pytest.raises(ProjectChanged) as refused:
            service.keep_project(plan, project)
        assert "push --restore-label-config" in refused.value.remedy
        service.keep_project(plan, project, restore_config=True)
        assert service.look(project).label_config_sha256 == project.label_config_sha256
        ours = replace(plan, label_config=a_plan(labels=(*LABELS, "of our own")).label_config)
        kept = service.keep_project(ours, project)
        assert service.look(kept).label_config_sha256 == kept.label_config_sha256 != project.label_config_sha256

    def test_a_project_keeps_its_epoch(self, service: LabelingService, project: Project, plan: ProjectPlan) -> None:
        assert service.keep_project(plan, replace(project, epoch=3)).epoch == 3

    def test_of_a_key_that_was_sent_twice_both_tasks_are_found_with_what_is_on_them(
        self, service: LabelingService, reviewers: Reviewers, project: Project
    ) -> None:
        (first,), (second,) = (service.create_tasks(project, [a_task("k")]).created for _ in range(2))
        reviewers.skip(second.task_id, ANA)
        found = {task.task_id: task.answers for task in service.find_tasks(project, [PushKey("k")])}
        assert found == {first.task_id: 0, second.task_id: 1}

    @pytest.mark.catalogue("A1")
    def test_a_task_is_deleted_only_while_nobody_has_answered_or_begun(
        self, service: LabelingService, reviewers: Reviewers, project: Project
    ) -> None:
        tasks = self.pushed(service, project, *(a_task(key) for key in ("blank", "answered", "begun")))
        reviewers.answer(project, tasks["answered"], ANA, {LABEL: ("billing",)})
        reviewers.begin_draft(project, tasks["begun"], BEN)
        copies = {key: RemoteTask(PushKey(key), task_id) for key, task_id in tasks.items()}
        assert not service.delete_untouched(project, copies["answered"])
        assert not service.delete_untouched(project, copies["begun"])
        assert not service.delete_untouched(project, replace(copies["blank"], push_key=PushKey("another's")))
        assert service.delete_untouched(project, copies["blank"])
        assert service.delete_untouched(project, copies["blank"])  # it is gone already
        assert {task.push_key for task in service.find_tasks(project, [PushKey(key) for key in copies])} == {"answered", "begun"}

    def test_the_manifest_names_every_task_and_annotation_and_nothing_more(
        self, service: LabelingService, reviewers: Reviewers, project: Project
    ) -> None:
        tasks = self.pushed(service, project, *(a_task(f"k{number}") for number in range(4)))
        reviewers.answer(project, tasks["k1"], ANA, {LABEL: ("billing",)})
        reviewers.skip(tasks["k1"], BEN)
        reviewers.delete_task(tasks["k3"])
        state = states_of(service, project)[PushKey("k1")]
        manifest = {task.task_id: task for task in service.manifest(project)}
        assert manifest.keys() == {tasks["k0"], tasks["k1"], tasks["k2"]}
        assert manifest[tasks["k1"]].created_at == state.created_at
        shown = {(one.annotation_id, one.created_at, one.updated_at) for one in state.annotations}
        assert manifest[tasks["k1"]].versions == shown
        assert manifest[tasks["k0"]].versions == frozenset()

    def test_some_tasks_can_be_read_whole(self, service: LabelingService, reviewers: Reviewers, project: Project) -> None:
        tasks = self.pushed(service, project, a_task("k1"), a_task("k2"), a_task("k3"))
        reviewers.answer(project, tasks["k2"], ANA, {LABEL: ("billing",)})
        read = {state.push_key: state for state in service.states_of(project, [tasks["k2"], tasks["k1"], TaskId(10**9)])}
        assert read.keys() == {"k1", "k2"}
        assert read[PushKey("k1")].annotations == ()
        assert read[PushKey("k2")] == states_of(service, project)[PushKey("k2")]

    def test_a_deleted_task_is_not_found(self, service: LabelingService, reviewers: Reviewers, project: Project) -> None:
        tasks = self.pushed(service, project, a_task("k"), a_task("stays"))
        reviewers.delete_task(tasks["k"])
        assert [task.push_key for task in service.find_tasks(project, [PushKey("k"), PushKey("stays")])] == ["stays"]

    def test_a_task_has_an_address(self, service: LabelingService, project: Project) -> None:
        url = service.task_url(project, TaskId(41))
        assert url.startswith("http")
        assert url.endswith("task=41")

    def test_it_says_who_and_what_it_is(self, service: LabelingService) -> None:
        status = service.ping()
        assert status.version
        assert "@" in status.user
