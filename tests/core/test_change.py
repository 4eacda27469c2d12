from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl_bridge.core.dataset.change import Unversioned, next_version, plan_change, version_order
from hitl_bridge.core.model import Decision, Op, Outcome
from tests.core.examples import NOW, an_item


def a_decision(item_id: str = "t-1", op: Op = Op.ADD, seq: int = 0) -> Decision:
    return Decision(
        item_id=an_item(item_id).item_id,
        revision=1,
        seq=seq,
        op=op,
        outcome=Outcome.CORRECTED,
        output=None if op is Op.REMOVE else {"label": "billing"},
        rationale="two debits",
        reviewers=("ana@example.com",),
        annotations=("7/1@x",),
        agreement=1.0,
        round=1,
        decided_at=NOW,
    )


def pseudonym(person: str) -> str:
    return f"r_{len(person)}"


@pytest.mark.parametrize(
    ("last", "ops", "due"),
    [
        (None, [Op.ADD], "v0.1.0"),
        ("v0.1.0", [Op.ADD, Op.CHANGE], "v0.2.0"),
        ("v0.2.0", [Op.CHANGE], "v0.2.1"),
        ("v0.2.1", [Op.REMOVE], "v0.2.2"),
    ],
)
def test_new_decisions_are_a_minor_version_and_mere_corrections_a_patch(last: str | None, ops: list[Op], due: str) -> None:
    assert next_version(last, ops) == due


def test_another_label_set_is_a_major_version() -> None:
    assert next_version("v0.4.2", [Op.ADD], new_labels=True) == "v1.0.0"


def test_a_version_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="latest"):
        next_version("latest", [Op.ADD])


@given(st.lists(st.tuples(*[st.integers(0, 30)] * 3), min_size=1))
def test_versions_sort_by_number_not_by_text(numbers: list[tuple[int, int, int]]) -> None:
    versions = [f"v{a}.{b}.{c}" for a, b, c in numbers]
    assert [version_order(each) for each in sorted(versions, key=version_order)] == sorted(numbers)


def test_names_and_texts_stay_out_of_the_records() -> None:
    change = plan_change([Unversioned(a_decision(), an_item(), None, "t")], None, pseudonym)
    (record,), (payload,) = change.records, change.payloads
    assert "charged twice" not in str(record)
    assert "two debits" not in str(record)
    assert "ana@example.com" not in str(record)
    assert payload["rationale"] == "two debits"
    assert "charged twice" in str(payload["input"])


def test_a_decision_corrected_before_its_first_version_is_an_addition() -> None:
    change = plan_change([Unversioned(a_decision(op=Op.CHANGE, seq=1), an_item(), None, "t")], None, pseudonym)
    assert (change.added, change.changed) == (1, 0)


def test_a_withdrawn_decision_removes_and_brings_no_text() -> None:
    standing = a_decision()
    change = plan_change([Unversioned(a_decision(op=Op.REMOVE, seq=1), an_item(), standing, "t")], "v0.1.0", pseudonym)
    assert (change.removed, change.version, change.payloads) == (1, "v0.1.1", ())


def test_the_order_of_the_decisions_does_not_change_the_version() -> None:
    both = [Unversioned(a_decision(name), an_item(name), None, "t") for name in ("b", "a")]
    assert plan_change(both, None, pseudonym) == plan_change(both[::-1], None, pseudonym)
