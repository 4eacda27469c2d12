"""`assignment: reviewer`: a project for each reviewer, and items dealt out by skill, room and deadline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hitl_bridge.core.model import ADJUDICATION, ItemId, Project, ProjectKey, ReviewTask, TaskState
from hitl_bridge.core.sync import push_key
from hitl_bridge.core.task_types.controls import LABEL, RATIONALE
from hitl_bridge.errors import LabelingUnavailable
from hitl_bridge.ports import PushOutcome, TaskContent
from tests.services.bench import ANA, BEN, COMPREHENSIVE, DEE, POLICY, QUICK, STRANGER, Bench, BreakableLabeling, row, without_git

CY = "cy@example.com"
PERSONAL = POLICY.replace("reviewers: [ana@example.com, ben@example.com]", f"reviewers: [{ANA}, {BEN}, {CY}]") + (
    "assignment: reviewer\n"
)


class Failing(BreakableLabeling):
    """One that fails after so many calls that create tasks."""

    creates: int | None = None

    def create_tasks(self, project: Project, tasks: Sequence[TaskContent]) -> PushOutcome:
        if self.creates == 0:
            raise LabelingUnavailable("The labeling service is away.")
        self.creates = None if self.creates is None else self.creates - 1
        return super().create_tasks(project, tasks)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(without_git(tmp_path / "workspace", PERSONAL), Failing())
    yield bench
    bench.bridge.close()


def reopened(bench: Bench, policy: str) -> None:
    """With other settings, as after an edit of hitl.yaml."""
    bench.bridge.close()
    (bench.root / "hitl.yaml").write_text(policy, encoding="utf-8")
    bench.bridge = bench.opened()


def tasks_of(bench: Bench, item_id: str) -> dict[str, ReviewTask]:
    """Of its present round, by reviewer."""
    present = bench.item(item_id).round
    return {
        task.project_key.reviewer: task
        for task in bench.tasks(TaskState.LIVE)
        if task.item_id == item_id and task.round == present
    }


def answer(bench: Bench, item_id: str, reviewer: str, label: str) -> None:
    task_id = tasks_of(bench, item_id)[reviewer].task_id
    assert task_id is not None
    bench.labeling.answer(task_id, reviewer, {LABEL: (label,), RATIONALE: ("because",)})


def test_each_answer_that_is_due_is_a_task_in_the_project_of_somebody_else(bench: Bench) -> None:
    bench.pushed(row("t-1", COMPREHENSIVE))
    there = tasks_of(bench, "t-1")
    assert len(there) == 2
    assert {task.seat for task in there.values()} == {0, 1}
    assert set(there) < {ANA, BEN, CY, DEE}
    titles = {project.title for project in bench.bridge.store.projects()}
    assert all("general · " in title and "@" not in title and title.endswith("comprehensive · due in 24 h") for title in titles)
    assert bench.state("t-1") == "pushed"
    first, second = there
    answer(bench, "t-1", first, "billing")
    bench.brought_back()
    assert bench.state("t-1") == "answered"
    answer(bench, "t-1", second, "billing")
    bench.brought_back()
    assert (bench.decision("t-1").output, set(bench.decision("t-1").reviewers)) == ({"label": "billing"}, {first, second})


def test_a_dispute_goes_to_an_adjudicator_who_has_not_judged_it_and_sees_both_answers(bench: Bench) -> None:
    bench.pushed(row("t-1", COMPREHENSIVE))
    for reviewer, label in zip(tasks_of(bench, "t-1"), ("billing", "cancel"), strict=True):
        answer(bench, "t-1", reviewer, label)
    bench.brought_back()
    bench.bridge.push()
    assert bench.item("t-1").route.tier == ADJUDICATION
    ((judge, task),) = tasks_of(bench, "t-1").items()
    assert judge == DEE
    assert task.task_id is not None
    shown = str(bench.labeling.page(task.task_id))
    assert "billing" in shown
    assert "cancel" in shown
    answer(bench, "t-1", DEE, "cancel")
    bench.brought_back()
    assert bench.decision("t-1").output == {"label": "cancel"}


def test_everybody_gets_their_share_and_nothing_twice(bench: Bench) -> None:
    bench.pushed(*(row(f"t-{number}") for number in range(40)))
    given = Counter(task.project_key.reviewer for task in bench.tasks(TaskState.LIVE))
    assert sum(given.values()) == 40
    assert max(given.values()) <= 11
    before = bench.database()
    assert bench.bridge.push().created == 0
    assert bench.database() == before


def test_where_one_project_fails_the_others_are_pushed_and_the_item_waits_for_its_last_seat(bench: Bench) -> None:
    bench.ingest(row("t-1", COMPREHENSIVE))
    assert isinstance(bench.labeling, Failing)
    bench.labeling.creates = 1
    assert bench.bridge.push().troubles
    bench.labeling.creates = None
    assert bench.state("t-1") == "queued"
    (first,) = tasks_of(bench, "t-1")
    answer(bench, "t-1", first, "billing")
    bench.brought_back()
    assert bench.decided() == {}
    bench.clock.turn(61)
    bench.bridge.push()
    assert len(tasks_of(bench, "t-1")) == 2
    (second,) = set(tasks_of(bench, "t-1")) - {first}
    answer(bench, "t-1", second, "billing")
    bench.brought_back()
    assert set(bench.decision("t-1").reviewers) == {first, second}


def test_what_nobody_can_take_stays_queued_and_is_told_with_the_reason(bench: Bench) -> None:
    languages = "".join(f"  - {{email: {who}, languages: [en]}}\n" for who in (ANA, BEN, CY, DEE))
    reopened(bench, PERSONAL.replace("{amount: float}", "{language: string}") + "roster:\n" + languages)
    bench.ingest(row("t-1", attributes={"language": "fi"}), row("t-2", attributes={"language": "en"}))
    assert bench.bridge.push(dry_run=True).unassigned
    result = bench.bridge.push()
    assert [(each.key, each.reason) for each in result.unassigned] == [("t-1", "nobody of its pool may answer it")]
    assert (result.created, bench.state("t-1"), bench.state("t-2")) == (1, "queued", "pushed")


def test_who_leaves_the_roster_decides_no_more_and_their_open_items_go_to_others(bench: Bench) -> None:
    bench.pushed(*(row(f"t-{number}") for number in range(12)))
    theirs = sorted(task.item_id for task in bench.tasks(TaskState.LIVE) if task.project_key.reviewer == ANA)
    assert len(theirs) >= 2
    answer(bench, theirs[0], ANA, "refund")
    bench.brought_back()
    bench.clock.turn(3600)
    reopened(bench, PERSONAL.replace(f"{ANA}, ", ""))
    bench.brought_back()
    bench.bridge.push()
    assert bench.decision(theirs[0]).reviewers == (ANA,)
    assert ANA not in tasks_of(bench, theirs[1])
    assert bench.state(theirs[1]) == "pushed"


def test_an_answer_by_somebody_outside_the_pool_is_kept_and_does_not_decide(bench: Bench) -> None:
    bench.pushed(row("t-1", QUICK))
    ((_, task),) = tasks_of(bench, "t-1").items()
    assert task.task_id is not None
    bench.labeling.answer(task.task_id, STRANGER, {LABEL: ("billing",)})
    bench.brought_back()
    assert bench.decided() == {}
    assert [each.email for each in bench.bridge.store.people().answers_of_others({"general": {ANA}})] == [STRANGER]


def test_work_goes_to_those_who_were_right_about_its_scenario(bench: Bench) -> None:
    """ANA is right about `legal`, the others are not, as the adjudicator says each time."""
    reopened(bench, PERSONAL.replace("comprehensive: {reviewers: 2", "comprehensive: {reviewers: 3"))
    rows: list[dict[str, Any]] = [row(f"l-{number}", COMPREHENSIVE, scenario="legal") for number in range(12)]
    bench.pushed(*rows)
    for each in rows:
        for reviewer in tasks_of(bench, each["item_id"]):
            answer(bench, each["item_id"], reviewer, "billing" if reviewer in (ANA, DEE) else "refund")
    bench.brought_back()
    bench.bridge.push()
    for each in rows:
        for reviewer in tasks_of(bench, each["item_id"]):
            if bench.item(each["item_id"]).route.tier == ADJUDICATION:
                answer(bench, each["item_id"], reviewer, "billing")
    bench.brought_back()
    bench.pushed(row("new", scenario="legal"))
    assert set(tasks_of(bench, "new")) <= {ANA, DEE}


def test_the_name_of_a_personal_project_tells_pool_and_person_apart() -> None:
    key = ProjectKey.personal("payments", ANA, "quick")
    assert (key.team, key.reviewer, key.tier) == ("payments", ANA, "quick")
    assert ProjectKey("payments", "quick").reviewer == ""


def test_each_seat_has_a_key_of_its_own(bench: Bench) -> None:
    bench.ingest(row("t-1"))
    item = bench.item("t-1")
    assert len({push_key(b"k", item, seat) for seat in range(3)}) == 3


def test_where_people_disagree_somebody_who_has_not_answered_is_asked_before_an_adjudicator(tmp_path: Path) -> None:
    four = PERSONAL.replace(f"{CY}]", f"{CY}, eve@example.com]").replace("{reviewers: 2,", "{reviewers: 2, max_reviewers: 3,")
    bench = Bench(without_git(tmp_path / "more", four.replace("unanimous", "majority")))
    bench.pushed(row("t-1", COMPREHENSIVE))
    first = tasks_of(bench, "t-1")
    for reviewer, label in zip(first, ("billing", "cancel"), strict=True):
        answer(bench, "t-1", reviewer, label)
    bench.brought_back()
    bench.bridge.push()
    second = tasks_of(bench, "t-1")
    assert second
    assert not set(second) & set(first)
    answer(bench, "t-1", next(iter(second)), "cancel")
    bench.brought_back()
    assert bench.decision("t-1").output == {"label": "cancel"}
    bench.bridge.close()


def test_an_item_with_a_known_answer_goes_to_somebody_who_may_be_good_at_it(bench: Bench) -> None:
    bench.bridge.store.agreement().record_gold({ItemId("g-1"): {"label": "refund"}}, "Dee", bench.clock.now())
    bench.pushed(row("g-1", scenario="legal"))
    ((reviewer, _),) = tasks_of(bench, "g-1").items()
    answer(bench, "g-1", reviewer, "billing")
    bench.brought_back()
    (checked,) = bench.bridge.store.people().checked_answers(10)
    assert (checked.email, checked.said, checked.decided) == (reviewer, {"label": "billing"}, {"label": "refund"})
    bench.bridge.store.agreement().record_gold({ItemId("g-2"): {"label": "refund"}}, "Dee", bench.clock.now())
    bench.pushed(row("g-2", scenario="legal"))
    assert reviewer not in tasks_of(bench, "g-2")
