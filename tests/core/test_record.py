"""What a decision's record says of how it came about, what differs between versions, and the card that counts them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitl_bridge.core.dataset import card, croissant
from hitl_bridge.core.dataset.change import DatasetChange
from hitl_bridge.core.dataset.difference import Contents, differences
from hitl_bridge.core.dataset.fold import fold
from hitl_bridge.core.dataset.record import DataUse, answers_digest, confidence_band, consent
from hitl_bridge.core.dataset.reverting import Recorded, take_back
from hitl_bridge.core.dataset.schema import decision_schema, payload_schema, to_parquet
from hitl_bridge.core.model import Decision, ItemId, Op, Outcome
from tests.core.examples import NOW

Row = dict[str, Any]


def row(item_id: str, label: str | None = "refund", op: str = "add", **more: Any) -> Row:
    empty: Row = {field.name: None for field in decision_schema()}
    decision = None if label is None else json.dumps({"label": label})
    said = {"op": op, "item_id": item_id, "revision": 0, "seq": 0, "decision": decision, "outcome": "accepted", "agreement": 1.0}
    return {**empty, **said, "reviewers": ["r_a"], "annotations": [item_id], "cause": "settled", **more}


def contents(version: str, segments: Mapping[str, Sequence[Row]]) -> Contents:
    tables = [(name, pa.Table.from_pylist(list(rows), schema=decision_schema())) for name, rows in segments.items()]
    said = [{"item_id": each["item_id"], "revision": 0, "input": "{}", "rationale": f"why {each['item_id']}"}
            for rows in segments.values() for each in rows]  # fmt: skip
    return Contents(version, tables, [(version, pa.Table.from_pylist(said, schema=payload_schema()))])


FIRST = {"v0.1.0": [row("kept"), row("corrected"), row("wrong"), row("again")]}
SECOND = {
    **FIRST,
    "v0.2.0": [
        row("corrected", "cancel", "change", seq=1, reviewers=["r_b"]),
        row("wrong", None, "remove", seq=1, cause="reverted", cause_reason="misread", cause_by="r_dee"),
        row("again", op="change", seq=1),
        row("new", "billing"),
    ],
}


def test_a_difference_names_what_changed_by_whom_and_why() -> None:
    found = differences(contents("v0.1.0", FIRST), contents("v0.2.0", SECOND))
    assert (found.added, found.changed, found.removed) == (1, 1, 1)
    assert (found.causes, found.by_reviewer) == ({"reverted": 1, "settled": 2}, {"r_a": 2, "r_b": 1})
    said = {each.item_id: each for each in found.items}
    assert set(said) == {"corrected", "wrong", "new"}  # what says the same again is no difference
    assert (said["corrected"].before, said["corrected"].after) == ('{"label": "refund"}', '{"label": "cancel"}')
    assert (said["wrong"].what, said["wrong"].by, said["wrong"].why) == ("removed", "r_dee", "misread")
    assert (said["new"].why, said["new"].version) == ("why new", "v0.2.0")


def test_a_difference_backwards_is_its_mirror() -> None:
    found = differences(contents("v0.2.0", SECOND), contents("v0.1.0", FIRST))
    assert {each.item_id: each.what for each in found.items} == {"corrected": "changed", "wrong": "added", "new": "removed"}


def test_nothing_differs_between_a_version_and_itself() -> None:
    assert differences(contents("v0.2.0", SECOND), contents("v0.2.0", SECOND)).items == ()


CHANGES = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from(["refund", "billing", None]), st.sampled_from(["x", "y", None])),
    min_size=1,
    max_size=30,
)


@settings(deadline=None)  # the first call loads pyarrow
@given(CHANGES)
def test_counts_that_are_carried_on_are_those_of_a_count_from_the_start(
    changes: list[tuple[str, str | None, str | None]],
) -> None:
    totals, segments, held = card.Totals(), [], dict[str, Row]()
    for number, (item_id, label, scenario) in enumerate(changes):
        before = held.pop(item_id, None)
        op = "remove" if label is None else "change" if before else "add"
        now = row(item_id, label, op, seq=number, scenario=scenario, agreement=0.1 * (number % 7))
        totals = totals.after([before] if before else [], [] if label is None else [now])
        if label is not None:
            held[item_id] = now
        segments.append((f"v0.{number}.0", pa.Table.from_pylist([now], schema=decision_schema())))
    anew = card.totals_of(fold(segments))
    assert (totals.decisions, totals.counts) == (anew.decisions, anew.counts)
    assert totals.agreement == pytest.approx(anew.agreement, abs=1e-4)


def a_change(*rows: Row, version: str = "v0.1.0") -> DatasetChange:
    return DatasetChange(version, rows, (), len(rows), 0, 0)


def test_a_card_keeps_its_own_counts_and_obeys_no_markup_in_names() -> None:
    change = a_change(row("one", scenario="<b>shop|x</b>"), row("two", "billing"))
    totals = card.Totals().after([], change.records)
    text = card.render(change, totals, None, "2026-11-22")
    assert card.read_totals(text) == ("v0.1.0", totals)
    assert "<b>" not in text.partition("\n---\n")[2]
    assert card.read_totals("# A README of somebody's") is None


def test_of_a_decision_with_several_labels_each_is_counted() -> None:
    said = {"one": ["a", "b"], "two": ["b"], "none": list[str]()}
    several = [{**row(name), "decision": json.dumps({"labels": labels})} for name, labels in said.items()]
    totals = card.Totals().after([], several)
    assert totals.counts["label"] == {"a": 1, "b": 2}


def test_a_description_names_every_file_with_its_digest_and_gives_them_back() -> None:
    files = {"data/decisions/v0.1.0.parquet": "ab" * 32, "data/payloads/v0.1.0.parquet": "cd" * 32}
    text = croissant.describe("v0.1.0", files, "2026-11-22", "2 hold.")
    assert croissant.read_files(text) == files
    columns = [field["name"] for field in json.loads(text)["recordSet"][0]["field"]]
    assert columns == decision_schema().names
    assert croissant.read_files("{}") is None


def test_the_description_is_one_that_mlcroissant_validates_and_reads(tmp_path: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    tables = {
        "data/decisions/v0.1.0.parquet": pa.Table.from_pylist([row("one"), row("two")], schema=decision_schema()),
        "data/payloads/v0.1.0.parquet": pa.Table.from_pylist([], schema=payload_schema()),
    }
    contents = {path: to_parquet(table) for path, table in tables.items()}
    for path, content in contents.items():
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_bytes(content)
    files = {path: hashlib.sha256(content).hexdigest() for path, content in contents.items()}
    (tmp_path / croissant.PATH).write_text(croissant.describe("v0.1.0", files, "2026-11-22", "2 hold."), encoding="utf-8")
    dataset = mlcroissant.Dataset(jsonld=str(tmp_path / croissant.PATH))
    assert [record["decisions/item_id"] for record in dataset.records("decisions")] == [b"one", b"two"]


@pytest.mark.parametrize(
    ("sure", "band"), [(0.0, "0.00–0.50"), (0.9, "0.90–0.95"), (0.949, "0.90–0.95"), (0.99, "0.99–1.00"), (1.0, "0.99–1.00")]
)
def test_a_confidence_stands_in_its_band(sure: float, band: str) -> None:
    assert confidence_band(sure) == band


@pytest.mark.parametrize(("said", "means"), [(True, "yes"), ("No", "no"), ("maybe", None), (None, None)])
def test_consent_is_what_the_attribute_says_or_unknown(said: object, means: str | None) -> None:
    assert consent({"may_train": said}, DataUse("triage", "may_train")) == means  # type: ignore[dict-item]
    assert consent({"may_train": said}, DataUse()) is None  # type: ignore[dict-item]


def test_raw_answers_have_one_digest_whatever_their_order() -> None:
    assert answers_digest({"1/2@t": [{"a": 1, "b": 2}], "1/3@t": []}) == answers_digest(
        {"1/3@t": [], "1/2@t": [{"b": 2, "a": 1}]}
    )
    assert answers_digest({"1/2@t": [1]}) != answers_digest({"1/2@t": [2]})


def made(seq: int, *, op: Op = Op.ADD, key: str = "", by_revert: bool = False) -> Recorded:
    decision = Decision(
        ItemId("i"), 0, seq, op, Outcome.ACCEPTED, {"label": "x"}, "", ("ana",), (key or f"a{seq}",), 1.0, 1, NOW
    )  # fmt: skip
    return Recorded(decision, None, by_revert)


def test_taking_back_goes_to_what_held_before_the_last_chosen_decision() -> None:
    history = [made(0), made(1), made(2)]
    found = take_back(history, lambda each: each.decision.seq >= 1, NOW)
    assert found is not None
    assert (found.decision.seq, found.decision.op, found.decision.annotations) == (3, Op.CHANGE, ("a0",))
    assert (found.answers, found.restored) == (frozenset({"a1", "a2"}), frozenset({"a0"}))


def test_what_does_not_hold_any_more_can_not_be_taken_back() -> None:
    assert take_back([made(0), made(1)], lambda each: each.decision.seq == 0, NOW) is None
    withdrawn = [made(0), replace(made(1), decision=replace(made(1).decision, op=Op.REMOVE))]
    assert take_back(withdrawn, lambda each: True, NOW) is None


def test_a_revert_is_undone_only_by_choosing_it() -> None:
    removal = replace(made(1, by_revert=True), decision=replace(made(1, key="a0").decision, op=Op.REMOVE))
    found = take_back([made(0), removal], lambda each: each.decision.seq == 1, NOW)
    assert found is not None
    assert (found.decision.op, found.decision.annotations, found.restored) == (Op.ADD, ("a0",), frozenset({"a0"}))
    assert take_back([made(0), removal], lambda each: True, NOW) is None
