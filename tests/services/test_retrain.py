"""From decisions to a champion, on real DVC with a pipeline small enough to run in a test."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from hitl_bridge.errors import RefusedForSafety, UsageError
from tests.services.bench import ANA, Bench, git, row

TRAIN = """\
import json
from pathlib import Path

verdict = json.loads(Path("wanted.json").read_text())
versions = sorted(path.stem for path in Path("data/decisions").glob("*.parquet"))
for folder in ("models/candidate", "reports"):
    Path(folder).mkdir(parents=True, exist_ok=True)
name = f"m-{len(versions)}-{verdict}"
card = {"model_version": name, "trained_on": {"versions": versions}}
Path("models/candidate/model.json").write_text(json.dumps(card))
said = {"verdict": verdict, "candidate": name, "reasons": ["because of the test"]}
Path("reports/verdict.json").write_text(json.dumps(said))
Path("reports/metrics.json").write_text(json.dumps({"candidate": {"overall": {"accuracy": 0.9}}}))
"""
PIPELINE = f"""\
stages:
  train:
    cmd: {sys.executable} train.py
    deps: [train.py, wanted.json, data/decisions]
    outs: [models/candidate]
    metrics:
      - reports/verdict.json: {{cache: false}}
      - reports/metrics.json: {{cache: false}}
"""


def verdict_will_be(root: Path, verdict: str) -> None:
    (root / "wanted.json").write_text(json.dumps(verdict))
    git(root, "add", "wanted.json")
    git(root, "commit", "--quiet", f"--message={verdict} is wanted", "wanted.json")


@pytest.fixture
def bench(whole_bench: Bench) -> Bench:
    """With decisions in a first version, and the small pipeline."""
    bench = whole_bench
    (bench.root / "train.py").write_text(TRAIN)
    (bench.root / "dvc.yaml").write_text(PIPELINE)
    (bench.root / "wanted.json").write_text('"hold"')
    git(bench.root, "add", "train.py", "dvc.yaml", "wanted.json")
    git(bench.root, "commit", "--quiet", "--message=A small pipeline")
    bench.pushed(row("one"))
    bench.answer("one", ANA, "billing")
    bench.brought_back()
    bench.bridge.commit()
    return bench


def test_a_candidate_is_trained_judged_and_becomes_champion_only_in_a_person_s_name(bench: Bench) -> None:
    bridge = bench.bridge
    lines: list[str] = []
    result = bridge.retrain(progress=lines.append)
    assert (result.ran, result.verdict, result.candidate) == (True, "hold", "m-1-hold")
    assert result.reasons == ("because of the test",)
    assert result.git_commit == git(bench.root, "rev-parse", "HEAD")
    assert git(bench.root, "status", "--porcelain") == ""
    assert lines

    again = bridge.retrain()
    assert (again.ran, again.git_commit, again.verdict) == (False, None, "hold")
    assert git(bench.root, "rev-parse", "HEAD") == result.git_commit

    with pytest.raises(RefusedForSafety, match="hold to m-1-hold: because of the test") as refused:
        bridge.promote(reason="I like it", by="Dee")
    assert "--override" in refused.value.remedy
    assert bridge.status().champion is None

    overridden = bridge.promote(reason="Better than nothing", by="Dee", override=True)
    assert (overridden.champion, overridden.by, overridden.overridden) == ("m-1-hold", "Dee", True)
    pointer = json.loads((bench.root / "models" / "champion.json").read_text())
    assert (pointer["by"], pointer["reason"], pointer["overridden"], pointer["verdict"]) == (
        "Dee",
        "Better than nothing",
        True,
        "hold",
    )
    assert bridge.status().champion == "m-1-hold"
    assert git(bench.root, "status", "--porcelain") == ""
    assert bridge.promote(reason="Again", by="Dee", override=True).git_commit is None
    assert bridge.trace("one")["models"] == [
        {"role": "candidate", "model_version": "m-1-hold"},
        {"role": "champion", "model_version": "m-1-hold"},
    ]


def test_a_candidate_that_the_gate_passed_is_promoted_in_the_committer_s_name(bench: Bench) -> None:
    verdict_will_be(bench.root, "promote")
    assert bench.bridge.retrain().verdict == "promote"
    result = bench.bridge.promote(reason="The gate says so")
    assert (result.champion, result.overridden) == ("m-1-promote", False)
    assert "Ana" in result.by
    assert "Promote m-1-promote" in git(bench.root, "log", "-1", "--format=%s")


def test_a_verdict_on_another_candidate_allows_nothing(bench: Bench) -> None:
    verdict_will_be(bench.root, "promote")
    bench.bridge.retrain()
    card = bench.root / "models" / "candidate" / "model.json"
    card.write_text(json.dumps({"model_version": "m-smuggled"}))
    with pytest.raises(RefusedForSafety, match="has not judged m-smuggled"):
        bench.bridge.promote(reason="Quick", by="Dee")


def test_a_promotion_needs_a_candidate_a_name_and_a_reason(bench: Bench) -> None:
    with pytest.raises(UsageError, match="no candidate"):
        bench.bridge.promote(reason="Now", by="Dee")
    with pytest.raises(UsageError, match="a name and a reason"):
        bench.bridge.promote(reason=" ", by="Dee")
