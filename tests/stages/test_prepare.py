from __future__ import annotations

import json
from pathlib import Path

import pytest

from hitl_bridge.errors import SettingsError, UsageError
from hitl_bridge.stages.params import load_params
from hitl_bridge.stages.prepare import prepare
from hitl_bridge.stages.rows import read_rows
from hitl_bridge.stages.snapshot import read_examples
from tests.stages.workspaces import decision, report, texts, write_lines, write_version


def ids(root: Path, split: str) -> set[str]:
    return {example.item_id for example in read_examples(root / f"data/snapshot/{split}.parquet")}


def test_only_uniform_items_measure_and_they_never_train(workspace: Path) -> None:
    write_version(
        workspace,
        "v0.1.0",
        [
            decision("reviewed", "refund"),
            decision("held", "refund", purpose="uniform", split="holdout", edge=True, scenario="legal"),
            decision("calibrating", "cancel", purpose="uniform", split="calibration"),
            decision("rejected", None, outcome="rejected"),
            decision("erased", "refund"),
            decision("old label", "gone"),
            decision("uniform without a side", "refund", purpose="uniform"),
            decision("doubtful, yet held out", "refund", split="holdout"),
        ],
        {
            name: f"some text, {name}"
            for name in ("reviewed", "held", "calibrating", "old label", "uniform without a side", "doubtful, yet held out")
        },
    )

    prepare(workspace)

    assert ids(workspace, "train") - {row["item_id"] for row in texts(90, 1, "t")} == {"reviewed"}
    assert ids(workspace, "holdout") - {row["item_id"] for row in texts(120, 2, "h")} == {"held"}
    assert ids(workspace, "calibration") == {"calibrating"}
    data = report(workspace, "data.json")
    assert data["not_used"] == {
        "rejected": 1,
        "erased": 1,
        "no_consent": 0,
        "unknown_label": 1,
        "no_measure": 2,
        "superseded_base_rows": 0,
    }
    assert data["versions"] == ["v0.1.0"]
    assert data["counts"]["holdout"]["scenarios"]["legal"] == 1


def test_what_is_measured_by_is_left_out_of_training_by_id_group_or_words_and_that_is_proved(workspace: Path) -> None:
    train = [
        {"item_id": "same id", "input": {"text": "one"}, "output": {"label": "refund"}},
        {"item_id": "same group", "input": {"text": "two"}, "output": {"label": "refund"}, "group": "customer 7"},
        {"item_id": "same words", "input": {"text": "  MY card\tis lost "}, "output": {"label": "refund"}},
        {"item_id": "kept", "input": {"text": "three"}, "output": {"label": "cancel"}},
    ]
    holdout = [
        {"item_id": "same id", "input": {"text": "four"}, "output": {"label": "refund"}},
        {"item_id": "h1", "input": {"text": "five"}, "output": {"label": "refund"}, "group": "customer 7"},
        {"item_id": "h2", "input": {"text": "my card is lost"}, "output": {"label": "refund"}},
    ]
    write_lines(workspace / "data/base/train.jsonl", train)
    write_lines(workspace / "data/base/holdout.jsonl", holdout)

    prepare(workspace)

    assert ids(workspace, "train") == {"kept"}
    leakage = report(workspace, "data.json")["leakage"]
    assert leakage["left_out"] == {"item_id": 1, "group": 1, "input": 1, "near_duplicate": 0}
    assert leakage["shared_with_train"]["holdout"] == {"item_id": 0, "group": 0, "input": 0, "near_duplicate": 0}


