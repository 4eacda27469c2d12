"""`audit verify` and `dataset verify`: whole is exit code 0, and what is not is named."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.adapters.dvc_workspace import dvc
from tests.cli.conftest import Run
from tests.services.bench import Bench, git, row


@pytest.fixture
def committed(git_workspace: Path) -> Path:
    remote = git_workspace.parent / "remote"
    remote.mkdir()
    dvc(git_workspace, "remote", "add", "--default", "store", str(remote))
    git(git_workspace, "commit", "--quiet", "--all", "--message=A remote")
    bench = Bench(git_workspace)
    bench.pushed(row("t-1"))
    bench.answer("t-1")
    bench.brought_back()
    assert bench.bridge.commit().version == "v0.1.0"
    bench.bridge.close()
    return git_workspace


@pytest.mark.catalogue("C6")
def test_an_audit_log_is_held_against_the_dataset_commits_and_a_cut_one_is_exit_code_4(run: Run, committed: Path) -> None:
    whole = run("audit", "verify", "--json")
    assert (whole.code, whole.json["anchors"], whole.json["problems"]) == (0, 1, [])
    assert "whole" in run("audit", "verify").out
    with closing(sqlite3.connect(committed / ".hitl" / "bridge.db")) as connection:
        connection.execute("DROP TRIGGER events_no_delete")
        connection.execute("DELETE FROM events WHERE seq > 2")
        connection.commit()
    cut = run("audit", "verify", "--json")
    assert cut.code == 4
    assert any("decisions@v0.1.0 was made after them" in each["what"] for each in cut.json["problems"])
    assert "missing" in run("audit", "verify").out


@pytest.mark.catalogue("D6")
def test_a_version_that_the_remote_lost_is_exit_code_1_until_it_is_healed(run: Run, committed: Path) -> None:
    assert run("dataset", "verify", "--json").json["missing"] == []
    lost = next(path for path in (committed.parent / "remote").rglob("*") if path.is_file() and not path.name.endswith(".dir"))
    lost.chmod(0o600)
    lost.unlink()
    found = run("dataset", "verify", "--json")
    assert (found.code, len(found.json["missing"])) == (1, 1)
    healed = run("dataset", "verify", "--heal", "--deep", "--json")
    assert (healed.code, len(healed.json["healed"]), lost.is_file()) == (0, 1, True)
