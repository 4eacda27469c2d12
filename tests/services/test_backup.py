"""A store that was put back from a backup is noticed, and what it did since is found again: nothing lost, nothing doubled."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from hitl_bridge.core.model import ItemId
from hitl_bridge.errors import RefusedForSafety
from hitl_bridge.ports import AuditHead, Event
from hitl_bridge.services.sync.restored import LOOK_UP_FIRST, accept_older_store, refuse_older_store
from tests.services.bench import ANA, BEN, COMPREHENSIVE, DEE, Bench, git, row


def restore(bench: Bench, backup: Path) -> None:
    """As an operator does it: nothing runs, and the files beside the database go."""
    bench.bridge.close()
    database = bench.root / ".hitl" / "bridge.db"
    for each in database.parent.glob("bridge.db*"):
        each.unlink()
    shutil.copy(backup, database)
    bench.bridge = bench.opened()


def batches_committed(bench: Bench) -> list[str]:
    trailers = git(bench.root, "log", "--format=%(trailers:key=Bridge-Batch,valueonly)", "reviews")
    return [line for line in trailers.splitlines() if line]


def held(bench: Bench) -> dict[str, str]:
    decisions = bench.bridge.load_decisions()
    return dict(zip(decisions["item_id"], decisions["decision"], strict=True))


@pytest.mark.catalogue("C8")
def test_after_a_restore_no_task_is_doubled_no_answer_lost_and_nothing_committed_twice(whole_bench: Bench) -> None:
    bench = whole_bench
    bench.ingest(row("early"), row("later"), row("open"), row("disputed", COMPREHENSIVE))
    bench.bridge.sync()
    bench.answer("early", ANA, "billing")
    assert bench.bridge.sync().commit.version == "v0.1.0"

    backup = bench.bridge.backup().file
    bench.answer("later", ANA, "cancel")
    bench.answer("disputed", ANA, "cancel")
    bench.answer("disputed", BEN, "billing")
    bench.ingest(row("new"))
    lost_file = bench.root / ".hitl" / f"in-{bench.files}.jsonl"
    assert bench.bridge.sync().commit.version == "v0.2.0"  # and the adjudicator is asked
    bench.answer("new", BEN, "cancel")
    bench.answer("disputed", DEE, "cancel", why="They say so.")
    bench.answer("open", BEN, "refund")
    tasks, commits = bench.labeling.tasks(), batches_committed(bench)

    restore(bench, backup)
    for verb in (bench.bridge.sync, bench.bridge.push, bench.bridge.pull, bench.bridge.resolve, bench.bridge.commit):
        with pytest.raises(RefusedForSafety, match="older than what was published") as caught:
            verb()
        assert "--accept-restored-store" in caught.value.remedy
    assert bench.bridge.status().items  # looking is free
    assert (bench.labeling.tasks(), batches_committed(bench)) == (tasks, commits)

    bench.bridge.sync(accept_restored_store=True)
    bench.bridge.ingest(str(lost_file))
    for _ in range(3):
        bench.clock.turn(61)
        bench.bridge.sync()
    assert sorted(bench.labeling.tasks()) == sorted(tasks)
    assert held(bench) == {
        "early": '{"label":"billing"}',
        "later": '{"label":"cancel"}',
        "open": '{"label":"refund"}',
        "new": '{"label":"cancel"}',
        "disputed": '{"label":"cancel"}',
    }
    committed = batches_committed(bench)
    assert committed[-len(commits) :] == commits
    assert max(Counter(committed).values()) == 1
    added = [version.added for version in bench.bridge.store.dataset_versions()]
    assert sum(added) == 5  # each item once
    assert bench.bridge.sync().did_something is False


@pytest.mark.catalogue("C8")
def test_a_store_that_was_accepted_is_believed_from_then_on_and_says_who_accepted_it(whole_bench: Bench) -> None:
    bench = whole_bench
    backup = bench.bridge.backup().file
    bench.pushed(row("t-1"))
    bench.answer("t-1")
    bench.bridge.sync()
    restore(bench, backup)
    assert bench.bridge.accept_restored_store()
    told = bench.bridge.store.insights().last_event("restored_store_accepted")
    assert told is not None
    assert (told.actor.startswith("Ana"), told.detail["published"]) == (True, "decisions@v0.1.0")
    report = bench.bridge.verify_audit()
    assert (report.problems, len(report.excused)) == ((), 1)
    assert report.excused[0].startswith("decisions@v0.1.0 was made after the backup that Ana")
    assert not bench.bridge.accept_restored_store()
    bench.bridge.close()
    bench.bridge = bench.opened()
    bench.bridge.sync()
    assert bench.bridge.store.remembered(LOOK_UP_FIRST)


def test_a_backup_by_default_lies_in_the_workspace_s_state_by_its_time(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    result = bench.bridge.backup()
    assert result.file == bench.root / ".hitl" / "backups" / "bridge-20261122T100000Z.db"
    assert bench.bridge.verify_backup(result.file) == result
    assert result.rows["items"] == 1


ANCHORS = [("decisions@v0.9.0", 12, "aa"), ("decisions@v0.10.0", 9, "bb")]
"""The newest is the one of the newest version: after a restore the log counts from a lower number again."""


class Remembering:
    """A store that knows some heads."""

    def __init__(self, *heads: AuditHead) -> None:
        self.heads = heads
        self.notes: dict[str, str] = {}
        self.events: list[Event] = []

    def knows(self, head: AuditHead) -> bool:
        return head in self.heads

    def remembered(self, name: str) -> str | None:
        return self.notes.get(name)

    def accept_restored(self, notes: Mapping[str, str], event: Event) -> None:
        self.notes.update(notes)
        self.events.append(event)


def test_a_store_that_knows_the_head_of_the_newest_version_is_no_older_one() -> None:
    refuse_older_store(Remembering(AuditHead(9, "bb")), lambda: ANCHORS)
    refuse_older_store(Remembering(), list)


@pytest.mark.parametrize("heads", [[], [AuditHead(12, "aa")], [AuditHead(9, "another")]])
def test_a_store_that_does_not_know_it_is_refused_until_somebody_accepts_it(bench: Bench, heads: list[AuditHead]) -> None:
    store = Remembering(*heads)
    with pytest.raises(RefusedForSafety):
        refuse_older_store(store, lambda: ANCHORS)
    assert accept_older_store(store, bench.clock, AuditHead(3, "cc"), lambda: ANCHORS, "Ana")
    refuse_older_store(store, lambda: ANCHORS)
    assert [event.detail["own_row"] for event in store.events] == [3]
    with pytest.raises(RefusedForSafety):
        refuse_older_store(store, lambda: [*ANCHORS, ("decisions@v0.11.0", 20, "dd")])


def test_only_a_store_that_was_restored_looks_up_before_it_sends(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    before = bench.labeling.requests_made
    bench.ingest(row("t-2"))
    bench.bridge.push()
    sent = bench.labeling.requests_made - before
    bench.bridge.store.desk().accept_restored({LOOK_UP_FIRST: "now"}, Event(bench.clock.now(), "restored_store_accepted"))
    before = bench.labeling.requests_made
    bench.ingest(row("t-3"))
    bench.bridge.push()
    assert bench.labeling.requests_made - before == sent + 1
    assert bench.item("t-3").item_id == ItemId("t-3")
