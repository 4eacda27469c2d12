"""Exit codes: 0 done · 1 done, with problems listed · 2 wrong use · 3 try again · 4 refused for safety."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import responses

from tests.cli.conftest import Run
from tests.services.bench import POLICY, clean_environment, row, write_rows

EVERYWHERE = re.compile(r"http://127\.0\.0\.1:9/.*")


def server_says(status: int) -> None:
    for method in (responses.GET, responses.POST):
        responses.add(method, EVERYWHERE, status=status, json={"detail": "no"})


def test_0_what_could_be_done_was_done(run: Run, workspace: Path) -> None:
    assert run("ingest", "in.jsonl").code == 0
    assert run("status").code == 0


def test_1_bad_rows_are_listed_and_the_good_ones_go_on(run: Run, workspace: Path) -> None:
    write_rows(workspace / "mixed.jsonl", [row("good"), '{"broken', row("odd", prediction={"label": "nonsense"})])
    ran = run("ingest", "mixed.jsonl", "--json")
    assert ran.code == 1
    assert (ran.json["accepted"], [problem["row"] for problem in ran.json["problems"]]) == (1, [2, 3])
    table = run("ingest", "mixed.jsonl")
    assert table.code == 1
    assert "unknown label 'nonsense'" in table.out


def test_2_outside_of_a_workspace(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run("status")
    assert (ran.code, ran.explains_itself()) == (2, True)
    assert "hitl-bridge init" in ran.err
    assert run("-C", tmp_path / "nowhere", "status").code == 2


def test_2_an_item_that_nobody_knows(run: Run, workspace: Path) -> None:
    ran = run("trace", "t-404")
    assert (ran.code, ran.explains_itself()) == (2, True)
    assert "t-404" in ran.err


def test_2_a_file_that_is_not_there(run: Run, workspace: Path) -> None:
    ran = run("ingest", "nowhere.jsonl")
    assert (ran.code, ran.explains_itself()) == (2, True)
    assert "nowhere.jsonl" in ran.err


def test_2_an_option_or_command_that_does_not_exist(run: Run, workspace: Path) -> None:
    assert run("push", "--fast").code == 2
    assert run("fly").code == 2


def test_2_every_mistake_in_the_settings_is_told_at_once_with_its_line(run: Run, workspace: Path) -> None:
    (workspace / "hitl.yaml").write_text(POLICY.replace("max_risk: 0.4", "max_risk: 4").replace("sla: 24h", "sla: soon"))
    ran = run("status")
    assert (ran.code, ran.explains_itself()) == (2, True)
    assert "2 problems" in ran.err
    assert "line 7" in ran.err
    assert "line 8" in ran.err


@responses.activate
def test_3_the_server_is_down_and_the_items_stay_queued(run: Run, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HITL_LABEL_STUDIO_TOKEN", "s3cr3t-token")
    run("ingest", "in.jsonl")
    ran = run("push")  # nothing is registered: no server answers
    assert (ran.code, ran.explains_itself()) == (3, True)
    assert "s3cr3t-token" not in ran.err + ran.out
    assert run("status", "--json").json["items"] == {"queued": 2}


def test_3_a_store_that_is_no_database(run: Run, workspace: Path) -> None:
    (workspace / ".hitl" / "bridge.db").write_bytes(b"This is no database, but it is long enough to look like one." * 50)
    ran = run("status")
    assert (ran.code, ran.explains_itself()) == (3, True)
    assert "bridge.db" in ran.err


@responses.activate
def test_4_a_wrong_token_is_a_person_s_business(run: Run, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HITL_LABEL_STUDIO_TOKEN", "s3cr3t-token")
    server_says(401)
    run("ingest", "in.jsonl")
    ran = run("push")
    assert (ran.code, ran.explains_itself()) == (4, True)
    assert "s3cr3t-token" not in ran.err + ran.out


def test_4_without_a_token_it_says_where_one_comes_from(run: Run, workspace: Path) -> None:
    run("ingest", "in.jsonl")
    ran = run("push")
    assert (ran.code, ran.explains_itself()) == (4, True)
    assert "HITL_LABEL_STUDIO_TOKEN" in ran.err


def test_4_a_token_that_others_can_read_is_not_used(run: Run, workspace: Path) -> None:
    token = workspace / ".hitl" / "label-studio" / "token"
    token.parent.mkdir()
    token.write_text("s3cr3t-token")
    token.chmod(0o644)
    ran = run("status")
    assert (ran.code in (2, 4), ran.explains_itself(), "s3cr3t-token" in ran.err) == (True, True, False)


def test_the_process_itself_ends_with_the_code(workspace: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "hitl_bridge", "trace", "t-404"],
        cwd=workspace,
        env=clean_environment(),
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stdout, "Traceback" in ended.stderr) == (2, "", False)
