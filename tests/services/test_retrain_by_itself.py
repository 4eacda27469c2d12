"""Training again by itself: when it is time, in a clone, and an approver still has the last word."""

from __future__ import annotations

from pathlib import Path

import pytest

from hitl_bridge.core.signing import NOBODY
from hitl_bridge.errors import RepositoryRefused
from tests.services.approving import small_pipeline, token_of
from tests.services.bench import ANA, POLICY, Bench, git, row

ASKED = "retrain: {after: 1, revalidate_every: 90d}\n"


@pytest.fixture
def bench(git_workspace: Path) -> Bench:
    """With a committed correction, and the small pipeline; `retrain` asks for one correction."""
    root = git_workspace
    (root / "hitl.yaml").write_text(POLICY + ASKED, encoding="utf-8")
    git(root, "commit", "--all", "--quiet", "--message=Train by yourself")
    small_pipeline(root)
    bench = Bench(root)
    bench.pushed(row("one"))
    bench.answer("one", ANA, "billing")
    bench.brought_back()
    return bench


def test_when_enough_is_new_a_model_is_trained_in_a_clone_and_waits_for_an_approver(bench: Bench) -> None:
    bridge, root = bench.bridge, bench.root
    assert bridge.retrain_if_due() is None  # decided, and not committed yet
    bridge.commit()
    (root / "train.py").write_text("raise SystemExit('a half-finished edit')")
    (root / "notes.txt").write_text("of no concern to anybody")
    before = git(root, "rev-parse", "HEAD")

    result = bridge.retrain_if_due()
    assert result is not None
    assert (result.ran, result.candidate, result.verdict) == (True, "m-1-hold", "hold")
    assert git(root, "rev-parse", "HEAD~1") == before
    assert git(root, "log", "-1", "--format=%B").splitlines()[::2] == [
        "Retrain: m-1-hold – hold",
        "1 corrections since the last training; 1 are asked for",
    ]
    assert git(root, "status", "--porcelain").splitlines() == [" M train.py", "?? notes.txt"]
    assert (root / "models" / "candidate" / "weights.bin").read_text() == "m-1-hold"
    last = bridge.store.sign_offs().last_training()
    assert last is not None
    assert (last.candidate, last.by, last.git_commit) == ("m-1-hold", NOBODY, result.git_commit)
    assert bridge.retrain_if_due() is None

    promoted = bridge.promote(reason="Good enough", override=True, token=token_of(bridge))
    assert promoted.trained_by == (NOBODY,)
    bench.clock.turn(90 * 86_400)
    looked = bridge.retrain_if_due()
    assert looked is not None
    assert (looked.ran, looked.git_commit) == (False, None)
    assert bridge.retrain_if_due() is None


def test_what_somebody_has_under_way_is_never_overwritten(bench: Bench) -> None:
    bench.bridge.commit()
    bench.bridge.retrain()
    (bench.root / "reports" / "verdict.json").write_text("{}")
    (bench.root / "wanted.json").write_text('"promote"')
    git(bench.root, "commit", "--quiet", "--message=Another verdict", "wanted.json")
    bench.clock.turn(90 * 86_400)
    with pytest.raises(RepositoryRefused, match=r"reports/verdict\.json was edited"):
        bench.bridge.retrain_if_due()
    assert (bench.root / "reports" / "verdict.json").read_text() == "{}"


def test_nobody_trains_who_was_not_asked(whole_bench: Bench) -> None:
    assert whole_bench.bridge.retrain_if_due() is None
