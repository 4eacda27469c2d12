"""Where predictions wait for their answer."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future

import pytest

from hitl_bridge.services.intake.online import Answered, Asked, Conflict, Triaged
from hitl_bridge.services.intake.online_desk import GROUP_ROWS, Busy, Desk


class Slow:
    """Answers each group when it is told to, and remembers how long each was."""

    def __init__(self) -> None:
        self.groups: list[int] = []
        self.go_on = threading.Semaphore(0)

    def __call__(self, requests: Sequence[Asked]) -> list[Answered]:
        if requests:
            self.go_on.acquire(timeout=20)
            self.groups.append(len(requests))
        if any("poison" in asked.rows for asked in requests):
            raise ValueError("poison")
        return [Answered(tuple(Triaged(str(row), 1, "auto", None, "{}") for row in asked.rows)) for asked in requests]


def ignored(kind: str) -> None:
    pass


def first(future: Future[Answered]) -> str:
    result = future.result(20).results[0]
    assert isinstance(result, Triaged)
    return result.item_id


def test_what_gathers_while_a_group_is_written_is_the_next_group() -> None:
    slow = Slow()
    with Desk(slow, ignored) as desk:
        futures = [desk.ask(Asked(["0"]), 1)]
        while desk._waiting:  # the first is taken by itself
            pass
        futures += [desk.ask(Asked([str(n)]), 1) for n in range(1, 10)]
        slow.go_on.release(10)
        assert [first(future) for future in futures] == [str(n) for n in range(10)]
    assert slow.groups == [1, 9]
    assert (desk.figures.groups, desk.figures.rows["accepted"]) == (2, 10)


def test_a_group_is_full_some_time_and_a_request_is_never_divided() -> None:
    slow = Slow()
    slow.go_on.release(10)
    with Desk(slow, ignored, most_rows=10**6) as desk:
        large = desk.ask(Asked(["x"] * (GROUP_ROWS + 100)), 1)
        more = [desk.ask(Asked(["y"] * 300), 1) for _ in range(3)]
        assert len(large.result(20).results) == GROUP_ROWS + 100
        assert [len(each.result(20).results) for each in more] == [300] * 3
    assert sum(slow.groups) == 4


def test_a_request_that_nobody_foresaw_fails_alone() -> None:
    slow, failures = Slow(), list[str]()
    slow.go_on.release(20)
    with Desk(slow, failures.append) as desk:
        desk.ask(Asked(["0"]), 1)
        good, bad = [desk.ask(Asked([str(n)]), 1) for n in range(3)], desk.ask(Asked(["poison"]), 1)
        assert [first(future) for future in good] == ["0", "1", "2"]
        with pytest.raises(ValueError, match="poison"):
            bad.result(20)
    assert failures == ["ValueError"]
    assert desk.figures.rows["failed"] == 1


def test_who_has_left_is_not_waited_for_and_stops_nobody() -> None:
    slow = Slow()
    with Desk(slow, ignored) as desk:
        futures = [desk.ask(Asked([str(n)]), 1) for n in range(5)]
        cancelled = [future.cancel() for future in futures[3:]]
        slow.go_on.release(10)
        assert [first(future) for future in futures[:3]] == ["0", "1", "2"]
        assert any(cancelled)
        assert first(desk.ask(Asked(["later"]), 1)) == "later"


def test_when_it_closes_what_waits_is_answered_and_nothing_more_is_taken() -> None:
    slow = Slow()
    with Desk(slow, ignored) as desk:
        futures = [desk.ask(Asked([str(n)]), 1) for n in range(5)]
        slow.go_on.release(10)
    assert [first(future) for future in futures] == [str(n) for n in range(5)]
    with pytest.raises(Busy):
        desk.ask(Asked(["late"]), 1)


def test_more_than_may_wait_is_turned_away_by_rows_and_by_bytes() -> None:
    slow = Slow()
    with Desk(slow, ignored, most_rows=3) as desk:
        desk.ask(Asked(["0"]), 1)
        while desk._waiting:
            pass
        desk.ask(Asked(["1", "2"]), 1)
        with pytest.raises(Busy):
            desk.ask(Asked(["3", "4"]), 1)
        with pytest.raises(Busy):
            desk.ask(Asked(["3"]), 10**9)
        assert desk.figures.turned_away == 2
        slow.go_on.release(10)


def test_every_kind_of_answer_is_counted() -> None:
    said = Answered((Triaged("a", 1, "auto", None, "{}"), Triaged("a", 1, "auto", None, "{}", again=True), Conflict(3, "other")))
    with Desk(lambda requests: [said for _ in requests], ignored) as desk:
        desk.ask(Asked([1, 2, 3]), 1).result(20)
    assert dict(desk.figures.rows) == {"accepted": 1, "again": 1, "conflict": 1}
    assert sum(desk.figures.waited()[1]) == 1
