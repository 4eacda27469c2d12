"""Every command: what it prints for programs, and that a dry run does nothing."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path

import pytest

from hitl_bridge.cli.render import facts, grid
from tests.cli.conftest import Run
from tests.services.bench import AUTO, Bench, database, git, row, write_rows

KEYS = {
    "ingest": {"batch_id", "read", "accepted", "duplicates", "problems", "tiers", "audits", "uniform"},
    "push": {"created", "already_there", "rejected", "pending", "projects"},
    "pull": {"revisions", "tombstones", "quarantined", "requests"},
    "resolve": {"decisions", "disputed", "escalated", "incomplete"},
    "commit": {"version", "tag", "git_commit", "added", "changed", "removed"},
    "status": {"items", "projects", "overdue", "last_cycle", "champion", "dataset_version"},
    "sync": {"push", "pull", "resolve", "next_rounds", "commit"},
}
"""What others build on; more may be added, none may go."""


def test_every_command_prints_exactly_one_json_document_with_its_keys(
    run: Run, git_workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HITL_LABEL_STUDIO_TOKEN", "a-token")
    settings = git_workspace / "hitl.yaml"
    settings.write_text(settings.read_text().replace("rate: 1.0", "rate: 0.0"))
    write_rows(git_workspace / ".hitl" / "in.jsonl", [row("t-1", AUTO)])
    for command, keys in KEYS.items():
        arguments = [".hitl/in.jsonl"] if command == "ingest" else []
        ran = run(command, *arguments, "--json")
        assert ran.out, f"{command} said nothing but {ran.err}"
        assert (command, ran.code, keys - ran.json.keys()) == (command, 0, set())
    life = {"item_id", "receipts", "revisions", "tasks", "annotations", "decisions", "versions", "events", "models"}
    assert run("trace", "t-1", "--json").json.keys() == life
    assert {"name", "ok", "found", "remedy"} <= run("doctor", "--json").json[0].keys()
    assert run("label-studio", "status", "--json").json["state"]


def test_two_files_give_a_list_of_two_results(run: Run, workspace: Path) -> None:
    write_rows(workspace / "more.jsonl", [row("t-3")])
    ran = run("ingest", "in.jsonl", "more.jsonl", "--json")
    assert [each["accepted"] for each in ran.json] == [2, 1]


@pytest.mark.parametrize("command", ["push", "resolve"])
def test_a_dry_run_writes_nothing_and_calls_nobody(run: Run, workspace: Path, command: str) -> None:
    run("ingest", "in.jsonl")
    before = database(workspace)
    ran = run(command, "--dry-run", "--json")  # there is no token: a call would be refused
    assert (ran.code, database(workspace)) == (0, before)
    if command == "push":
        assert ran.json["created"] == 2


def test_a_dry_run_of_ingest_leaves_no_file_and_no_row(run: Run, workspace: Path) -> None:
    assert run("status").code == 0
    before, files = database(workspace), sorted((workspace / ".hitl").rglob("*"))
    ran = run("ingest", "in.jsonl", "--dry-run", "--json")
    assert (ran.json["tiers"], database(workspace)) == ({"auto": 0, "quick": 2, "comprehensive": 0}, before)
    assert [path for path in sorted((workspace / ".hitl").rglob("*")) if path.name != "bridge.lock"] == [
        path for path in files if path.name != "bridge.lock"
    ]


def test_a_dry_run_of_commit_leaves_git_alone(run: Run, git_workspace: Path) -> None:
    bench = Bench(git_workspace)
    bench.pushed(row("t-1"))
    bench.answer("t-1")
    bench.brought_back()
    bench.bridge.close()
    head = git(git_workspace, "rev-parse", "HEAD")
    ran = run("commit", "--dry-run", "--json")
    assert (ran.json["version"], ran.json["added"], ran.json["git_commit"]) == ("v0.1.0", 1, None)
    assert (git(git_workspace, "rev-parse", "HEAD"), git(git_workspace, "tag")) == (head, "")
    table = run("commit")
    assert (table.code, "decisions@v0.1.0" in table.out) == (0, True)
    assert "Nothing new to commit." in run("commit").out


def test_the_same_command_twice_changes_nothing(run: Run, workspace: Path) -> None:
    run("ingest", "in.jsonl")
    before = database(workspace)
    again = run("ingest", "in.jsonl", "--json")
    assert (again.json["accepted"], again.json["duplicates"], database(workspace)) == (0, 2, before)


def test_tables_for_people_show_text_from_data_as_it_is(run: Run, workspace: Path) -> None:
    write_rows(workspace / "odd.jsonl", [row("[red]t-1[/red]", prediction={"label": "[bold]x[/bold]"})])
    assert "[bold]x[/bold]" in run("ingest", "odd.jsonl").out


def test_the_workspace_is_found_from_a_folder_in_it(run: Run, workspace: Path) -> None:
    os.chdir(workspace / "label_configs")
    assert run("status", "--json").code == 0


def test_the_workspace_can_be_named(run: Run, workspace: Path, tmp_path: Path) -> None:
    os.chdir(tmp_path)
    assert run("-C", workspace, "status", "--json").code == 0


def test_predictions_can_come_from_standard_input(run: Run, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (workspace / "in.jsonl").open() as opened:
        monkeypatch.setattr("sys.stdin", opened)
        assert run("ingest", "-", "--json").json["accepted"] == 2


def test_help_names_every_command(run: Run) -> None:
    said = run("--help").out
    assert all(
        f" {command} " in said for command in (*KEYS, "trace", "daemon", "retrain", "promote", "predict", "doctor", "init")
    )


def test_help_shows_the_commands_in_groups_in_the_order_of_the_work(run: Run) -> None:
    said = run("--help").out
    panels = ("To begin with", "The loop", "Dataset and model", "People", "Policy and audits", "Keeping it running")
    places = [said.index(f"─ {panel} ─") for panel in panels]
    assert (places, "─ Commands ─" in said) == (sorted(places), False)


def test_a_table_that_is_too_wide_cuts_no_word_off_and_gives_up_what_it_can_spare(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    long = "get_disposable_virtual_card"
    grid("Labels", ("label", "rather", "picture"), [(long, long, "·" * 30)], spare=1)
    said = capsys.readouterr().out
    assert ("…" in said, "·" in said, "picture" in said) == (False, False, False)
    grid("Labels", ("label", "picture"), [("fits", "·" * 10)], spare=1)
    assert "·" * 10 in capsys.readouterr().out


def test_the_version_is_told(run: Run) -> None:
    said = run("--version")
    assert (said.code, said.out) == (0, f"hitl-bridge {version('hitl-bridge')}\n")


def test_tables_speak_of_nothing_yes_and_no_and_not_of_python_s_words(capsys: pytest.CaptureFixture[str]) -> None:
    facts("Would commit", {"git commit": None, "healthy": True, "held": False})
    grid("Items", ("item", "overdue"), [(None, True)])
    said = capsys.readouterr().out.split()
    assert not {"None", "True", "False"} & set(said)
    assert (said.count("–"), said.count("yes"), said.count("no")) == (2, 2, 1)
