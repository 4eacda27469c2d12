"""How many models say something else of the same item."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitl_bridge.adapters.triage_engine import doubt

_LABELS = st.sampled_from(["refund", "billing", "cancel"])


def disagreements(predictions: Sequence[tuple[Any, ...]], known: Sequence[tuple[Any, ...]] = ()) -> dict[tuple[Any, ...], Any]:
    with duckdb.connect(":memory:") as connection:
        for name, rows in (("predictions", predictions), ("known", known)):
            connection.register(name, _table(rows))
        found = connection.sql(doubt.disagreement("predictions", "known")).fetchall()
    assert len(found) == len(predictions)
    return {row[:3]: row[3] for row in found}


def _table(rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    kinds = {"item_id": pa.string(), "revision": pa.int32(), "model_version": pa.string(), "label": pa.string()}
    arrays = [pa.array([row[at] for row in rows], kind) for at, kind in enumerate(kinds.values())]
    return pa.table(arrays, names=list(kinds))


def test_models_in_one_batch_and_models_before_it_are_asked_alike() -> None:
    found = disagreements([("t", 1, "m1", "refund"), ("t", 1, "m2", "billing")], [("t", 1, "m3", "refund")])
    assert found == {("t", 1, "m1"): pytest.approx(1 / 3), ("t", 1, "m2"): pytest.approx(2 / 3)}


def test_a_model_alone_does_not_disagree_with_itself_and_one_without_a_label_is_not_told() -> None:
    found = disagreements([("t", 1, "m1", "refund"), ("u", 1, "m1", None)], [("t", 1, "m1", "refund")])
    assert found == {("t", 1, "m1"): 0.0, ("u", 1, "m1"): None}


def test_what_was_said_of_another_revision_does_not_count() -> None:
    assert disagreements([("t", 2, "m1", "refund")], [("t", 1, "m2", "billing")]) == {("t", 2, "m1"): 0.0}


_SAID = st.dictionaries(
    st.tuples(st.sampled_from("tu"), st.integers(1, 2), st.sampled_from(["m1", "m2", "m3", "m4"])), _LABELS, min_size=1
)


@settings(max_examples=40, deadline=None)
@given(_SAID, st.data())
def test_the_share_is_that_of_counting_by_hand(said: dict[tuple[str, int, str], str], data: st.DataObject) -> None:
    new = data.draw(st.sets(st.sampled_from(sorted(said)), min_size=1))
    rows = [(*key, label) for key, label in said.items()]
    found = disagreements([row for row in rows if row[:3] in new], [row for row in rows if row[:3] not in new])
    labels: dict[tuple[str, int], list[str]] = defaultdict(list)
    for item_id, revision, _, label in rows:
        labels[item_id, revision].append(label)
    for key, share in found.items():
        everybody = labels[key[0], key[1]]
        assert share == pytest.approx(sum(label != said[key] for label in everybody) / len(everybody))


def test_a_field_is_named_only_where_it_stands_as_a_column() -> None:
    assert doubt.names(["margin < 0.1", "Disagreement > 0.5 AND label = 'refund'"], doubt.DISAGREEMENT)
    assert not doubt.names(["label = 'disagreement'", "energy > 3", "this is no SQL ("], doubt.DISAGREEMENT)