def test_what_is_nearly_the_same_as_what_measures_does_not_train_and_the_proof_says_so(workspace: Path) -> None:
    asked = "I was charged twice for order 4711, please send the money back"
    train = [
        {"item_id": "near", "input": {"text": asked.replace("4711", "4712")}, "output": {"label": "refund"}},
        {"item_id": "other words", "input": {"text": "the app crashes when I log in"}, "output": {"label": "technical"}},
    ]
    write_lines(workspace / "data/base/train.jsonl", train)
    write_lines(
        workspace / "data/base/holdout.jsonl", [{"item_id": "h1", "input": {"text": asked}, "output": {"label": "refund"}}]
    )

    prepare(workspace)

    assert ids(workspace, "train") == {"other words"}
    leakage = report(workspace, "data.json")["leakage"]
    assert (leakage["near_duplicates_left_out"], leakage["threshold"], leakage["checked"]) == (1, 0.8, True)
    assert (leakage["train_items"], leakage["holdout_items"], leakage["same_item"], leakage["same_group"]) == (1, 1, 0, 0)

    params = (workspace / "params.yaml").read_text().replace("near_duplicates: 0.8", "near_duplicates: null")
    (workspace / "params.yaml").write_text(params)
    prepare(workspace)
    assert ids(workspace, "train") == {"near", "other words"}
    assert report(workspace, "data.json")["leakage"]["method"] == "equal inputs only"


def test_the_snapshot_opens_as_a_dataset_of_hugging_face(workspace: Path) -> None:
    datasets = pytest.importorskip("datasets")
    prepare(workspace)
    files = {name: str(workspace / f"data/snapshot/{name}.parquet") for name in ("train", "holdout")}
    opened = datasets.load_dataset("parquet", data_files=files, cache_dir=str(workspace / ".hitl"))
    assert set(opened["train"]["item_id"]) == ids(workspace, "train")


def test_an_item_that_was_once_held_out_does_not_train_as_a_later_revision(workspace: Path) -> None:
    write_version(workspace, "v0.1.0", [decision("a", "refund", purpose="uniform", split="holdout")], {"a": "first words"})
    write_version(workspace, "v0.2.0", [decision("a", "refund", seq=1, op="change")], {"a": "other words"})

    prepare(workspace)

    assert "a" not in ids(workspace, "train") | ids(workspace, "holdout")


def test_a_decision_replaces_the_base_row_of_the_same_item(workspace: Path) -> None:
    write_version(workspace, "v0.1.0", [decision("t0", "cancel"), decision("t1", None, outcome="rejected")], {"t0": "a text"})

    prepare(workspace)

    examples = {example.item_id: example for example in read_examples(workspace / "data/snapshot/train.parquet")}
    assert (examples["t0"].label, examples["t0"].source, examples["t0"].version) == ("cancel", "decisions", "v0.1.0")
    assert "t1" not in examples
    assert report(workspace, "data.json")["not_used"]["superseded_base_rows"] == 2


def test_without_a_holdout_file_a_share_of_the_base_is_held_out_the_same_way_each_time(workspace: Path) -> None:
    (workspace / "data/base/holdout.jsonl").unlink()

    prepare(workspace)
    first = (workspace / "data/snapshot/holdout.parquet").read_bytes()
    write_lines(workspace / "data/base/train.jsonl", texts(90, 1, "t")[::-1])
    prepare(workspace)

    assert (workspace / "data/snapshot/holdout.parquet").read_bytes() == first
    assert 5 <= len(ids(workspace, "holdout")) <= 35


def test_items_of_one_group_stay_on_one_side_where_params_name_the_attribute(workspace: Path) -> None:
    params = (workspace / "params.yaml").read_text().replace("group_by: null", "group_by: customer")
    (workspace / "params.yaml").write_text(params)
    customer = json.dumps({"customer": 7})
    write_version(
        workspace,
        "v0.1.0",
        [
            decision("a", "refund", attributes=customer),
            decision("b", "refund", attributes=customer, purpose="uniform", split="holdout"),
        ],
        {"a": "one", "b": "two"},
    )

    prepare(workspace)

    assert "a" not in ids(workspace, "train")
    assert report(workspace, "data.json")["leakage"]["left_out"]["group"] == 1


def test_a_corrupt_row_is_listed_and_the_good_rows_go_on(workspace: Path) -> None:
    path = workspace / "data/base/train.jsonl"
    bad = [
        b"{broken",
        b'{"item_id": "\xff"}',
        b'{"item_id": "x", "input": {"text": "a"}, "output": {"label": "unheard of"}}',
        b"[]",
    ]
    path.write_bytes(path.read_bytes() + b"\n".join(bad))

    prepare(workspace)

    data = report(workspace, "data.json")
    assert [(problem["row"], problem["reason"]) for problem in data["problems"]] == [
        (91, "not valid JSON"),
        (92, "not valid UTF-8"),
        (93, "unknown label 'unheard of'"),
        (94, "not a JSON object"),
    ]
    assert data["counts"]["train"]["rows"] + data["leakage"]["near_duplicates_left_out"] == 90


