"""A policy that lets more through than the last one waits for an approver."""

from __future__ import annotations

from pathlib import Path

import pytest

from hitl_bridge.core.signing import Kind
from hitl_bridge.errors import RefusedForSafety
from tests.services.approving import DEE, token_of
from tests.services.bench import POLICY, Bench, row, without_git, write_rows


def test_a_policy_that_loosens_waits_for_an_approver_and_one_that_tightens_does_not(tmp_path: Path) -> None:
    root = without_git(tmp_path / "workspace")

    def ingested(name: str) -> None:
        with Bench(root).bridge as bridge:
            bridge.ingest(str(write_rows(root / f"{name}.jsonl", [row(name)])))

    ingested("first")
    (root / "hitl.yaml").write_text(POLICY.replace("max_risk: 0.1", "max_risk: 0.05"), encoding="utf-8")
    ingested("tighter")
    (root / "hitl.yaml").write_text(POLICY.replace("rate: 1.0", "rate: 0.5"), encoding="utf-8")
    said = "tier 'auto': max_risk 0.1, was 0.05; audit rate 0.5, was 1"
    with pytest.raises(RefusedForSafety, match=said) as refused:
        ingested("looser")
    assert "policy approve" in refused.value.remedy
    with Bench(root).bridge as bridge:
        assert bridge.policy_standing().waits
        with pytest.raises(RefusedForSafety, match="has no sign-off"):
            bridge.approve_policy(reason="Because")
        approved = bridge.approve_policy(reason="Two good months", token=token_of(bridge))
        assert (approved.by, bridge.policy_standing().waits) == (DEE, False)
    ingested("looser")
    with Bench(root).bridge as bridge:
        last = bridge.store.sign_offs().of_kind(Kind.POLICY)[-1]
        assert (last.number, last.approver, last.statement["loosens"]) == (3, DEE, said.split("; "))


def test_only_whom_the_roster_names_may_approve_where_it_names_anybody(tmp_path: Path) -> None:
    roster = "roster:\n  - {email: fay@example.com, pools: [general], approves: true}\n"
    root = without_git(tmp_path / "workspace", POLICY + roster)
    with Bench(root).bridge as bridge:
        bridge.ingest(str(write_rows(root / "first.jsonl", [row("first")])))
    (root / "hitl.yaml").write_text(POLICY.replace("max_risk: 0.1", "max_risk: 0.2") + roster, encoding="utf-8")
    with Bench(root).bridge as bridge:
        with pytest.raises(RefusedForSafety, match=r"approver\.dee may not approve"):
            bridge.approve_policy(reason="Because", token=token_of(bridge))
        assert bridge.approve_policy(reason="Because", token=token_of(bridge, "approver.fay")).by == "approver.fay"
