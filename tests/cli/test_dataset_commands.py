"""`diff` and `revert` at the command line, on real git and DVC."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Run
from tests.services.bench import ANA, BEN, Bench, git, row


def test_decisions_are_taken_back_and_the_difference_tells_by_whom_and_why(run: Run, git_workspace: Path) -> None:
    bench = Bench(git_workspace)
    bench.pushed(row("t-1"), row("t-2"))
    bench.answer("t-1", ANA)
    bench.answer("t-2", BEN, "billing")
    bench.brought_back()
    bench.bridge.commit()
    bench.bridge.close()
    head = git(git_workspace, "rev-parse", "HEAD")

    wish = ("revert", "--reviewer", BEN, "--reason", "the guideline was misread", "--by", "Dee")
    foretold = run(*wish, "--dry-run", "--json")
    assert (foretold.code, foretold.json["removed"], foretold.json["version"]) == (0, 1, None)
    assert git(git_workspace, "rev-parse", "HEAD") == head

    done = run(*wish, "--json")
    assert done.json.keys() >= {"removed", "reinstated", "answers", "asked_again", "items", "version", "tag", "git_commit"}
    assert (done.code, done.json["version"], done.json["items"][0]["decision_id"]) == (0, "v0.1.1", "t-2#1.0")

    (change,) = run("diff", "v0.1.0", "v0.1.1", "--json").json["items"]
    assert (change["item_id"], change["what"], change["cause"], change["why"]) == (
        "t-2",
        "removed",
        "reverted",
        "the guideline was misread",
    )
    table = run("diff", "v0.1.0")
    assert (table.code, "t-2" in table.out, ANA in table.out) == (0, True, False)
    assert run("diff", "v9.9.9").explains_itself()
    assert run("revert", "--reason", "x").explains_itself()
    again = run(*wish)
    assert (again.code, "Nothing to take back" in again.out) == (0, True)
