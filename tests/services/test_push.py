"""Queued items become tasks: each once, whatever happens on the way."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from hitl_bridge.core.model import NONE_OF_THESE, ItemId, Project, ProjectKey, PushKey, ReviewTask, TaskState
from hitl_bridge.core.sync import ROLL_OVER, push_key
from hitl_bridge.errors import AccessRefused, LabelingUnavailable
from hitl_bridge.ports import PushOutcome, TaskContent
from hitl_bridge.services.sync.sending import FIRST_SENT, SETTLE_TIME, STEP
from tests.services.bench import AUTO, BEN, COMPREHENSIVE, POLICY, QUICK, Bench, BreakableLabeling, Watch, row, without_git


def key_of(bench: Bench, item_id: str) -> PushKey:
    return push_key(bench.bridge.settings.workspace_key, bench.item(item_id))


def test_each_queued_item_becomes_one_task_in_the_project_of_its_pool_and_tier(bench: Bench) -> None:
    bench.ingest(row("q"), row("c", COMPREHENSIVE), row("a", AUTO))
    result = bench.bridge.push()
    assert (result.created, result.already_there, result.rejected, result.pending) == (3, 0, 0, 0)
    assert result.projects == {"general · quick · due in 4 h": 2, "general · comprehensive · due in 24 h": 1}
    assert {task.state for task in bench.tasks()} == {TaskState.LIVE}
    assert [bench.state(item_id) for item_id in "qca"] == ["pushed"] * 3


def test_pushing_twice_makes_no_second_task(bench: Bench) -> None:
    bench.pushed(row("q"), row("c", COMPREHENSIVE))
    before, requests = bench.database(), bench.labeling.requests_made
    bench.clock.turn(3600)
    again = bench.bridge.push()
    assert (again.created, again.already_there) == (0, 2)
    assert (bench.database(), bench.labeling.requests_made) == (before, requests)
    assert len(bench.labeling.tasks()) == 2


def test_new_items_join_the_project_that_is_there(bench: Bench) -> None:
    bench.pushed(row("one"))
    bench.pushed(row("two"))
    assert len(bench.bridge.store.projects()) == 1
    assert len(bench.labeling.tasks()) == 2


@pytest.mark.catalogue("A1")
def test_a_lost_reply_leaves_tasks_unclear_and_they_are_looked_up_and_none_is_doubled(bench: Bench) -> None:
    bench.ingest(*(row(f"t-{number}") for number in range(5)))
    bench.labeling.lose_next_reply()
    first = bench.bridge.push()
    assert (first.created, first.pending) == (0, 5)
    assert {task.state for task in bench.tasks()} == {TaskState.UNKNOWN}
    again = bench.bridge.push()
    assert (again.created, again.already_there, again.pending) == (0, 5, 0)
    assert {task.state for task in bench.tasks()} == {TaskState.LIVE}
    assert len(bench.labeling.tasks()) == len(set(bench.labeling.tasks())) == 5


@pytest.mark.catalogue("A1")
def test_a_connection_that_breaks_after_the_tasks_were_made_leads_to_no_double(bench: Bench) -> None:
    bench.ingest(row("t-1"), row("t-2"))
    bench.labeling.breaks = True
    with pytest.raises(LabelingUnavailable):
        bench.bridge.push()
    assert {task.state for task in bench.tasks()} == {TaskState.UNKNOWN}
    assert bench.bridge.push().already_there == 2
    assert len(bench.labeling.tasks()) == 2


@pytest.mark.catalogue("A2")
def test_a_crash_after_sending_is_repaired_by_another_process_without_a_double(bench: Bench) -> None:
    bench.ingest(row("t-1"), row("t-2"))
    bench.labeling.lose_next_reply()
    bench.bridge.push()
    bench.bridge.close()
    with bench.opened() as restarted:
        restarted.push()
        assert len(restarted.store.tasks_in(TaskState.LIVE)) == 2
    assert len(bench.labeling.tasks()) == 2


@pytest.mark.catalogue("A2")
def test_what_never_arrived_is_sent_again_but_only_after_the_server_had_time_to_finish(bench: Bench) -> None:
    bench.ingest(row("t-1"))
    unclear = bench.bridge.store
    unclear.intend([task := _promise(bench, "t-1")])
    unclear.mark_unknown([task.push_key], bench.clock.now())  # the process died here, with the request on its way
    assert bench.bridge.push().pending == 1
    bench.clock.turn(SETTLE_TIME.total_seconds() - 1)
    assert bench.bridge.push().pending == 1
    assert bench.labeling.tasks() == []
    bench.clock.turn(1)
    assert bench.bridge.push().created == 1
    assert bench.labeling.tasks() == [task.push_key]


def _promise(bench: Bench, item_id: str) -> ReviewTask:
    item = bench.item(item_id)
    return ReviewTask(key_of(bench, item_id), item.item_id, 1, 1, 0, ProjectKey("general", "quick"))


@pytest.mark.catalogue("A3")
def test_while_the_labeling_service_is_away_nothing_is_sent_and_nothing_is_lost(bench: Bench) -> None:
    bench.ingest(row("t-1"))
    bench.labeling.fail_next()
    with pytest.raises(LabelingUnavailable):
        bench.bridge.push()
    assert (bench.tasks(), bench.state("t-1")) == ([], "queued")
    assert bench.bridge.push().created == 1


def test_a_refused_token_stops_the_push_and_the_items_stay_queued(bench: Bench) -> None:
    bench.ingest(row("t-1"))
    bench.labeling.fail_next(AccessRefused("The token was revoked."))
    with pytest.raises(AccessRefused):
        bench.bridge.push()
    assert bench.state("t-1") == "queued"


@pytest.mark.catalogue("A5")
def test_a_refused_task_is_quarantined_with_the_reason_and_the_rest_goes_in(bench: Bench) -> None:
    bench.ingest(row("good-1"), row("bad"), row("good-2"))
    bench.labeling.refused[key_of(bench, "bad")] = "the text is too long"
    result = bench.bridge.push()
    assert (result.created, result.rejected) == (2, 1)
    assert (bench.state("bad"), bench.state("good-1")) == ("quarantined", "pushed")
    (problem,) = bench.bridge.status().problems
    assert (problem["item_id"], problem["reason"]) == ("bad", "the text is too long")
    assert bench.bridge.push().created == 0


def test_a_full_project_is_rolled_over_to_a_second_part(bench: Bench) -> None:
    store = bench.bridge.store
    bench.pushed(row("first"))
    _fill_up(bench, ROLL_OVER - 2)
    bench.ingest(row("last"), row("over"))
    assert bench.bridge.push().projects == {"general · quick · due in 4 h": 1, "general · quick (2) · due in 4 h": 1}
    assert sorted(project.key.part for project in store.projects()) == [1, 2]


def _fill_up(bench: Bench, seats: int) -> None:
    """As if the one item had so many reviewers more: far quicker than so many items, and than so many calls."""
    changed = {"push_key": "'k' || seat_number", "seat": "seat_number", "task_id": "1000 + seat_number"}
    with closing(sqlite3.connect(bench.root / ".hitl" / "bridge.db")) as connection, connection:
        columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(review_tasks)")]
        connection.execute(
            "WITH RECURSIVE seats(seat_number) AS"  # noqa: S608
            f" (SELECT 1 UNION ALL SELECT seat_number + 1 FROM seats WHERE seat_number < {seats})"
            f" INSERT INTO review_tasks ({', '.join(columns)})"
            f" SELECT {', '.join(changed.get(name, name) for name in columns)} FROM review_tasks, seats"
        )


def test_a_task_promised_before_keeps_its_project(bench: Bench) -> None:
    bench.ingest(row("t-1"))
    bench.labeling.lose_next_reply()
    bench.bridge.push()
    (promised,) = bench.tasks()
    bench.ingest(row("t-0"), row("t-2"))
    bench.bridge.push()
    assert next(task for task in bench.tasks() if task.item_id == "t-1").project_key == promised.project_key


def test_more_items_than_go_into_a_request_all_arrive_and_progress_is_told(bench: Bench) -> None:
    many = FIRST_SENT + 3
    bench.ingest(*(row(f"t-{number}") for number in range(many)))
    told: list[tuple[int, int]] = []
    assert bench.bridge.push(progress=lambda done, total: told.append((done, total))).created == many
    assert told == [(FIRST_SENT, many), (many, many)]


def test_a_page_begins_with_the_model_s_answer_and_says_why_it_is_here(bench: Bench) -> None:
    bench.pushed(row("t-1", QUICK, attributes={"amount": 12.5}))
    page = bench.labeling.page(bench.task_id("t-1"))
    data, prediction = page["data"], page["prediction"]
    assert isinstance(data, dict)
    assert isinstance(prediction, dict)
    assert data["text"] == "the words of t-1"
    assert "refund, 70 % sure" in str(data["model_says"])
    assert "amount 12.5" in str(data["why"])
    assert "refund" in str(prediction["result"])


def test_a_blind_task_shows_no_prediction_and_looks_like_the_others(bench: Bench) -> None:
    bench.pushed(row("audit", AUTO), row("ordinary", QUICK))
    audit, ordinary = (bench.labeling.page(bench.task_id(item_id)) for item_id in ("audit", "ordinary"))
    assert isinstance(audit["data"], dict)
    assert isinstance(ordinary["data"], dict)
    assert isinstance(audit["prediction"], dict)
    assert (audit["prediction"]["result"], "score" in audit["prediction"]) == ([], True)
    assert "refund" not in str(audit["data"]["model_says"])
    assert audit["data"].keys() == ordinary["data"].keys()
    tasks = {task.item_id: task.project_key for task in bench.tasks()}
    assert tasks[ItemId("audit")] == tasks[ItemId("ordinary")]


def test_a_uniform_item_is_blind_too(tmp_path: Path) -> None:
    bench = Bench(without_git(tmp_path / "workspace", POLICY.replace("uniform: 0.0", "uniform: 1.0")))
    bench.pushed(row("t-1", COMPREHENSIVE))
    prediction = bench.labeling.page(bench.task_id("t-1"))["prediction"]
    assert isinstance(prediction, dict)
    assert prediction["result"] == []


def test_a_dry_run_says_what_would_be_created_and_calls_nobody(bench: Bench) -> None:
    bench.ingest(row("q"), row("c", COMPREHENSIVE))
    before = bench.database()
    foretold = bench.bridge.push(dry_run=True)
    assert (bench.database(), bench.labeling.requests_made) == (before, 0)
    assert foretold == bench.bridge.push()


def test_none_of_these_is_an_answer_on_every_page(bench: Bench) -> None:
    bench.pushed(row("q"))
    bench.answer("q", BEN, NONE_OF_THESE)
    bench.brought_back()
    assert bench.decision("q").outcome.value == "rejected"


class NeverArriving(BreakableLabeling):
    """The first request is waited for in vain, until long after it was sent."""

    clock: Watch
    waits = True

    def create_tasks(self, project: Project, tasks: Sequence[TaskContent]) -> PushOutcome:
        if not self.waits:
            return super().create_tasks(project, tasks)
        self.waits = False
        self.clock.turn(2 * SETTLE_TIME.total_seconds())
        return PushOutcome(unknown=tuple(task.push_key for task in tasks), reason="it did not answer")


@pytest.mark.catalogue("A1", "B13")
def test_the_pause_before_sending_again_counts_from_when_the_outcome_became_unclear(tmp_path: Path) -> None:
    bench = Bench(without_git(tmp_path / "workspace"), NeverArriving())
    assert isinstance(bench.labeling, NeverArriving)
    bench.labeling.clock = bench.clock
    bench.ingest(row("t-1"))
    assert bench.bridge.push().pending == 1
    assert bench.bridge.push().pending == 1
    bench.clock.turn(SETTLE_TIME.total_seconds())
    assert bench.bridge.push().created == 1


@pytest.mark.catalogue("A3", "B13")
def test_after_an_unclear_outcome_nothing_more_is_sent_to_that_project(bench: Bench) -> None:
    bench.ingest(*(row(f"t-{number:04}") for number in range(FIRST_SENT + 2)))
    bench.labeling.lose_next_reply()
    result = bench.bridge.push()
    assert (result.created, result.pending, len(bench.tasks(TaskState.INTENDED))) == (0, FIRST_SENT, 2)
    assert bench.bridge.store.deaths(STEP) == {}
    again = bench.bridge.push()
    assert (again.created, again.already_there, again.pending) == (2, FIRST_SENT, 0)
    assert len(set(bench.labeling.tasks())) == len(bench.labeling.tasks()) == FIRST_SENT + 2


class ShutInBetween(BreakableLabeling):
    """Takes the first request and lets nobody in afterwards."""

    taken = 0

    def create_tasks(self, project: Project, tasks: Sequence[TaskContent]) -> PushOutcome:
        self.taken += 1
        if self.taken == 2:
            raise AccessRefused("403")
        return super().create_tasks(project, tasks)


@pytest.mark.catalogue("A3")
def test_what_arrived_before_the_door_was_shut_is_confirmed_and_nobody_died_of_the_rest(tmp_path: Path) -> None:
    bench = Bench(without_git(tmp_path / "workspace"), ShutInBetween())
    bench.ingest(*(row(f"t-{number:04}") for number in range(FIRST_SENT + 2)))
    with pytest.raises(AccessRefused):
        bench.bridge.push()
    assert (len(bench.tasks(TaskState.LIVE)), len(bench.tasks(TaskState.UNKNOWN))) == (FIRST_SENT, 2)
    assert bench.bridge.store.deaths(STEP) == {}


@pytest.mark.catalogue("A3")
def test_a_project_that_does_not_let_us_in_does_not_keep_the_others_waiting(bench: Bench) -> None:
    bench.ingest(row("q"), row("c", COMPREHENSIVE))
    bench.labeling.fail_next(AccessRefused("403"))
    result = bench.bridge.push()
    assert (result.created, [trouble.exit_code for trouble in result.troubles]) == (1, [4])
    assert bench.bridge.push().created == 1


@pytest.mark.catalogue("A10")
def test_a_task_that_was_sent_twice_is_left_once_when_it_is_looked_up(bench: Bench) -> None:
    bench.ingest(row("t-1"))
    bench.labeling.lose_next_reply()
    bench.bridge.push()
    (task,) = bench.labeling.find_tasks(bench.bridge.store.projects()[0], [key_of(bench, "t-1")])
    bench.labeling.double(task.task_id)
    assert len(bench.labeling.tasks()) == 2
    assert bench.bridge.push().already_there == 1
    assert len(bench.labeling.tasks()) == 1
    assert "double_deleted" in str(bench.bridge.trace("t-1")["events"])


@pytest.mark.catalogue("B11")
def test_a_label_config_that_somebody_changed_is_left_alone_until_it_is_to_be_put_back(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    project = bench.bridge.store.projects()[0]
    theirs = bench.bridge.label_config("quick").replace("billing", "invoices")
    bench.labeling.relabel(project.project_id, theirs)
    bench.ingest(row("t-2"))
    before = bench.database()
    (trouble,) = bench.bridge.push().troubles
    assert (trouble.exit_code, bench.state("t-2"), "--restore-label-config" in trouble.remedy) == (4, "queued", True)
    assert bench.labeling.look(project).label_config_sha256 != project.label_config_sha256
    assert [line for line in before if "projects" in line] == [line for line in bench.database() if "projects" in line]
    result = bench.bridge.push(restore_label_config=True)
    assert (result.restored, result.created, result.troubles) == (1, 1, ())
    assert bench.labeling.look(project).label_config_sha256 == project.label_config_sha256
    assert bench.bridge.push(restore_label_config=True).restored == 0


@pytest.mark.catalogue("B11")
def test_a_change_of_our_own_label_config_is_brought_there_and_is_no_alarm(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    template = bench.root / "label_configs" / "text-classification.quick.xml"
    template.write_text(template.read_text("utf-8").replace("</View>", '<Header value="Take your time"/></View>', 1), "utf-8")
    assert bench.bridge.pull().troubles == ()
    bench.ingest(row("t-2"))
    assert bench.bridge.push().created == 1
    project = bench.bridge.store.projects()[0]
    assert bench.labeling.look(project).label_config_sha256 == project.label_config_sha256
    assert bench.bridge.pull().troubles == ()


def test_near_copies_are_served_apart(bench: Bench) -> None:
    copies = [
        row(f"copy {number}", 0.61 + number / 100, input={"text": f"Parcel {number} waits for you at the station, fetch it"})
        for number in range(3)
    ]
    words = {"lamp": 0.71, "sofa": 0.72, "desk": 0.73}
    others = [row(f"other {word}", sure, input={"text": f"{word} {word}s {word}ing"}) for word, sure in words.items()]
    bench.pushed(*copies, *others)
    urgency = {}
    for task in bench.tasks():
        assert task.task_id is not None
        urgency[task.item_id] = bench.labeling.page(task.task_id)["prediction"]["score"]  # type: ignore[index, call-overload]
    served = sorted(urgency, key=lambda item_id: str(urgency[item_id]))
    assert [item_id.partition(" ")[0] for item_id in served] == ["copy", "other", "other", "other", "copy", "copy"]
