"""Predictions that are answered at once: what `ingest` says of them, durable before the answer, files and items by the flush."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hitl_bridge.core.model import JSON, ItemId, ItemState, Prediction, Problem
from hitl_bridge.errors import RefusedForSafety
from hitl_bridge.ports import ReceiptFile, RequestKey
from hitl_bridge.services.intake.online import Answered, Asked, Conflict, Triaged, flush
from hitl_bridge.services.intake.queueing import first_digests
from tests.adapters.store_examples import a_batch
from tests.services.bench import AUTO, COMPREHENSIVE, QUICK, Bench, row, without_git


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(without_git(tmp_path / "workspace"))
    yield bench
    bench.bridge.close()


def prediction(item_id: str, sure: float = QUICK, **changes: Any) -> Prediction:
    """The same as `row` says."""
    said = Prediction(
        item_id=ItemId(item_id),
        input={"text": f"the words of {item_id}"},
        output={"label": "refund"},
        confidence=sure,
        model_version="m1",
    )
    return replace(said, **changes)


def triaged(bench: Bench, item_id: str, sure: float = QUICK, **changes: Any) -> Triaged:
    answer = bench.bridge.triage(prediction(item_id, sure, **changes))
    assert isinstance(answer, Triaged)
    return answer


def receipts(bench: Bench, item_id: str) -> list[Mapping[str, JSON]]:
    found = bench.bridge.trace(item_id)["receipts"]
    assert isinstance(found, list)
    return found


def queued(bench: Bench) -> list[str]:
    return sorted(f"{item.item_id}#{item.revision}" for item in bench.bridge.store.items_in(ItemState.QUEUED))


def test_it_answers_what_ingest_would_say_word_for_word(tmp_path: Path) -> None:
    online, batch = (Bench(without_git(tmp_path / name)) for name in ("online", "batch"))
    asked = {"t-1": AUTO, "t-2": QUICK, "t-3": COMPREHENSIVE}
    answers = [triaged(online, item_id, sure) for item_id, sure in asked.items()]
    batch.ingest(*(row(item_id, sure) for item_id, sure in asked.items()))
    assert [answer.tier for answer in answers] == ["auto", "quick", "comprehensive"]
    assert [answer.purpose for answer in answers] == ["audit", "review", "review"]
    for answer in answers:
        assert [json.loads(answer.receipt)] == receipts(batch, answer.item_id) == receipts(online, answer.item_id)
    online.bridge.flush_online()
    for item_id in asked:
        assert receipts(online, item_id) == receipts(batch, item_id)
    here, there = (bench.bridge.store.items_in(ItemState.QUEUED) for bench in (online, batch))
    assert [replace(item, batch_id=there[0].batch_id) for item in here] == there


def test_an_answer_is_durable_and_traced_before_anything_is_flushed(bench: Bench) -> None:
    answer = triaged(bench, "t-1")
    with bench.opened() as later:
        assert later.trace("t-1")["receipts"] == [json.loads(answer.receipt)]
        assert later.triage(prediction("t-1")) == replace(answer, again=True)


@pytest.mark.parametrize("flushed", [False, True])
def test_the_same_again_is_the_same_answer_and_other_scores_are_a_conflict(bench: Bench, flushed: bool) -> None:
    first = triaged(bench, "t-1")
    if flushed:
        bench.bridge.push()
    assert triaged(bench, "t-1") == replace(first, again=True)
    assert bench.bridge.triage(prediction("t-1", 0.71)) == Conflict(
        1, "differs from what the same model version said of the same input before"
    )
    bench.bridge.push()
    assert queued(bench) == []
    assert sum(bench.bridge.store.task_counts().values()) == 1


def test_a_changed_input_is_a_new_revision(bench: Bench) -> None:
    triaged(bench, "t-1")
    assert triaged(bench, "t-1", input={"text": "other words"}).revision == 2
    bench.bridge.flush_online()
    assert triaged(bench, "t-1", input={"text": "yet others"}).revision == 3
    bench.bridge.flush_online()
    assert queued(bench) == ["t-1#3"]
    assert len(bench.bridge.store.items_in(ItemState.WITHDRAWN)) == 0  # not the latest
    assert [receipt["revision"] for receipt in receipts(bench, "t-1")] == [1, 2, 3]


def test_a_new_model_neither_asks_again_nor_changes_what_is_open(bench: Bench) -> None:
    triaged(bench, "t-1")
    triaged(bench, "t-1", model_version="m2")
    bench.bridge.flush_online()
    triaged(bench, "t-1", model_version="m3")
    bench.bridge.flush_online()
    assert queued(bench) == ["t-1#1"]
    assert len(receipts(bench, "t-1")) == 3


def test_what_was_ingested_is_known_online_and_the_other_way_round(bench: Bench) -> None:
    bench.ingest(row("t-1"), row("t-2"))
    answer = triaged(bench, "t-1")
    assert answer.again
    assert [json.loads(answer.receipt)] == receipts(bench, "t-1")
    assert isinstance(bench.bridge.triage(prediction("t-2", 0.71)), Conflict)
    triaged(bench, "t-3")
    result = bench.ingest(row("t-3"), row("t-1", 0.71), row("t-4"))
    assert (result.accepted, result.duplicates, result.rejected) == (1, 1, 1)
    assert queued(bench) == ["t-1#1", "t-2#1", "t-3#1", "t-4#1"]


def test_problems_are_those_of_ingest_and_never_stop_the_good_rows(bench: Bench) -> None:
    odd = [
        prediction("t-1", 1.5),
        prediction("t-2", output={"label": "no such label"}),
        prediction("t-3", scores={"nonsense": 0.5}),
        prediction("t-4\n"),
        prediction("t-5"),
        prediction("t-6", attributes={"amount": "much"}),
    ]
    raw = [
        row("t-1", 1.5),
        row("t-2", prediction={"label": "no such label"}),
        row("t-3", scores={"nonsense": 0.5}),
        row("t-4\n"),
        row("t-5"),
        row("t-6", attributes={"amount": "much"}),
    ]
    answers = bench.bridge.triage(odd)
    listed = Bench(without_git(bench.root.parent / "other")).ingest(*raw).problems
    told = [(each.row, each.reason) for each in answers if isinstance(each, Problem)]
    assert told == [(each.row, each.reason) for each in listed]
    assert isinstance(answers[4], Triaged)


def test_twins_in_one_request_are_one_prediction(bench: Bench) -> None:
    first, again, other, revised = bench.bridge.triage(
        [prediction("t-1"), prediction("t-1"), prediction("t-1", 0.6), prediction("t-1", input={"text": "new"})]
    )
    assert isinstance(first, Triaged)
    assert again == replace(first, again=True)
    assert other == Conflict(3, "differs from what the same model version said of the same input before")
    assert isinstance(revised, Triaged)
    assert revised.revision == 2


def test_requests_of_one_group_are_told_their_own_rows(bench: Bench) -> None:
    requests = [Asked([row("t-1"), {"item_id": 7}]), Asked([]), Asked(["nonsense", row("t-2")])]
    answers = bench.bridge._own_answering.answer(requests)
    first, nothing, last = (answer.results for answer in answers)
    assert [type(each) for each in first + nothing + last] == [Triaged, Problem, Problem, Triaged]
    assert [each.row for each in first + last if isinstance(each, Problem)] == [2, 1]


def test_a_key_stands_for_one_request(bench: Bench) -> None:
    answering, key = bench.bridge._own_answering, RequestKey("pipeline", "k-1", "d-1")
    same, other = Asked([row("t-1")], key), Asked([row("t-2")], replace(key, request_digest="d-2"))
    first, refused = answering.answer([same, other])
    assert [type(each) for each in first.results] == [Triaged]
    assert refused == Answered(key_is_taken=True)
    assert answering.answer([other, same, Asked([row("t-3")])])[0] == Answered(key_is_taken=True)
    assert answering.answer([replace(other, key=replace(key, caller="another", request_digest="d-2"))])[0].results
    bench.bridge.flush_online()
    assert queued(bench) == ["t-1#1", "t-2#1", "t-3#1"]


def test_two_who_answer_at_once_agree(bench: Bench) -> None:
    with bench.opened() as other:
        mine, theirs = bench.bridge._own_answering, other._own_answering
        for answering in (mine, theirs):
            answering.answer([])
        for n in range(4):
            one, two = (mine, theirs) if n % 2 else (theirs, mine)
            (a,) = one.answer([Asked([row(f"t-{n}")])])
            (b,) = two.answer([Asked([row(f"t-{n}"), row(f"t-{n}", 0.9)])])
            (first,), (again, conflict) = a.results, b.results
            assert isinstance(first, Triaged)
            assert again == replace(first, again=True)
            assert isinstance(conflict, Conflict)


def test_a_flush_counts_like_a_batch_and_is_made_once(bench: Bench) -> None:
    bench.bridge.triage([prediction(f"t-{n}", AUTO) for n in range(3)])
    bench.bridge.triage([prediction(f"q-{n}") for n in range(2)])
    assert bench.bridge.flush_online() == 5
    assert bench.bridge.flush_online() == 0
    (file,) = bench.bridge.store.receipt_files()
    assert file.rows == 5
    assert bench.bridge.status().tiers == {"auto": 3, "quick": 2}
    assert bench.bridge.status().items == {"queued": 5}


def test_a_long_wait_is_flushed_in_parts(bench: Bench) -> None:
    bench.bridge.triage([prediction(f"t-{n}") for n in range(7)])
    assert flush(replace(bench.bridge._flush_ports, rows=3)) == 7
    assert [file.rows for file in bench.bridge.store.receipt_files()] == [3, 3, 1]
    assert len(queued(bench)) == 7


def test_receipts_of_the_first_form_are_known_and_answered_with(bench: Bench) -> None:
    """Their files have no hashes of items, and digests of another kind."""
    answer = json.loads(triaged(bench, "t-1").receipt)
    checked = bench.bridge._own_answering._ports.check([row("t-1"), row("t-2")]).predictions.to_pylist()
    old = [
        {name: value for name, value in answer.items() if name != "draw_form"}
        | {"item_id": each["item_id"], **first_digests(bench.bridge.settings.workspace_key, each)._asdict()}
        for each in checked
    ]
    pq.write_table(pa.Table.from_pylist(old[1:]), bench.root / ".hitl" / "old.parquet")
    (bench.root / ".hitl" / "receipts").mkdir()
    (bench.root / ".hitl" / "old.parquet").rename(bench.root / ".hitl" / "receipts" / "old.parquet")
    bench.bridge.store.record_batch(a_batch(), ReceiptFile("old.parquet", "0" * 64, 1), [])
    again = triaged(bench, "t-2")
    assert again.again
    assert json.loads(again.receipt) == old[1] | {"draw_form": None}
    assert isinstance(bench.bridge.triage(prediction("t-2", 0.71)), Conflict)
    assert triaged(bench, "t-2", input={"text": "other words"}).revision == 2


def test_a_missing_file_of_receipts_stops_the_answers(bench: Bench) -> None:
    bench.ingest(row("t-1"))
    for file in (bench.root / ".hitl" / "receipts").glob("*.parquet"):
        file.unlink()
    with pytest.raises(RefusedForSafety, match="receipts"):
        bench.bridge.triage(prediction("t-2"))


def test_a_prediction_that_is_answered_while_its_batch_is_ingested_is_taken_once(bench: Bench) -> None:
    """As by two channels of one pipeline, at the same moment."""
    answered = list[Any]()

    with bench.opened() as other:
        engine = bench.bridge._ingest_ports.engine

        class Slow:
            def triage(self, predictions: Any, plan: Any, key: bytes) -> Any:
                if not answered:
                    answered.append(other.triage([prediction("t-1"), prediction("t-2", 0.8), prediction("t-9")]))
                return engine.triage(predictions, plan, key)

        bench.bridge.__dict__["_ingest_ports"] = replace(bench.bridge._ingest_ports, engine=Slow())
        result = bench.ingest(row("t-1"), row("t-2"), row("t-3"))
    assert (result.accepted, result.duplicates, result.rejected) == (1, 1, 1)
    assert [len(receipts(bench, item_id)) for item_id in ("t-1", "t-2", "t-3", "t-9")] == [1, 1, 1, 1]
    assert queued(bench) == ["t-1#1", "t-2#1", "t-3#1", "t-9#1"]
