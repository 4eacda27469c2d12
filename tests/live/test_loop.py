"""The whole loop as a user runs it: the command line, git, DVC, and a Label Studio of the workspace's own.

One workspace lives through the file, in stages that later tests build on: `pushed` → `committed` → `revised`.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from hitl_bridge.adapters.label_studio.local_server import LocalServer
from hitl_bridge.core.task_types.controls import LABEL, RATIONALE
from hitl_bridge.settings import cache_dir
from tests.live.command_line import CommandLine
from tests.live.conftest import PASSWORD, LiveLabelStudio, LiveReviewers, free_port
from tests.live.loop_workspace import (
    ANA,
    ARRIVED,
    BEN,
    DEE,
    MEANT,
    POOLS,
    WORDS,
    Task,
    Workspace,
    another,
    data_hashes,
    eventually,
    more_predictions,
    write_policy_and_base_data,
    write_rows,
)

pytestmark = pytest.mark.live

# ------------------------------------------------------------------------------------------------ the stages


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """Made by `init`, with a Label Studio of its own, base data under DVC and a first model in use."""
    home = tmp_path_factory.mktemp("loop")
    root, port = home / "inbox", free_port()
    server = LocalServer(root / ".hitl" / "label-studio", cache=cache_dir(), port=port)
    url = f"http://127.0.0.1:{port}"
    labels = ("--labels", ",".join(WORDS))
    made = CommandLine(home).told("init", str(root), "--task", "text-classification", *labels, "--url", url)
    assert "hitl.yaml" in made["created"]
    (root / ".hitl" / "workspace.key").write_text("5eed" * 16, encoding="ascii")  # the same draws in every run
    shell = CommandLine(root)
    try:
        shell.said("label-studio", "start")
        shell.said("label-studio", "reviewer", DEE)
        for reviewer in (ANA, BEN):
            server.reviewer_account(reviewer, PASSWORD)
        tokens = {reviewer: server.reviewer_token(reviewer) for reviewer in (ANA, BEN, DEE)}
        studio = LiveLabelStudio(server, url, server.service_account().token, tokens)
        write_policy_and_base_data(shell, url, home / "remote")
        yield Workspace(shell, server, studio, LiveReviewers(studio))
    finally:
        server.stop()


@dataclass
class Pushed:
    """The first predictions, in Label Studio."""

    workspace: Workspace
    retrained: Mapping[str, Any]
    promoted: Mapping[str, Any]
    ingested: Mapping[str, Any]
    pushed: Mapping[str, Any]
    predictions: Path


@pytest.fixture(scope="module")
def pushed(workspace: Workspace) -> Pushed:
    shell = workspace.shell
    inputs = write_rows(shell.root / ".hitl" / "inputs.jsonl", ARRIVED, without="output")
    predictions = shell.root / ".hitl" / "predictions.jsonl"
    retrained = shell.told("retrain")
    token = shell.told("token", "new", "approver.dee")["token"]
    approved = replace(shell, variables={**shell.variables, "HITL_APPROVER_TOKEN": token})
    promoted = approved.told("promote", "--reason", "The first one")
    assert shell.told("predict", str(inputs), "--out", str(predictions))["predictions"] == len(ARRIVED)
    return Pushed(workspace, retrained, promoted, shell.told("ingest", str(predictions)), shell.told("push"), predictions)


@dataclass
class Committed:
    """The first dataset version, after reviewers disagreed, edited, skipped, and contradicted the model."""

    workspace: Workspace
    disputed: str
    skipped: str
    edited: str
    overturned: str
    against_the_model: int
    resolved: Mapping[str, Any]
    adjudicated: Mapping[str, Any]
    version: Mapping[str, Any]
    changes: str
    hashes: Mapping[str, str]


@pytest.fixture(scope="module")
def committed(pushed: Pushed) -> Committed:
    workspace, shell = pushed.workspace, pushed.workspace.shell
    seen = [task for task in workspace.tasks() if not task.blind]
    disputed, skipped = [task for task in seen if task.tier == "comprehensive"][:2]
    edited = next(task for task in seen if task.tier == "quick")
    overturned = next(task for task in workspace.tasks() if task.purpose == "audit")
    blind = [task for task in workspace.tasks() if task.purpose != "review" and task.item_id != overturned.item_id]

    workspace.answer(disputed, ANA, MEANT[disputed.item_id])
    workspace.answer(disputed, BEN, another(MEANT[disputed.item_id]))
    workspace.people.skip(skipped.task_id, ANA)
    first = workspace.answer(edited, ANA, another(MEANT[edited.item_id]))
    workspace.people.revise(edited.project, first, ANA, {LABEL: (MEANT[edited.item_id],), RATIONALE: ("On second thoughts.",)})
    workspace.answer(overturned, BEN, another(overturned.label))
    workspace.everybody_answers(ANA, BEN)
    shell.told("pull")
    resolved = shell.told("resolve")
    adjudicated = shell.told("push")
    workspace.everybody_answers(DEE)
    shell.told("pull")
    shell.told("resolve")
    version = shell.told("commit")
    changes = shell.git("status", "--porcelain")
    return Committed(
        workspace,
        disputed=disputed.item_id,
        skipped=skipped.item_id,
        edited=edited.item_id,
        overturned=overturned.item_id,
        against_the_model=1 + sum(task.label != MEANT[task.item_id] for task in blind),
        resolved=resolved,
        adjudicated=adjudicated,
        version=version,
        changes=changes,
        hashes=workspace.hashes(),
    )


@dataclass
class Revised:
    """The second version: an answer changed, one deleted and one given after the first; and the model trained on it."""

    workspace: Workspace
    deleted: str
    cycle: Mapping[str, Any]
    retrained: Mapping[str, Any]
    hashes: Mapping[str, str]


@pytest.fixture(scope="module")
def revised(committed: Committed) -> Revised:
    workspace, shell = committed.workspace, committed.workspace.shell
    answers = {task["data"]["bridge_key"]: task["annotations"] for task in workspace.remote()}
    edited = workspace.task(committed.edited)
    adjudicated = {task.item_id for task in workspace.tasks() if task.round > 1}
    plain = [task for task in workspace.tasks() if task.tier == "quick" and task.item_id not in adjudicated]
    deleted = next(task for task in plain if task != edited)
    (answer,) = answers[edited.push_key]
    changed = {LABEL: (another(MEANT[edited.item_id]),), RATIONALE: ("I was right at first.",)}
    workspace.people.revise(edited.project, answer["id"], ANA, changed)
    workspace.people.delete_annotation(answers[deleted.push_key][0]["id"])
    workspace.answer(workspace.task(committed.skipped), ANA, MEANT[committed.skipped])
    cycle = shell.told("sync")
    hashes = workspace.hashes()
    return Revised(workspace, deleted.item_id, cycle, shell.told("retrain"), hashes)


# ------------------------------------------------------------------------------------------------- the tests


def test_a_new_workspace_with_a_started_label_studio_has_nothing_wrong_with_it(workspace: Workspace) -> None:
    report = workspace.shell.said("doctor")
    assert report.splitlines()
    assert all(line.startswith("✓") for line in report.splitlines()), report
    assert workspace.shell.installed("doctor").out == report, "the forks of the other tests say what the program says"
    assert workspace.shell.told("init")["created"] == []


def test_the_first_model_is_promoted_on_the_word_of_the_gate_and_a_person(pushed: Pushed) -> None:
    assert pushed.retrained["verdict"] == "promote", pushed.retrained["reasons"]
    assert pushed.promoted["champion"] == pushed.retrained["candidate"]
    assert (pushed.promoted["by"], pushed.promoted["method"]) == ("approver.dee", "token")
    assert "Ada Operator" in str(pushed.promoted["trained_by"])
    assert not pushed.promoted["overridden"]


def test_every_prediction_gets_the_tier_that_the_policy_names(pushed: Pushed) -> None:
    assert (pushed.ingested["accepted"], pushed.ingested["problems"]) == (40, [])
    assert pushed.ingested["tiers"] == {"comprehensive": 10, "quick": 10, "auto": 20}
    purposes = Counter(task.purpose for task in pushed.workspace.tasks() if task.round == 1)
    assert purposes["audit"] == pushed.ingested["audits"] > 0
    assert purposes["uniform"] > 0
    places = pushed.workspace.rows("SELECT pool, tier FROM projects WHERE tier <> 'adjudication'")
    assert {pool for pool, _ in places} == set(POOLS)
    assert {tier for _, tier in places} == {"quick", "comprehensive"}


def test_label_studio_holds_one_task_a_seat_with_the_predicted_label_filled_in(pushed: Pushed) -> None:
    remote = {task["data"]["bridge_key"]: task for task in pushed.workspace.remote()}
    tasks = pushed.workspace.tasks()
    said = [json.loads(line) for line in pushed.predictions.read_text("utf-8").splitlines()]
    texts = {row["item_id"]: row["input"]["text"] for row in said}
    labels = {row["item_id"]: row["prediction"]["label"] for row in said}
    firsts = [task for task in tasks if task.round == 1]
    assert len(firsts) == pushed.pushed["created"]
    assert {task.push_key for task in tasks} == remote.keys()
    assert len(remote) == len(pushed.workspace.remote()) == len({(task.item_id, task.round) for task in tasks})
    for task in firsts:
        there = remote[task.push_key]
        (prediction,) = there["predictions"]
        shown = [] if task.blind else [labels[task.item_id]]
        assert [choice for region in prediction["result"] for choice in region["value"]["choices"]] == shown
        assert 0 < prediction["score"] < 1
        assert there["data"]["text"] == texts[task.item_id]
        assert there["data"]["why"]
        assert str(labels[task.item_id]) not in str(there["data"]["model_says"]) or not task.blind


def test_doing_the_first_half_again_changes_nothing(pushed: Pushed) -> None:
    before = pushed.workspace.counts()
    again = pushed.workspace.shell.told("ingest", str(pushed.predictions))
    created = pushed.workspace.shell.told("push")
    assert (again["accepted"], again["duplicates"]) == (0, 40)
    assert (created["created"], created["already_there"]) == (0, before["tasks"])
    assert pushed.workspace.counts() == before


def test_disputes_and_overturned_audits_go_to_the_adjudicator_and_a_skip_is_no_answer(committed: Committed) -> None:
    assert (committed.resolved["disputed"], committed.resolved["escalated"]) == (1, committed.against_the_model)
    assert committed.resolved["incomplete"] == 1
    assert committed.adjudicated["created"] == 1 + committed.against_the_model
    assert all("adjudication" in title for title in committed.adjudicated["projects"])
    settled = dict(committed.workspace.rows("SELECT item_id, state FROM items"))
    assert (settled[committed.disputed], settled[committed.overturned]) == ("committed", "committed")


def test_a_commit_leaves_the_repository_clean(committed: Committed) -> None:
    assert committed.version["tag"] == "decisions@v0.1.0"
    assert committed.version["added"] == len({task.item_id for task in committed.workspace.tasks()}) - 1
    assert committed.changes == ""


def test_a_disputed_items_life_is_told_from_prediction_to_the_models_trained_on_it(
    committed: Committed, revised: Revised
) -> None:
    life = committed.workspace.shell.told("trace", committed.disputed)
    assert [task["tier"] for task in life["tasks"]] == ["comprehensive", "adjudication"]
    assert {answer["reviewer"] for answer in life["annotations"]} == {ANA, BEN, DEE}
    (decision,) = life["decisions"]
    assert decision["output"] == {"label": MEANT[committed.disputed]}
    assert life["versions"] == ["v0.1.0"]
    assert revised.retrained["candidate"] in [model["model_version"] for model in life["models"]]
    assert life["receipts"][0]["tier"] == "comprehensive"


def test_answers_changed_deleted_and_given_later_make_the_next_version(revised: Revised, committed: Committed) -> None:
    commit = revised.cycle["commit"]
    assert (commit["added"], commit["changed"], commit["removed"]) == (1, 1, 1)
    states = dict(revised.workspace.rows("SELECT item_id, state FROM items"))
    assert states[committed.skipped] == "committed"
    assert states[revised.deleted] == "pushed"
    status = revised.workspace.shell.told("status")
    assert status["dataset_version"] == commit["version"]
    assert status["champion"] is not None
    assert status["audits"]["overturned"] <= 1
    assert status["candidate"]["candidate"] == revised.retrained["candidate"]


def test_doing_the_second_half_again_changes_nothing(revised: Revised) -> None:
    shell, before = revised.workspace.shell, revised.workspace.counts()
    assert shell.told("pull")["revisions"] == 0
    assert shell.told("resolve")["decisions"] == 0
    assert shell.told("commit")["version"] is None
    assert shell.told("retrain")["ran"] is False
    assert revised.workspace.counts() == before
    assert shell.git("status", "--porcelain") == ""


def test_a_clone_gets_every_version_back_from_the_dvc_remote(committed: Committed, revised: Revised, tmp_path: Path) -> None:
    shell = revised.workspace.shell
    shell.dvc("push", "--quiet", "--all-tags")
    CommandLine(tmp_path).git("clone", "--quiet", str(shell.root), "clone")
    clone = CommandLine(tmp_path / "clone")
    for tag, hashes in ((committed.version["tag"], committed.hashes), (revised.cycle["commit"]["tag"], revised.hashes)):
        clone.git("checkout", "--quiet", tag)
        clone.dvc("pull", "--quiet")
        assert data_hashes(clone.root) == hashes
    assert len(revised.hashes) == 4


def test_a_killed_label_studio_is_told_and_the_same_command_goes_on_when_it_is_back(revised: Revised, tmp_path: Path) -> None:
    workspace, shell = revised.workspace, revised.workspace.shell
    shell.said("ingest", str(more_predictions(tmp_path, "killed", 3)))
    pid = workspace.server.status().pid
    assert pid is not None
    psutil.Process(pid).kill()
    said = shell.bridge("push")
    assert said.code == 3
    assert workspace.studio.url in said.err
    assert "Traceback" not in said.err
    assert shell.told("status")["items"]["queued"] == 3
    workspace.server.start()
    assert shell.told("push")["created"] == 3
    assert len(workspace.remote()) == len(workspace.tasks())


def test_a_wrong_token_is_refused_with_the_way_out(revised: Revised) -> None:
    forged = revised.workspace.studio.token[:-6] + "abcdef"
    said = revised.workspace.shell.bridge("pull", HITL_LABEL_STUDIO_TOKEN=forged)
    assert said.code == 4
    assert "HITL_LABEL_STUDIO_TOKEN" in said.err
    assert forged not in said.err


def test_the_daemon_outlives_label_studio_and_ends_when_it_is_asked_to(revised: Revised, tmp_path: Path) -> None:
    workspace, log = revised.workspace, tmp_path / "daemon.log"

    def heard(event: str) -> int:
        return log.read_text("utf-8").count(f'"{event}"')

    daemon = workspace.shell.start("daemon", "--every", "1", log=log)
    try:
        eventually("a first cycle", lambda: heard("daemon.cycle") > 0)
        workspace.server.stop()
        eventually("an outage noticed", lambda: heard("daemon.outside_away") > 0)
        workspace.shell.said("ingest", str(more_predictions(tmp_path, "daemon", 2)))
        workspace.server.start()
        eventually("new tasks pushed after the outage", lambda: len(new_tasks(workspace, "daemon")) == 2)
        for task in new_tasks(workspace, "daemon"):
            workspace.answer(task, ANA, task.label)
        eventually("a version with their answers", lambda: committed_items(workspace, "daemon") == 2)
        assert daemon.poll() is None
        assert ends_on(signal.SIGTERM, daemon) == 0
        assert heard("daemon.outside_back") == 1
        assert heard("daemon.stopped") == 1
        assert workspace.studio.token not in log.read_text("utf-8")
    finally:
        daemon.kill()


def new_tasks(workspace: Workspace, name: str) -> list[Task]:
    live = {key for (key,) in workspace.rows("SELECT push_key FROM review_tasks WHERE state = 'live'")}
    return [task for task in workspace.tasks() if task.item_id.startswith(name) and task.push_key in live]


def committed_items(workspace: Workspace, name: str) -> int:
    return len(workspace.rows(f"SELECT 1 FROM items WHERE state = 'committed' AND item_id LIKE '{name} %'"))  # noqa: S608


def ends_on(number: signal.Signals, process: subprocess.Popen[bytes]) -> int:
    """The exit code; within ten seconds."""
    process.send_signal(number)
    return process.wait(10.0)