def test_jsonl_csv_and_parquet_carry_the_same_rows(workspace: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    params = load_params(workspace)
    rows = texts(4, 1, "t")
    flat = [{"item_id": row["item_id"], "text": row["input"]["text"], "label": row["output"]["label"]} for row in rows]
    lines = [",".join(flat[0]), *(",".join(row.values()) for row in flat)]
    (workspace / "plain.csv").write_text("\n".join(lines))
    nested = [f"{row['item_id']};{json.dumps(row['input'])};{json.dumps(row['output'])}" for row in rows]
    quoted = ['"' + part.replace('"', '""') + '"' for line in nested for part in line.split(";")]
    table = ["item_id,input,output", *(",".join(quoted[i : i + 3]) for i in range(0, len(quoted), 3))]
    (workspace / "nested.csv").write_text("\n".join(table))
    pq.write_table(pa.Table.from_pylist(rows), workspace / "rows.parquet")
    write_lines(workspace / "rows.jsonl", rows)

    def read(name: str) -> list[tuple[str, object, object]]:
        found = read_rows(workspace / name, params.kind, params.labels)
        assert not found.problems
        return [(row.item_id, dict(row.input), dict(row.output or {})) for row in found.good]

    assert read("plain.csv") == read("nested.csv") == read("rows.parquet") == read("rows.jsonl")


def test_a_csv_row_that_is_not_utf8_is_listed_alone(workspace: Path) -> None:
    params = load_params(workspace)
    (workspace / "rows.csv").write_bytes(b"item_id,text,label\na,fine,refund\nb,caf\xe9,refund\nc,fine too,refund\n")

    found = read_rows(workspace / "rows.csv", params.kind, params.labels)

    assert [row.item_id for row in found.good] == ["a", "c"]
    assert [(problem.row, problem.reason) for problem in found.problems] == [(2, "not valid UTF-8")]


def test_the_snapshot_can_not_be_committed_and_two_base_files_are_refused(workspace: Path) -> None:
    prepare(workspace)
    assert (workspace / "data/snapshot/.gitignore").read_text() == "*\n"

    (workspace / "data/base/train.csv").write_text("item_id,text,label\n")
    with pytest.raises(UsageError, match="only one can count"):
        prepare(workspace)


def test_every_mistake_in_params_is_reported_at_once_with_its_line(workspace: Path) -> None:
    (workspace / "params.yaml").write_text("train:\n  trainer: magic\n  sed: 1\ngate:\n  alpha: 7\n  min_items: some\nother: 1\n")

    with pytest.raises(SettingsError) as caught:
        load_params(workspace)

    assert [(problem.line, problem.where) for problem in caught.value.problems] == [
        (2, "train.trainer"),
        (3, "train.sed"),
        (5, "gate.alpha"),
        (6, "gate.min_items"),
        (7, "other"),
    ]


def test_labels_and_task_come_from_hitl_yaml_and_are_checked(workspace: Path) -> None:
    (workspace / "hitl.yaml").write_text("task: telepathy\nlabels: [only one]\nlabel_studio: {url: x}\n")

    with pytest.raises(SettingsError) as caught:
        load_params(workspace)

    assert [problem.where for problem in caught.value.problems] == ["task", "labels"]


def test_beside_somebody_elses_pipeline_the_params_are_those_of_our_own_folder(workspace: Path) -> None:
    (workspace / "review").mkdir()
    for name in ("dvc.yaml", "params.yaml"):
        (workspace / name).rename(workspace / "review" / name)
    (workspace / "params.yaml").write_text("somebody: else\n")

    prepare(workspace)

    (workspace / "review/params.yaml").write_text("trian: {}\n")
    with pytest.raises(SettingsError, match=r"review/params\.yaml has 1 problem"):
        load_params(workspace)
