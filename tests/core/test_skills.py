"""What is learned of reviewers from their own record."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitl_bridge.core.skills import UNKNOWN, Cell, Record, learn

RNG = np.random.default_rng(7)


def drawn(skills: dict[Cell, float], of: int) -> dict[Cell, Record]:
    return {cell: Record(float(RNG.binomial(of, skill)), of) for cell, skill in skills.items()}


def test_of_nobody_anything_is_known_at_first() -> None:
    assert learn({}).chance("ana", "legal") == UNKNOWN
    assert learn({("ana", "legal"): Record(0, 0)}).chance("ana", "legal") == UNKNOWN


def test_many_answers_make_a_skill_and_few_lucky_ones_do_not() -> None:
    ordinary: dict[Cell, Record] = {(f"r{number}", "legal"): Record(70, 100) for number in range(20)}
    known = learn({**ordinary, ("ana", "legal"): Record(480, 500), ("ben", "legal"): Record(2, 2)})
    assert known.chance("ana", "legal") == pytest.approx(0.96, abs=0.02)
    assert known.chance("ben", "legal") == pytest.approx(0.71, abs=0.05)
    assert known.of("ana", "legal").checked == 500


def test_where_somebody_has_no_record_theirs_elsewhere_and_everybodys_tell() -> None:
    skills: dict[Cell, float] = {(f"r{person}", str(scenario)): 0.9 for person in range(10) for scenario in range(5)}
    skills |= {("lazy", str(scenario)): 0.2 for scenario in range(5)}
    known = learn(drawn(skills, 40))
    assert known.chance("lazy", "new") < known.chance("r1", "new") - 0.1
    assert known.chance("stranger", "new") == pytest.approx(0.84, abs=0.04)


def test_it_errs_less_than_the_bare_shares_do() -> None:
    skills: dict[Cell, float] = {
        (f"r{person}", str(scenario)): 0.95 if (person + scenario) % 5 == 0 else 0.7
        for person in range(20)
        for scenario in range(10)
    }
    records = drawn(skills, 10)
    known = learn(records)
    bare = np.mean([(record.right / record.of - skills[cell]) ** 2 for cell, record in records.items()])
    learned = np.mean([(known.chance(*cell) - skill) ** 2 for cell, skill in skills.items()])
    assert learned < 0.7 * bare


def test_gold_is_asked_where_somebody_may_be_good_and_it_is_not_sure() -> None:
    others: dict[Cell, float] = {
        (f"r{person}", str(scenario)): 0.6 + 0.03 * person for person in range(10) for scenario in range(3)
    }
    records = drawn(others, 20) | {("ana", "0"): Record(4, 20), ("ana", "1"): Record(3, 4), ("ana", "2"): Record(40, 60)}
    known = learn(records)
    assert max(("0", "1", "2"), key=lambda scenario: known.of("ana", scenario).promise) == "1"


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), st.tuples(st.integers(0, 50), st.integers(0, 50)))
)
def test_every_skill_is_a_chance(counts: dict[Cell, tuple[int, int]]) -> None:
    known = learn({cell: Record(right, right + wrong) for cell, (right, wrong) in counts.items()})
    for person in "abcd":
        for scenario in ("x", "y", "z", None):
            skill = known.of(person, scenario)
            assert 0 < skill.mean < 1
            assert skill.doubt >= 0
