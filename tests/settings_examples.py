"""A `hitl.yaml` that is right, and what is said of one that is not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from hitl_bridge.errors import SettingsError, SettingsProblem
from hitl_bridge.settings import check_settings

KEY = "ab" * 32


GOOD = """\
task: text-classification
labels: [refund, billing, cancel, technical]
label_studio: {url: "http://127.0.0.1:8080/"}
store: "sqlite:///.hitl/bridge.db"
git: {branch: reviews}
attributes: {amount: float, language: string}
triage:
  error_budget: 0.02
  confidence: 0.95
  rules:
    - {when: "amount > 10000 OR scenario = 'legal'", tier: comprehensive, reason: "high stakes"}
tiers:
  auto:          {max_risk: 0.02}
  quick:         {max_risk: 0.30, reviewers: 1, sla: 4h}
  comprehensive: {reviewers: 2, sla: 24h, consensus: unanimous, rationale: required, checklist: [Read it], escalate_after: 20h}
audit:         {rate: 0.05, uniform: 0.02, sla: 48h}
assignment: pool
expertise:
  - {name: payments, when: "scenario = 'payments'", reviewers: [Ana@example.com, ben@example.com]}
  - {name: general, reviewers: [cy@example.com], adjudicators: [dee@example.com]}
"""


class SelectiveRules:
    """A rule checker of our own for tests: an expression with `nonsense` in it can't be evaluated."""

    def problem(self, expression: str, attributes: Mapping[str, str]) -> str | None:
        return f"can't read {expression!r}; fields: {', '.join(attributes)}" if "nonsense" in expression else None


def written(root: Path, text: str | bytes = GOOD) -> Path:
    (root / "hitl.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def problems(text: str | bytes, rules: SelectiveRules | None = None) -> tuple[SettingsProblem, ...]:
    with pytest.raises(SettingsError) as caught:
        check_settings(text if isinstance(text, bytes) else text.encode(), rules=rules)
    return caught.value.problems


def said_of(content: bytes) -> tuple[SettingsProblem, ...]:
    try:
        check_settings(content, rules=SelectiveRules())
    except SettingsError as error:
        return error.problems
    return ()


def only_problem(text: str | bytes) -> SettingsProblem:
    (problem,) = problems(text)
    return problem


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)
