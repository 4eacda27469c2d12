from __future__ import annotations

import hashlib
import io
import os
import random
import subprocess
import sys
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitl_bridge.core.dataset.fold import fold, fold_payloads, measured_items, snapshot_with_payloads
from hitl_bridge.core.dataset.schema import SCHEMA_VERSION, decision_schema, from_parquet, payload_schema, to_parquet
from hitl_bridge.core.dataset.splits import Keys, holdout_draw, input_key, keep_apart, shared
from hitl_bridge.errors import UsageError

Row = dict[str, Any]


def record(item_id: str, revision: int = 0, seq: int = 0, op: str = "add", **more: Any) -> Row:
    row: Row = {field.name: None for field in decision_schema()}
    return {**row, "op": op, "item_id": item_id, "revision": revision, "seq": seq, **more}


def decisions(*rows: Row) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=decision_schema())


def payloads(*rows: tuple[str, int, str]) -> pa.Table:
    content = [{"item_id": item, "revision": revision, "input": text, "rationale": ""} for item, revision, text in rows]
    return pa.Table.from_pylist(content, schema=payload_schema())


MANY = [record(f"i{n}", revision=n % 2, confidence=n / 100, reviewers=[f"r_{n}"], annotations=[]) for n in range(100)]


def test_a_dataset_file_gives_back_what_was_put_in() -> None:
    table = decisions(*MANY).sort_by([("item_id", "ascending"), ("revision", "ascending")])

    assert from_parquet(to_parquet(table)).equals(table)
    assert from_parquet(to_parquet(payloads(("a", 0, "{}")))).schema.equals(payload_schema())
    assert from_parquet(to_parquet(decisions())).num_rows == 0


def test_a_file_of_the_first_schema_is_read_with_nulls_where_it_says_nothing() -> None:
    schema = decision_schema()
    first = list(schema)[: schema.get_field_index("confidence_band")]
    metadata = {**(schema.metadata or {}), b"hitl_bridge.schema_version": b"1"}
    old = decisions(*MANY).select([field.name for field in first]).replace_schema_metadata(metadata)
    sink = io.BytesIO()
    pq.write_table(old, sink)

    read = from_parquet(sink.getvalue())
    assert read.schema.equals(schema)
    assert read["item_id"].to_pylist() == old["item_id"].to_pylist()
    assert read["cause"].null_count == len(MANY)
    both = [("v0.1.0", read), ("v1.0.0", decisions(record("i0", seq=1, op="change", cause="settled")))]
    assert {row["item_id"]: row["cause"] for row in fold(both).to_pylist()}["i0"] == "settled"


@pytest.mark.catalogue("D8")
def test_the_same_decisions_give_the_same_bytes_whatever_their_order_chunks_and_column_order() -> None:
    shuffled = list(MANY)
    random.Random(1).shuffle(shuffled)
    chunked = pa.concat_tables([decisions(*shuffled[:30]), decisions(*shuffled[30:])])

    assert to_parquet(decisions(*MANY)) == to_parquet(chunked) == to_parquet(chunked.select(chunked.column_names[::-1]))


@pytest.mark.catalogue("D8")
def test_another_process_with_another_hash_seed_writes_the_same_bytes() -> None:
    program = (
        "import hashlib; from tests.core.test_dataset import *; print(hashlib.sha256(to_parquet(decisions(*MANY))).hexdigest())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)

    assert done.stdout.strip() == hashlib.sha256(to_parquet(decisions(*MANY))).hexdigest()


def test_a_newer_schema_a_foreign_file_and_a_broken_one_are_refused_in_words(tmp_path: Any) -> None:
    table = decisions(*MANY)
    newer = table.replace_schema_metadata({**table.schema.metadata, b"hitl_bridge.schema_version": b"99"})
    pq.write_table(newer, tmp_path / "newer")
    pq.write_table(table.replace_schema_metadata(None), tmp_path / "foreign")

    with pytest.raises(UsageError, match=f"version 99; this program knows versions up to {SCHEMA_VERSION}"):
        from_parquet((tmp_path / "newer").read_bytes())
    with pytest.raises(UsageError, match="no schema version"):
        from_parquet((tmp_path / "foreign").read_bytes())
    with pytest.raises(UsageError, match="Not a Parquet file"):
        from_parquet(b"PAR1 not really PAR1")


def test_a_table_with_missing_columns_is_refused_by_their_names() -> None:
    with pytest.raises(UsageError, match="scenario"):
        to_parquet(decisions(*MANY).drop_columns(["scenario"]))


def test_a_later_version_changes_and_removes_and_versions_are_ordered_as_numbers() -> None:
    held = fold(
        [
            ("v0.10.0", decisions(record("a", seq=1, op="change", decision="new"), record("b", seq=1, op="remove"))),
            ("v0.9.0", decisions(record("a", decision="old"), record("b"), record("c"))),
        ]
    )

    assert [(row["item_id"], row["decision"], row["version"]) for row in held.to_pylist()] == [
        ("a", "new", "v0.10.0"),
        ("c", None, "v0.9.0"),
    ]


def test_a_later_revision_supersedes_even_if_an_earlier_one_is_corrected_afterwards() -> None:
    versions = [
        ("v0.1.0", decisions(record("a", revision=0, decision="first"))),
        ("v0.2.0", decisions(record("a", revision=1, decision="second"))),
        ("v0.2.1", decisions(record("a", revision=0, seq=1, op="change", decision="first, mended"))),
    ]
    removed = ("v0.2.2", decisions(record("a", revision=1, seq=1, op="remove")))

    assert fold(versions)["decision"].to_pylist() == ["second"]
    assert fold([*versions, removed]).num_rows == 0


def test_no_versions_fold_into_an_empty_snapshot() -> None:
    assert snapshot_with_payloads([], []).num_rows == 0
    assert {"version", "input", "rationale"} <= set(snapshot_with_payloads([], []).column_names)


def test_payloads_are_found_by_item_and_revision_and_an_erased_one_is_null() -> None:
    held = snapshot_with_payloads(
        [("v0.1.0", decisions(record("a"), record("b"), record("a#1"), record("c", revision=1)))],
        [
            ("v0.1.0", payloads(("a", 0, "A"), ("a#1", 0, "A1"), ("c", 0, "C0"), ("c", 1, "C1"))),
            ("v0.2.0", payloads(("a", 0, "A, mended"))),
        ],
    )

    assert dict(zip(held["item_id"].to_pylist(), held["input"].to_pylist(), strict=True)) == {
        "a": "A, mended",
        "a#1": "A1",
        "b": None,
        "c": "C1",
    }
    assert snapshot_with_payloads([("v0.1.0", decisions(record("a")))], [])["input"].to_pylist() == [None]


def test_an_item_that_was_measured_by_once_stays_known_as_such() -> None:
    versions = [
        ("v0.1.0", decisions(record("a", split="holdout"), record("b", split="train"))),
        ("v0.1.1", decisions(record("a", seq=1, op="remove", split="holdout"))),
    ]

    assert measured_items(versions) == {"a"}
    assert measured_items([]) == frozenset()


STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.booleans(), st.booleans()), max_size=30)


