"""Sign-offs as values: seals, persons, versions, names; what a policy loosens."""

from __future__ import annotations

import re

import pytest
from gto.constants import tag_re
from hypothesis import example, given
from hypothesis import strategies as st

from hitl_bridge.core.model import JSONObject
from hitl_bridge.core.policy_change import loosened, policy_terms
from hitl_bridge.core.signing import (
    NOBODY,
    Recipe,
    SignOffTerms,
    artifact_name,
    is_same_person,
    is_sealed,
    next_version,
    one_line,
    registry_tags,
    sealed,
    signed_tag,
    stage_tag,
    version_tag,
)
from hitl_bridge.settings import check_settings
from hitl_bridge.settings.load import _settings

DEE = "Dee Doe <dee@example.com>"
VALUES = st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=8) | st.booleans(), max_size=4)


@given(VALUES, VALUES)
def test_a_seal_holds_for_its_statement_and_its_token_alone(statement: JSONObject, other: JSONObject) -> None:
    token, foreign = "ab" * 32, "cd" * 32
    seal = sealed(token, statement)
    assert is_sealed(token, statement, seal)
    assert not is_sealed(foreign, statement, seal)
    assert is_sealed(token, other, seal) is (other == statement and list(map(type, other.values())) == _types(statement, other))


def _types(statement: JSONObject, like: JSONObject) -> list[type]:
    return [type(statement[name]) for name in like]


@pytest.mark.parametrize("approver", ["approver.dee", "approver.dee-doe", "approver.DEE", "dee@example.com", "dee"])
def test_somebody_is_known_by_any_of_their_names(approver: str) -> None:
    assert is_same_person(approver, DEE)


@pytest.mark.parametrize("approver", ["approver.ana", "ana@example.com", "approver.doe", "approver.example"])
def test_others_are_others(approver: str) -> None:
    assert not is_same_person(approver, DEE)


def test_what_the_daemon_started_anybody_may_sign_off() -> None:
    assert not is_same_person("approver.bridge", NOBODY)


def test_a_version_says_what_changed() -> None:
    card: dict[str, object] = {"task": "text", "labels": ["a", "b"], "trainer": "t", "params": {"C": 1}}
    then = Recipe.of(card)  # type: ignore[arg-type]
    assert next_version([], None, then) == "v1.0.0"
    assert next_version(["v1.0.9", "v1.0.10"], then, then) == "v1.0.11"
    assert next_version(["v1.0.10"], then, Recipe.of(card | {"params": {"C": 2}})) == "v1.1.0"  # type: ignore[arg-type]
    assert next_version(["v1.3.1"], then, Recipe.of(card | {"labels": ["a", "b", "c"]})) == "v2.0.0"  # type: ignore[arg-type]
    assert next_version(["v1.3.1", "nonsense"], None, then) == "v2.0.0"


@given(st.text(max_size=30), st.integers(1, 10**8))
@example("decisions", 1)
def test_every_name_makes_tags_that_gto_reads(name: str, number: int) -> None:
    artifact = artifact_name({"params": {"name": name}}, "model-1")
    assert artifact != "decisions"
    for tag in (version_tag(artifact, "v1.2.3"), stage_tag(artifact, number)):
        found = tag_re.match(tag)
        assert found is not None
        assert found["artifact"] == artifact
    versions, numbers = registry_tags(
        artifact, [version_tag(artifact, "v1.2.3"), stage_tag(artifact, number), "decisions@v0.1.0"]
    )
    assert (list(versions), list(numbers)) == (["v1.2.3"], [number])


@given(st.text(max_size=40), st.integers(1, 99))
def test_a_tag_to_sign_is_a_name_that_git_takes(subject: str, number: int) -> None:
    assert re.fullmatch(rf"sign-off/[A-Za-z0-9-]*#{number}", signed_tag(subject, number))


def test_a_reason_is_one_line() -> None:
    assert one_line("  better  ") == "better"
    assert [one_line(text) for text in ("", " ", "a\nSign-Off: x", "a\x00")] == [None] * 4


# ---------------------------------------------------------------------------------------------- what a policy loosens

