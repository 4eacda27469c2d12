from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl_bridge.core.dataset.change import next_version, plan_change, version_order
from hitl_bridge.core.dataset.record import Unversioned, says_the_same
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
    assert next_version("v0.4.2", [Op.ADD], new_form=True) == "v1.0.0"


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


def test_a_decision_made_again_from_the_same_answers_says_the_same_and_any_other_does_not() -> None:
    def unversioned(**changes: Any) -> Unversioned:
        return Unversioned(replace(a_decision(), **changes), an_item(), None, "t")

    (row,) = plan_change([unversioned()], None, pseudonym).records
    again = unversioned(decided_at=NOW + timedelta(days=1), seq=3)
    assert says_the_same(row, again, pseudonym)
    for other in (
        {"annotations": ("7/1@y",)},
        {"output": {"label": "cancel"}},
        {"outcome": Outcome.REJECTED},
        {"revision": 2},
        {"op": Op.REMOVE},
    ):
        changed = unversioned(**other)
        if "revision" in other:
            changed = replace(changed, item=replace(changed.item, revision=2))
        assert not says_the_same(row, changed, pseudonym), other


_WRITE = """
import hashlib, sys
from hitl_bridge.core.dataset.change import plan_change
from hitl_bridge.core.dataset.record import Unversioned
from hitl_bridge.services.dataset.commit import dataset_files
from tests.core.test_change import a_decision, an_item, pseudonym
names = [f"t-{n}" for n in range(40)] + ["é", "Z", "z", "İ", "10", "9"]
names = names[::-1] if sys.argv[1] == "turned" else names
straight, turned = {"a": {"x": [1.5, 0.1], "y": 2}, "b": 1}, {"b": 1, "a": {"y": 2, "x": [1.5, 0.1]}}
attributes = turned if sys.argv[1] == "turned" else straight
settled = [Unversioned(a_decision(name), an_item(name, attributes=attributes), None, "t") for name in names]
change = plan_change(settled, None, pseudonym)
print(*(hashlib.sha256(file.content).hexdigest() for file in dataset_files(change)))
"""


@pytest.mark.catalogue("D8")
def test_the_same_decisions_give_the_same_files_whatever_the_hash_seed_time_zone_locale_and_order() -> None:
    surroundings = [
        ("0", "UTC", "C", "straight"),
        ("1", "Asia/Tokyo", "C.UTF-8", "turned"),
        ("4711", "America/St_Johns", "POSIX", "turned"),
    ]
    written = []
    for seed, zone, locale, order in surroundings:
        set_apart = {"PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": locale, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-X", "utf8", "-c", _WRITE, order]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **set_apart})
        written.append(done.stdout)
    assert len(written[0].split()) == 2
    assert len(set(written)) == 1
