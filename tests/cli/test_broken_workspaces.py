"""What is broken is named, with a way out, and never as a traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import responses

from tests.cli.conftest import Run
from tests.services.bench import Bench, git, row


def _nonsense_page(root: Path) -> None:
    (root / "label_configs" / "text-classification.quick.xml").write_text("<View><Text name='text'")


def _page_without_controls(root: Path) -> None:
    (root / "label_configs" / "text-classification.quick.xml").write_text("<View><Header value='Hello'/></View>")


def _no_pages(root: Path) -> None:
    for page in (root / "label_configs").iterdir():
        page.unlink()


@pytest.mark.parametrize("broken", [_nonsense_page, _page_without_controls, _no_pages])
@responses.activate
def test_a_label_config_edited_into_nonsense_stops_the_push(
    run: Run, workspace: Path, monkeypatch: pytest.MonkeyPatch, broken: Callable[[Path], None]
) -> None:
    monkeypatch.setenv("HITL_LABEL_STUDIO_TOKEN", "a-token")
    run("ingest", "in.jsonl")
    broken(workspace)
    ran = run("push")
    assert (ran.code, ran.explains_itself()) == (2, True)
    assert "label_configs" in ran.err or "quick" in ran.err
    assert len(responses.calls) == 0


@pytest.mark.parametrize("text", ["", "task: [", "\x00", "- a list", "task: text-classification\ntask: twice\n"])
def test_settings_that_are_no_settings(run: Run, workspace: Path, text: str) -> None:
    (workspace / "hitl.yaml").write_text(text)
    ran = run("status")
    assert (ran.code, ran.explains_itself()) == (2, True)
    assert "hitl.yaml" in ran.err


def test_settings_that_are_a_folder(run: Run, workspace: Path) -> None:
    (workspace / "hitl.yaml").unlink()
    (workspace / "hitl.yaml").mkdir()
    ran = run("status")
    assert (ran.code, ran.explains_itself(), "Is a directory" in ran.err) == (2, True, True)


def test_a_roster_that_is_a_folder(run: Run, workspace: Path) -> None:
    (workspace / "reviewers.yaml").mkdir()
    ran = run("status")
    assert (ran.code, ran.explains_itself(), "reviewers.yaml can't be read: Is a directory" in ran.err) == (2, True, True)


@pytest.mark.parametrize("much", ["scenarios: [" + "x, " * 25_000 + "x]\n", "scenarios: &x [*x]\n"])
def test_settings_with_far_too_much_in_them_are_told_so_once(run: Run, workspace: Path, much: str) -> None:
    with (workspace / "hitl.yaml").open("a", encoding="utf-8") as settings:
        settings.write(much)
    ran = run("status")
    assert (ran.code, ran.explains_itself(), ran.err.count("there is too much in here")) == (2, True, 1)


def test_a_workspace_without_its_key(run: Run, workspace: Path) -> None:
    (workspace / ".hitl" / "workspace.key").unlink()
    ran = run("status")
    assert (ran.code, ran.explains_itself()) == (2, True)
    assert "workspace key" in ran.err


def test_a_store_that_cannot_be_opened(run: Run, workspace: Path) -> None:
    store = workspace / ".hitl" / "bridge.db"
    store.unlink()
    store.mkdir()
    ran = run("status")
    assert (ran.code, ran.explains_itself()) == (3, True)


def test_receipts_that_are_gone(run: Run, workspace: Path) -> None:
    run("ingest", "in.jsonl")
    for receipt in (workspace / ".hitl" / "receipts").rglob("*.parquet"):
        receipt.write_bytes(b"PAR1 not really")
    ran = run("trace", "t-1")
    assert (ran.code in (2, 3, 4), ran.explains_itself()) == (True, True)


def decided(root: Path) -> None:
    bench = Bench(root)
    bench.pushed(row("t-1"))
    bench.answer("t-1")
    bench.brought_back()
    bench.bridge.close()


def test_a_commit_without_git(run: Run, workspace: Path) -> None:
    decided(workspace)
    ran = run("commit")
    assert (ran.code, ran.explains_itself()) == (4, True)


def test_a_commit_while_a_merge_is_under_way_or_on_another_branch(run: Run, git_workspace: Path) -> None:
    decided(git_workspace)
    git(git_workspace, "switch", "--quiet", "--create", "side")
    other = run("commit")
    assert (other.code, other.explains_itself(), "reviews" in other.err) == (4, True, True)
    git(git_workspace, "commit", "--quiet", "--allow-empty", "--message=Side")
    git(git_workspace, "switch", "--quiet", "reviews")
    git(git_workspace, "merge", "--no-commit", "--no-ff", "--quiet", "side")
    merging = run("commit")
    assert (merging.code, merging.explains_itself(), "merge" in merging.err) == (4, True, True)


def test_doctor_names_what_is_broken_and_ends_with_1(run: Run, workspace: Path) -> None:
    _nonsense_page(workspace)
    ran = run("doctor")
    assert ran.code == 1
    assert "✗ label configs" in ran.out
    assert "→ " in ran.out
