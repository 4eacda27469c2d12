"""The roster in `hitl.yaml`: who is in which pool, and what is wrong with it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from hitl_bridge.core.people import Person
from hitl_bridge.errors import SettingsError
from hitl_bridge.settings import check_settings, load_settings
from hitl_bridge.settings.load import policy_version
from tests.services.bench import without_git

BASE = """\
task: text-classification
labels: [refund, cancel]
tiers:
  quick: {reviewers: 1}
"""
POOLS = """\
expertise:
  - {name: legal, when: "scenario = 'legal'", reviewers: [ana@example.com]}
  - {name: general}
"""


def mistakes(text: str) -> list[tuple[int, str, str]]:
    with pytest.raises(SettingsError) as caught:
        check_settings(text.encode())
    return [(problem.line, problem.where, problem.what) for problem in caught.value.problems]


def test_the_roster_fills_the_pools_and_is_no_policy(tmp_path: Path) -> None:
    roster = "roster:\n  - {email: Dee@example.com, pools: [legal, general], weekly: 8h, languages: [de], adjudicates: true}\n"
    root = without_git(tmp_path / "ws", BASE + POOLS + roster)
    settings = load_settings(root)
    assert [pool.reviewers for pool in settings.pools] == [("ana@example.com", "dee@example.com"), ("dee@example.com",)]
    assert [pool.adjudicators for pool in settings.pools] == [("dee@example.com",)] * 2
    assert settings.roster == (
        Person("dee@example.com", ("legal", "general"), timedelta(hours=8), ("de",), adjudicates=True, approves=False),
    )
    before, after = (check_settings((BASE + POOLS + more).encode()) for more in ("", roster))
    assert policy_version(before) == policy_version(after)


@pytest.mark.parametrize(
    ("more", "line", "where", "said"),
    [
        ("roster: [{email: a@b.c, pools: [legl]}]\n", 8, "roster[1].pools[1]", "did you mean 'legal'"),
        ("roster: [{email: a@b.c}, {email: A@b.c}]\n", 8, "roster[2].email", "stands in the roster already"),
        ("roster: [{email: a@b.c, weekly: 200h}]\n", 8, "roster[1].weekly", "80h at most"),
        ("assignment: reviewer\n", 7, "expertise[2]", "names no reviewers"),
    ],
)
def test_a_mistake_is_named_with_its_line(more: str, line: int, where: str, said: str) -> None:
    ((at, place, what),) = mistakes(BASE + POOLS + more)
    assert (at, place) == (line, where)
    assert said in what


def test_a_project_a_reviewer_can_be_staffed_by_the_roster_alone() -> None:
    checked = check_settings((BASE + "assignment: reviewer\nroster: [{email: a@b.c, pools: [general]}]\n").encode())
    assert checked.assignment == "reviewer"
    assert mistakes(BASE + "assignment: reviewer\n")[0][1] == "assignment"


PEOPLE = "roster:\n  - {email: Dee@example.com, pools: [general]}\n"


def test_the_roster_can_stand_in_a_file_of_its_own(tmp_path: Path) -> None:
    root = without_git(tmp_path / "ws", BASE + POOLS)
    (root / "reviewers.yaml").write_text(PEOPLE, encoding="utf-8")
    assert [person.email for person in load_settings(root).roster] == ["dee@example.com"]


@pytest.mark.parametrize(
    ("policy", "people", "line", "where", "said"),
    [
        (BASE + POOLS, "roster:\n  - {email: a@b.c, pools: [genral]}\n", 2, "reviewers.yaml: roster[1].pools[1]", "'general'"),
        (BASE + POOLS, "roster:\n  - {mail: a@b.c, email: a@b.c}\n", 2, "reviewers.yaml: roster[1].mail", "did you mean 'email'"),
        (BASE + POOLS, PEOPLE + "labels: [a]\n", 3, "reviewers.yaml: labels", "no setting of this file"),
        (BASE + POOLS, "roster: [\n", 2, "reviewers.yaml: the file", "not valid YAML"),
        (BASE + POOLS, "people: []\n", 1, "reviewers.yaml: people", "no setting of this file"),
        (BASE + PEOPLE, PEOPLE, 5, "roster", "keep one of them"),
    ],
)
def test_a_mistake_in_that_file_is_named_with_the_file(policy: str, people: str, line: int, where: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check_settings(policy.encode(), people=people.encode())
    first = caught.value.problems[0]
    assert (first.line, first.where) == (line, where)
    assert said in first.what
