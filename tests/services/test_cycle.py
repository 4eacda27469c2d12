"""A whole cycle, and the same once more."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hitl_bridge.errors import LabelingUnavailable
from tests.services.bench import ANA, AUTO, BEN, COMPREHENSIVE, Bench, git, row, write_rows


def test_a_cycle_does_every_step_and_a_second_one_changes_nothing(whole_bench: Bench) -> None:
    bench, bridge = whole_bench, whole_bench.bridge
    bench.ingest(row("quick"), row("strict", COMPREHENSIVE), row("audit", AUTO), row("waiting"))
    first = bridge.sync()
    assert (first.push.created, first.pull.revisions, first.commit.version, first.did_something) == (4, 0, None, True)

    bench.answer("quick", ANA, "billing")
    bench.answer("strict", ANA, "refund")
    bench.answer("strict", BEN, "cancel")
    bench.answer("audit", BEN, "refund")
    second = bridge.sync()
    assert (second.pull.revisions, second.resolve.decisions, second.resolve.disputed) == (4, 2, 1)
    assert (second.next_rounds.created, second.commit.version, second.commit.added) == (1, "v0.1.0", 2)

    before, head = bench.database(), git(bench.root, "rev-parse", "HEAD")
    bench.clock.turn(300)
    again = bridge.sync()
    assert not again.did_something
    assert (bench.database(), git(bench.root, "rev-parse", "HEAD")) == (before, head)
    assert git(bench.root, "status", "--porcelain") == ""
    assert bridge.status().items == {"committed": 2, "pushed": 2}


def test_every_step_twice_in_a_row_changes_nothing(bench: Bench) -> None:
    bridge = bench.bridge

    def twice(step: Callable[[], object]) -> None:
        step()
        before = bench.database()
        bench.clock.turn(61)
        step()
        assert bench.database() == before

    source = write_rows(bench.root / "in.jsonl", [row("quick"), row("strict", COMPREHENSIVE), row("audit", AUTO)])
    twice(lambda: bridge.ingest(str(source)))
    twice(bridge.push)
    bench.answer("quick", ANA, "billing")
    bench.answer("strict", ANA, "refund")
    bench.answer("strict", BEN, "cancel")
    for step in (bridge.pull, bridge.resolve, bridge.push, bridge.status):
        twice(step)
    assert (bench.state("quick"), bench.state("strict")) == ("decided", "pushed")


def test_a_cycle_that_is_cut_off_in_the_middle_goes_on_where_it_stopped(whole_bench: Bench) -> None:
    bench, bridge = whole_bench, whole_bench.bridge
    bench.ingest(row("one"), row("two"))
    for _ in range(6):
        bench.labeling.fail_next()
        with pytest.raises(LabelingUnavailable):
            bridge.push()
        bench.clock.turn(61)
    bridge.push()
    bench.answer("one")
    bench.labeling.fail_next()
    with pytest.raises(LabelingUnavailable):
        bridge.sync()
    assert bridge.sync().commit.added == 1
    assert len(bench.labeling.tasks()) == 2
