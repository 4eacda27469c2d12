"""Tasks and projects that were deleted in the labeling service: nothing waits for them for ever, nothing else stops."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace

import pytest
import responses

from hitl_bridge import daemon
from hitl_bridge.adapters.clock import SystemClock
from hitl_bridge.cli.app import app
from hitl_bridge.core.model import ProjectId, ProjectKey, PushKey, TaskState
from hitl_bridge.errors import LabelingUnavailable, RefusedForSafety
from hitl_bridge.ports import TaskContent
from hitl_bridge.services.keeping.health import Vitals
from hitl_bridge.services.sync.tripwires import FEW, FULL
from tests.services.bench import ANA, COMPREHENSIVE, Bench, row

QUICK_PROJECT = ProjectKey("general", "quick")
TITLE = "general · quick · due in 4 h"


def quick_rows(count: int) -> list[dict[str, object]]:
    return [row(f"t-{number}") for number in range(count)]


def delete_tasks(bench: Bench, count: int) -> None:
    for number in range(count):
        bench.labeling.delete_task(bench.task_id(f"t-{number}"))


def two_projects(bench: Bench) -> None:
    bench.pushed(row("q"), row("c", COMPREHENSIVE))


# -------------------------------------------------------------------------------------------- deleted tasks


@pytest.mark.catalogue("B8")
def test_an_item_whose_task_was_deleted_is_asked_again(bench: Bench) -> None:
    bench.pushed(*quick_rows(3))
    delete_tasks(bench, 1)
    assert bench.bridge.pull().lost == 1
    assert (bench.state("t-0"), bench.item("t-0").round, bench.state("t-1")) == ("queued", 2, "pushed")
    assert [task.item_id for task in bench.tasks(TaskState.CLOSED)] == ["t-0"]
    assert bench.bridge.push().created == 1
    bench.answer("t-0", ANA, "cancel")
    bench.brought_back()
    assert bench.decision("t-0").output == {"label": "cancel"}
    assert "its task was deleted in Label Studio; asked again" in json.dumps(bench.bridge.trace("t-0")["events"])


def test_a_deleted_task_is_noticed_once(bench: Bench) -> None:
    bench.pushed(*quick_rows(3))
    delete_tasks(bench, 1)
    bench.bridge.pull()
    bench.bridge.push()
    before = bench.database()
    bench.clock.turn(60)
    requests = bench.labeling.requests_made
    assert bench.bridge.pull().lost == 0
    assert (bench.database(), bench.labeling.requests_made - requests) == (before, 2)


@pytest.mark.catalogue("B8")
def test_a_decision_outlives_its_task(bench: Bench) -> None:
    bench.pushed(*quick_rows(2))
    bench.answer("t-0")
    bench.brought_back()
    delete_tasks(bench, 1)
    assert bench.bridge.pull().lost == 1
    bench.bridge.resolve()
    assert (bench.decided(), bench.state("t-0")) == ({"t-0": "add"}, "decided")


def test_answers_that_came_back_before_the_task_was_deleted_are_settled_before_anybody_is_asked_again(bench: Bench) -> None:
    bench.pushed(row("t-0"), row("t-1", COMPREHENSIVE))
    bench.answer("t-0", ANA)
    bench.answer("t-1", ANA)
    bench.bridge.pull()
    delete_tasks(bench, 2)
    assert bench.bridge.pull().lost == 0
    assert bench.bridge.resolve().decisions == 1
    assert bench.bridge.pull().lost == 2
    assert (bench.state("t-0"), bench.state("t-1"), bench.item("t-1").round) == ("decided", "queued", 2)


@pytest.mark.catalogue("B9")
def test_a_project_that_is_suddenly_empty_changes_nothing_until_somebody_says_that_it_is_right(bench: Bench) -> None:
    bench.pushed(*quick_rows(FEW + 2))
    delete_tasks(bench, FEW + 1)
    before = bench.database()
    result = bench.bridge.pull()
    (trouble,) = result.troubles
    assert (result.lost, trouble.exit_code, bench.database()) == (0, 4, before)
    assert trouble.reason == f"Project '{TITLE}' lists only 1 of {FEW + 2} tasks; nothing was changed."
    assert "hitl-bridge pull --accept-lost" in trouble.remedy
    accepted = bench.bridge.pull(accept_lost=True)
    assert (accepted.lost, accepted.troubles) == (FEW + 1, ())
    assert bench.bridge.push().created == FEW + 1


@pytest.mark.catalogue("B9")
@pytest.mark.parametrize("held", [FULL, FEW])
def test_a_small_project_that_lists_nothing_is_no_less_suspicious(bench: Bench, held: int) -> None:
    bench.pushed(*quick_rows(held))
    bench.answer("t-0")
    bench.brought_back()
    delete_tasks(bench, held)
    before = bench.database()
    (trouble,) = bench.bridge.pull().troubles
    assert (trouble.exit_code, "--accept-lost" in trouble.remedy, bench.database()) == (4, True, before)
    assert bench.bridge.pull(accept_lost=True).lost == held


def test_strangers_tasks_do_not_hide_that_a_project_was_emptied(bench: Bench) -> None:
    bench.pushed(*quick_rows(FEW + 4))
    delete_tasks(bench, FEW + 2)
    project = bench.bridge.store.projects()[0]
    theirs = [TaskContent(PushKey(f"theirs-{n}"), {"text": "x", "answers": []}, {}, 0.5) for n in range(FEW)]
    bench.labeling.create_tasks(project, theirs)
    (trouble,) = bench.bridge.pull().troubles
    assert f"only 2 of {FEW + 4} tasks" in trouble.reason


def test_many_deleted_tasks_of_a_large_project_are_asked_again_without_a_question(bench: Bench) -> None:
    bench.pushed(*quick_rows(2 * FEW + 4))
    delete_tasks(bench, FEW + 2)
    assert bench.bridge.pull().lost == FEW + 2


# ------------------------------------------------------------------------------------------ one project's trouble


@pytest.mark.catalogue("B9")
def test_a_project_that_is_gone_does_not_keep_the_others_waiting(bench: Bench) -> None:
    two_projects(bench)
    bench.answer("c", ANA)
    bench.labeling.delete_project(QUICK_PROJECT)
    result = bench.bridge.pull()
    (trouble,) = result.troubles
    assert (result.revisions, trouble.project, trouble.exit_code) == (1, TITLE, 4)
    assert "push --replace-gone" in trouble.remedy
    assert bench.state("q") == "pushed"


@pytest.mark.catalogue("A3")
def test_a_project_that_does_not_answer_does_not_keep_the_others_waiting(bench: Bench) -> None:
    two_projects(bench)
    bench.answer("q", ANA)
    bench.answer("c", ANA)
    bench.labeling.fail_next()
    result = bench.bridge.pull()
    assert (result.revisions, [trouble.exit_code for trouble in result.troubles]) == (1, [3])
    assert bench.bridge.pull().revisions == 1


@pytest.mark.catalogue("A3")
def test_where_no_project_answers_the_labeling_service_is_away(bench: Bench) -> None:
    two_projects(bench)
    bench.labeling.fail_next(times=2)
    with pytest.raises(LabelingUnavailable):
        bench.bridge.pull()


def test_an_item_for_a_project_that_is_gone_stays_queued_and_the_others_are_pushed(bench: Bench) -> None:
    bench.pushed(row("q"))
    bench.labeling.delete_project(QUICK_PROJECT)
    bench.ingest(row("q-2"), row("c", COMPREHENSIVE))
    for _ in range(2):
        result = bench.bridge.push()
        assert [(trouble.project, trouble.exit_code) for trouble in result.troubles] == [(TITLE, 4)]
    assert (bench.state("q-2"), bench.state("c")) == ("queued", "pushed")


# ---------------------------------------------------------------------------------------------- --replace-gone


@pytest.mark.catalogue("B9")
def test_a_project_that_is_gone_is_replaced_and_what_was_open_in_it_is_asked_again(bench: Bench) -> None:
    bench.pushed(row("q"), row("done"), row("c", COMPREHENSIVE))
    bench.answer("done")
    bench.brought_back()
    before = {project.key: project.project_id for project in bench.bridge.store.projects()}
    bench.labeling.delete_project(QUICK_PROJECT)
    bench.ingest(row("new"))
    bench.bridge.push()  # a promise for the project that is gone
    result = bench.bridge.push(replace_gone=True)
    assert (result.replaced, result.created, result.troubles) == (1, 2, ())
    after = {project.key: project.project_id for project in bench.bridge.store.projects()}
    assert before.items() <= after.items()
    assert after.keys() - before.keys() == {replace(QUICK_PROJECT, part=2)}
    assert (bench.state("done"), bench.decided(), bench.state("c")) == ("decided", {"done": "add"}, "pushed")
    assert (bench.item("q").round, bench.item("c").round) == (2, 1)
    bench.answer("q", ANA, "billing")
    assert bench.bridge.pull().troubles == ()
    bench.bridge.resolve()
    assert bench.decision("q").output == {"label": "billing"}


def test_after_a_replacement_new_items_go_into_the_new_part_without_being_told_again(bench: Bench) -> None:
    bench.pushed(row("q"))
    bench.answer("q")
    bench.brought_back()
    bench.labeling.delete_project(QUICK_PROJECT)
    assert bench.bridge.push(replace_gone=True).replaced == 1  # although nothing is open in it
    bench.ingest(row("q-2"))
    result = bench.bridge.push()
    assert (result.created, result.troubles) == (1, ())
    assert bench.bridge.push(replace_gone=True).replaced == 0


def test_where_nothing_is_gone_nothing_is_replaced(bench: Bench) -> None:
    two_projects(bench)
    before = bench.database()
    bench.clock.turn(60)
    assert bench.bridge.push(replace_gone=True).replaced == 0
    assert bench.database() == before


def test_tasks_of_unclear_outcome_in_a_project_that_is_gone_stop_nothing_and_are_asked_again(bench: Bench) -> None:
    bench.ingest(row("q"))
    bench.labeling.lose_next_reply()
    bench.bridge.push()
    bench.labeling.delete_project(QUICK_PROJECT)
    bench.ingest(row("c", COMPREHENSIVE))
    bench.clock.turn(61)
    result = bench.bridge.push()
    assert (result.created, len(result.troubles)) == (1, 1)
    assert bench.bridge.push(replace_gone=True).created == 1
    assert bench.state("q") == "pushed"


def test_a_project_with_tasks_never_becomes_another_one_under_the_same_row(bench: Bench) -> None:
    two_projects(bench)
    store = bench.bridge.store
    mine, other = store.projects()
    with pytest.raises(RefusedForSafety):
        store.record_project(replace(mine, project_id=ProjectId(4711)))
    with pytest.raises(RefusedForSafety):
        store.record_project(replace(mine, key=replace(mine.key, part=9)))
    assert store.projects() == [mine, other]


# ----------------------------------------------------------------------------------------- how it is told


class Server:
    """What the HTTP edge shows of two projects with a task each: one is gone, the other has nothing new."""

    def __init__(self, bench: Bench) -> None:
        strict, quick = bench.bridge.store.projects()
        self.gone, self.there = quick.project_id, strict.project_id
        base = "http://127.0.0.1:9/api"
        whose = responses.matchers.query_param_matcher
        responses.add(responses.GET, f"{base}/projects/{self.gone}/", status=404, json={})
        shown = {
            "id": self.there,
            "task_number": 1,
            "title": strict.title,
            "label_config": bench.bridge.label_config("comprehensive"),
        }
        responses.add(responses.GET, f"{base}/projects/{self.there}/", json=shown)
        for project, answer in ((self.gone, {"status": 404, "json": {}}), (self.there, {"json": {"tasks": []}})):
            matches = whose({"project": str(project)}, strict_match=False)
            responses.add(responses.GET, f"{base}/tasks/", match=[matches], **answer)


def run(bench: Bench, *arguments: str) -> int:
    bench.bridge.close()
    return int(app(["-C", str(bench.root), *arguments], standalone_mode=False) or 0)


@pytest.fixture
def with_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HITL_LABEL_STUDIO_TOKEN", "a-token")


@responses.activate
@pytest.mark.usefixtures("with_token")
@pytest.mark.parametrize("command", ["pull", "sync"])
def test_the_rest_is_done_and_the_trouble_is_told_with_its_remedy_and_exit_code(
    whole_bench: Bench, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    two_projects(whole_bench)
    whole_bench.answer("c", ANA)
    Server(whole_bench)
    assert run(whole_bench, command, "--json") == 4
    said = capsys.readouterr()
    assert (TITLE in said.err, "\n→ " in said.err, "push --replace-gone" in said.err) == (True, True, True)
    result = json.loads(said.out)
    (trouble,) = (result["pull"] if command == "sync" else result)["troubles"]
    assert (trouble["project"], trouble["exit_code"]) == (TITLE, 4)


@responses.activate
@pytest.mark.usefixtures("with_token")
def test_pushing_into_a_project_that_is_gone_is_exit_code_4(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    two_projects(bench)
    bench.ingest(row("q-2"))
    Server(bench)
    assert run(bench, "push") == 4
    assert "push --replace-gone" in capsys.readouterr().err


def test_the_daemon_tells_the_trouble_of_a_project_and_goes_on(whole_bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench, log = whole_bench, ""
    two_projects(bench)
    bench.labeling.delete_project(QUICK_PROJECT)
    shared = daemon.Shared(Vitals(SystemClock()))
    thread = threading.Thread(target=daemon.run, args=(bench.bridge,), kwargs={"every": 0.05, "shared": shared})
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while shared.vitals.counts["cycle", "good"] < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        shared.stop.set()
        shared.nudges.wake()
        thread.join(timeout=60)
    log = capsys.readouterr().err
    told = next(line for line in map(json.loads, log.splitlines()) if line["action"] == "daemon.trouble")
    assert (told["level"], told["project"]) == ("error", TITLE)
    assert shared.vitals.counts["cycle", "good"] >= 2