POLICY = """\
task: text-classification
labels: [refund, billing]
triage:
  rules:
    - {when: "scenario = 'legal'", tier: strict, reason: "high stakes"}
    - {when: "margin < 0.1", tier: quick, reason: "close"}
tiers:
  auto: {max_risk: 0.02}
  quick: {max_risk: 0.3, reviewers: 1}
  strict: {reviewers: 2, consensus: unanimous, rationale: required, checklist: ["read it", "twice"]}
audit: {rate: 0.05, uniform: 0.02}
"""


def terms(text: str, *, four_eyes: bool = True) -> JSONObject:
    from pathlib import Path

    settings = _settings(Path("/nowhere"), check_settings(text.encode()), {"HITL_WORKSPACE_KEY": "ab" * 32})
    return policy_terms(settings.policy, SignOffTerms(four_eyes=four_eyes))


CHANGES = [
    ("max_risk: 0.02", "max_risk: 0.05", "tier 'auto': max_risk 0.05, was 0.02"),
    ("max_risk: 0.3,", "max_risk: 0.4,", "tier 'quick': max_risk 0.4, was 0.3"),
    ("reviewers: 2", "reviewers: 1", "tier 'strict': 1 reviewers, were 2"),
    ("unanimous", "majority", "tier 'strict': consensus majority, was unanimous"),
    ("rationale: required, ", "", "tier 'strict': no rationale is required any more"),
    (', "twice"', "", "tier 'strict': not on the checklist any more: twice"),
    ("rate: 0.05", "rate: 0.01", "audit rate 0.01, was 0.05"),
    ("uniform: 0.02", "uniform: 0.0", "uniform rate 0, was 0.02"),
    ("scenario = 'legal'", "scenario = 'law'", "a rule is gone: scenario = 'legal' → strict"),
    ("tier: strict, reason", "tier: quick, reason", "a rule leads to 'quick', and led to 'strict': scenario = 'legal'"),
    ("margin < 0.1", "margin < 0.2", "a new rule leads to 'quick' whatever the risk: margin < 0.2"),
    ("  strict:", "  middle: {max_risk: 0.5}\n  strict:", "the tier 'middle' is new: it takes items that a stricter one took"),
]


@pytest.mark.parametrize(("old", "new", "said"), CHANGES)
def test_what_lets_more_through_is_named_and_the_way_back_is_not(old: str, new: str, said: str) -> None:
    before, now = terms(POLICY), terms(POLICY.replace(old, new))
    assert said in loosened(before, now)
    assert said not in loosened(now, before)
    assert loosened(before, before) == loosened(now, now) == []


def test_what_is_stricter_in_everything_loosens_nothing() -> None:
    stricter = (
        POLICY.replace("0.02}\n  quick", "0.01}\n  quick")
        .replace("rate: 0.05", "rate: 0.5")
        .replace("reviewers: 1", "reviewers: 2")
    )
    first = '    - {when: "confidence < 0.5", tier: strict, reason: "unsure"}\n    - {when: "scenario'
    assert loosened(terms(POLICY), terms(stricter.replace('    - {when: "scenario', first))) == []
    assert loosened(terms(POLICY), terms(re.sub(r"  auto: .*\n", "", POLICY))) == []


def test_an_auto_tier_another_promise_and_one_pair_of_eyes_loosen() -> None:
    without = re.sub(r"  auto: .*\n", "", POLICY)
    assert loosened(terms(without), terms(POLICY)) == ["the tier 'auto' is new: what it takes is approved without a look"]
    assert loosened(terms(POLICY), terms(POLICY, four_eyes=False)) == ["who had a model trained may sign it off"]
    budget = POLICY.replace("triage:\n", "triage:\n  error_budget: 0.02\n").replace("max_risk: 0.02", "max_risk: budget")
    assert loosened(terms(POLICY), terms(budget)) == []
    assert loosened(terms(budget), terms(POLICY)) == [
        "tier 'auto': max_risk 0.02, was `budget`",
        "the error budget does not choose the threshold any more",
    ]
    assert loosened(terms(budget), terms(budget.replace("error_budget: 0.02", "error_budget: 0.05"))) == [
        "error budget 0.05, was 0.02"
    ]
