"""From decisions to a champion, on real DVC with a pipeline small enough to run in a test."""

from __future__ import annotations

import json

import pytest

from hitl_bridge.errors import RefusedForSafety, UsageError
from tests.services.approving import DEE, small_pipeline, token_of, verdict_will_be
from tests.services.bench import ANA, Bench, git, row


@pytest.fixture
def bench(whole_bench: Bench) -> Bench:
    """With decisions in a first version, and the small pipeline."""
    bench = whole_bench
    small_pipeline(bench.root)
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

    token = token_of(bridge)
    with pytest.raises(RefusedForSafety, match="hold to m-1-hold: because of the test") as refused:
        bridge.promote(reason="I like it", token=token)
    assert "--override" in refused.value.remedy
    assert bridge.status().champion is None

    overridden = bridge.promote(reason="Better than nothing", override=True, token=token)
    assert (overridden.champion, overridden.by, overridden.overridden) == ("m-1-hold", DEE, True)
    assert overridden.against == ("The gate says hold to m-1-hold: because of the test",)
    pointer = json.loads((bench.root / "models" / "champion.json").read_text())
    assert [pointer[name] for name in ("by", "reason", "overridden", "verdict", "version", "number")] == [
        *(DEE, "Better than nothing", True, "hold"),
        *("v1.0.0", 1),
    ]
    assert bridge.status().champion == "m-1-hold"
    assert git(bench.root, "status", "--porcelain") == ""
    assert bridge.promote(reason="Again", override=True, token=token).git_commit is None
    assert bridge.trace("one")["models"] == [
        {"role": "candidate", "model_version": "m-1-hold"},
        {"role": "champion", "model_version": "m-1-hold"},
    ]


def test_a_candidate_that_the_gate_passed_is_promoted_with_an_approver_s_token(bench: Bench) -> None:
    verdict_will_be(bench.root, "promote")
    assert bench.bridge.retrain().verdict == "promote"
    result = bench.bridge.promote(reason="The gate says so", token=token_of(bench.bridge))
    assert (result.champion, result.overridden, result.method) == ("m-1-promote", False, "token")
    assert result.trained_by == ("Ana <ana@example.com>",)
    assert "Promote m-1-promote" in git(bench.root, "log", "-1", "--format=%s")


def test_a_verdict_on_another_candidate_allows_nothing(bench: Bench) -> None:
    verdict_will_be(bench.root, "promote")
    bench.bridge.retrain()
    card = bench.root / "models" / "candidate" / "model.json"
    card.write_text(json.dumps({"model_version": "m-smuggled"}))
    with pytest.raises(RefusedForSafety, match="has not judged m-smuggled"):
        bench.bridge.promote(reason="Quick", token=token_of(bench.bridge))


def test_a_promotion_needs_a_candidate_and_a_reason(bench: Bench) -> None:
    with pytest.raises(UsageError, match="no candidate"):
        bench.bridge.promote(reason="Now")
    for reason in (" ", "two\nlines"):
        with pytest.raises(UsageError, match="needs a reason"):
            bench.bridge.promote(reason=reason)
