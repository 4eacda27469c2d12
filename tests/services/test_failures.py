"""Items that were set aside are listed with the reason, and get another round when a person asks."""

from __future__ import annotations

import pytest

from hitl_bridge.core.model import ItemId, TaskState
from hitl_bridge.core.sync import push_key
from hitl_bridge.errors import UnknownName
from hitl_bridge.services.sync.attempts import tried
from tests.services.bench import ANA, Bench, row

BEN_SAYS = "Ben Ops <ben@example.com>"


def refused(bench: Bench, *item_ids: str, why: str = "the text is too long") -> None:
    bench.ingest(*[row(item_id) for item_id in item_ids])
    for item_id in item_ids:
        bench.labeling.refused[push_key(bench.bridge.settings.workspace_key, bench.item(item_id))] = why
    bench.bridge.push()


def test_an_item_that_label_studio_refused_is_listed_with_its_reason(bench: Bench) -> None:
    refused(bench, "t-1")
    (line,) = bench.bridge.failures()
    assert (line.item_id, line.state, line.round, line.reason) == ("t-1", "quarantined", 1, "the text is too long")
    assert line.push_key is not None
    assert line.project


def test_a_retried_item_is_sent_under_a_new_key_and_answered(bench: Bench) -> None:
    refused(bench, "t-1")
    bench.bridge.retry("t-1", by=BEN_SAYS, reason="raised the limit")
    assert (bench.state("t-1"), bench.item("t-1").round) == ("queued", 2)
    assert bench.bridge.push().created == 1
    assert bench.bridge.failures() == []
    bench.answer("t-1", ANA, "cancel")
    bench.brought_back()
    assert bench.decision("t-1").output == {"label": "cancel"}
    keys = [task.push_key for task in bench.tasks() if task.item_id == ItemId("t-1")]
    assert len(set(keys)) == 2


def test_a_retry_is_in_the_log_with_who_and_why(bench: Bench) -> None:
    refused(bench, "t-1")
    bench.bridge.retry("t-1", by=BEN_SAYS, reason="raised the limit")
    told = bench.bridge.store.insights().last_event("retried")
    assert told is not None
    assert (told.actor, told.item_id) == (BEN_SAYS, ItemId("t-1"))
    assert (told.detail["reason"], told.detail["why"]) == ("raised the limit", "the text is too long")
    assert bench.bridge.store.verify_audit({}).problems == ()


def test_all_that_were_set_aside_can_be_retried_at_once(bench: Bench) -> None:
    refused(bench, "t-1", "t-2", "t-3")
    bench.pushed(row("fine"))
    assert set(bench.bridge.retry(None, by=BEN_SAYS).item_ids) == {"t-1", "t-2", "t-3"}
    assert bench.state("fine") == "pushed"
    assert bench.bridge.push().created == 3


def test_an_item_that_is_refused_again_is_listed_again(bench: Bench) -> None:
    refused(bench, "t-1")
    bench.bridge.retry("t-1", by=BEN_SAYS)
    bench.labeling.refused[push_key(bench.bridge.settings.workspace_key, bench.item("t-1"))] = "still too long"
    bench.bridge.push()
    (line,) = bench.bridge.failures()
    assert (line.round, line.reason) == (2, "still too long")
    assert [task.round for task in bench.tasks(TaskState.REJECTED)] == [1, 2]


def test_what_was_not_set_aside_can_not_be_retried(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    with pytest.raises(UnknownName) as caught:
        bench.bridge.retry("t-1", by=BEN_SAYS)
    assert "failures list" in caught.value.remedy
    assert bench.bridge.retry(None, by=BEN_SAYS).item_ids == ()


def test_ctrl_c_is_held_against_no_item(bench: Bench) -> None:
    store, subjects = bench.bridge.store, ["t-1"]
    with pytest.raises(KeyboardInterrupt), tried(store, "resolve", subjects, bench.clock.now()):
        raise KeyboardInterrupt
    assert store.deaths("resolve") == {}
    with pytest.raises(ZeroDivisionError), tried(store, "resolve", subjects, bench.clock.now()):
        raise ZeroDivisionError
    assert store.deaths("resolve") == {"t-1": 1}