@settings(deadline=None)
@given(STEPS)
def test_folding_is_what_a_plain_loop_over_the_rows_gives(steps: list[tuple[str, int, bool, bool]]) -> None:
    """The model: a dictionary of item → (revision, row), taken in order of versions."""
    rows: list[list[Row]] = [[]]
    for seq, (item_id, revision, removes, next_version) in enumerate(steps):
        if next_version:
            rows.append([])
        rows[-1].append(record(item_id, revision, seq, "remove" if removes else "add"))
    expected: dict[str, Row] = {}
    for row in (row for version in rows for row in version):
        if row["item_id"] not in expected or row["revision"] >= expected[row["item_id"]]["revision"]:
            expected[row["item_id"]] = row

    held = fold([(f"v0.{number}.0", decisions(*version)) for number, version in enumerate(rows)])

    kept = sorted((row["item_id"], row["seq"]) for row in expected.values() if row["op"] != "remove")
    assert list(zip(held["item_id"].to_pylist(), held["seq"].to_pylist(), strict=True)) == kept


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 2), st.text("xy", max_size=2)), max_size=20))
def test_of_each_revision_the_latest_payload_holds(steps: list[tuple[str, int, str]]) -> None:
    kept = fold_payloads([(f"v0.{number}.0", payloads(step)) for number, step in enumerate(steps)])

    found = {(row["item_id"], row["revision"]): row["input"] for row in kept.to_pylist()}
    assert found == {(item_id, revision): text for item_id, revision, text in steps}


KEYS = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from(["g", "h", None]), st.sampled_from(["x", "y", "z"])), max_size=20
).map(lambda rows: Keys([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]))


@given(KEYS, KEYS)
def test_after_keeping_apart_nothing_is_shared_and_nothing_left_out_without_a_reason(train: Keys, measured: Keys) -> None:
    separation = keep_apart(train, measured)
    kept = [index for index, stays in enumerate(separation.keep) if stays]
    rest = Keys([train.item_ids[i] for i in kept], [train.groups[i] for i in kept], [train.input_keys[i] for i in kept])

    assert set(shared(rest, measured).values()) == {0}
    assert sum(separation.left_out.values()) == len(train.item_ids) - len(kept)


def test_a_row_without_a_group_shares_no_group() -> None:
    assert keep_apart(Keys(["a"], [None], ["x"]), Keys(["b"], [None], ["y"])).keep == (True,)


def test_texts_are_the_same_whatever_their_case_spaces_and_unicode_form() -> None:
    assert input_key("  Où  EST\tma carte? ") == input_key("ou\u0300 est ma CARTE?".replace("ou\u0300", "où"))
    assert input_key("ﬁne") == input_key("FINE")
    assert input_key("fine") != input_key("fine!")


def test_a_holdout_draw_is_always_the_same_uniform_and_follows_the_seed() -> None:
    draws = [holdout_draw(f"item {n}", 0) for n in range(4000)]

    assert draws == [holdout_draw(f"item {n}", 0) for n in range(4000)]
    assert sum(draw < 0.2 for draw in draws) == pytest.approx(800, abs=80)
    assert holdout_draw("a", 0) != holdout_draw("a", 1)
