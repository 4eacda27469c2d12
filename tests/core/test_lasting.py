"""What lasts until a person acts is told when it begins, when it is much worse, and when it is over."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from hitl_bridge.core.lasting import PROJECT, Lasting, Turn, figures_aside, notices_of
from hitl_bridge.core.notices import Notice
from tests.core.examples import NOW

SHOP, DESK = ("shop", "desk")


def gone(much: int, place: str = SHOP, why: str = "lists only {} of 500 tasks") -> Lasting:
    reason = why.format(max(0, 500 - much))
    return Lasting(PROJECT, place, figures_aside(reason), much, {"reason": reason})


def told(*looks: Sequence[Lasting], unsure: Sequence[tuple[str, str]] = (), channels: Sequence[str] = ("boss",)) -> list[Notice]:
    """All that is told of what is found look by look, a minute each."""
    before: list[Notice] = []
    for minute, found in enumerate(looks):
        before += notices_of(found, unsure, before, channels, NOW + timedelta(minutes=minute))
    return before


def turns(notices: Sequence[Notice]) -> list[str]:
    return [str(each.said["turn"]) for each in notices]


def test_a_trouble_is_told_when_it_begins_when_it_is_twice_as_bad_and_when_it_is_over() -> None:
    looks = [[gone(much)] for much in (20, 21, 22, 39, 40, 41, 79, 30, 80)]
    said = told(*looks, [], [])
    assert turns(said) == [Turn.BEGUN, Turn.WORSE, Turn.WORSE, Turn.OVER]
    assert [each.said["reason"] for each in said[:3]] == [f"lists only {500 - much} of 500 tasks" for much in (20, 40, 80)]
    assert len({each.subject for each in said}) == 4


def test_what_comes_back_begins_anew() -> None:
    assert turns(told([gone(20)], [], [gone(20)], [gone(20)])) == [Turn.BEGUN, Turn.OVER, Turn.BEGUN]


def test_another_trouble_of_the_same_project_is_told_and_the_first_is_not_over_while_it_is_stopped() -> None:
    changed = gone(0, why="its label config was changed")
    said = told([gone(20)], [changed], [gone(20)], [changed], [])
    assert turns(said) == [Turn.BEGUN, Turn.BEGUN, Turn.OVER, Turn.OVER]


def test_what_nobody_could_look_at_is_not_over() -> None:
    assert turns(told([gone(20)], [], unsure=[(PROJECT, SHOP)])) == [Turn.BEGUN]


def test_each_project_and_each_channel_is_told_for_itself() -> None:
    both = [gone(20), gone(20, DESK)]
    said = told(both, both[1:], channels=("boss", "other"))
    assert [(each.channel, each.said["place"], each.said["turn"]) for each in said if each.channel == "boss"] == [
        ("boss", SHOP, Turn.BEGUN),
        ("boss", DESK, Turn.BEGUN),
        ("boss", SHOP, Turn.OVER),
    ]
    later = list(notices_of(both, (), said, ("third",), NOW))
    assert {(each.channel, str(each.said["turn"])) for each in later} == {("third", Turn.BEGUN)}


def test_notices_of_before_there_was_the_rule_count_as_none() -> None:
    old = Notice(PROJECT, "shop\nreason\n2026-11-22", "boss", {"project": SHOP, "reason": "reason", "remedy": ""})
    assert turns(list(notices_of([gone(20)], (), [old], ("boss",), NOW))) == [Turn.BEGUN]
    assert list(notices_of([], (), [old], ("boss",), NOW)) == []


@given(st.lists(st.one_of(st.none(), st.integers(1, 10_000)), max_size=60))
def test_whatever_it_does_there_is_one_beginning_for_each_end_and_few_steps_between(much: list[int | None]) -> None:
    said = turns(told(*([] if each is None else [gone(each)] for each in much)))
    seen = [each for each in said if each != Turn.WORSE]
    assert seen == [Turn.BEGUN, Turn.OVER] * (len(seen) // 2) + [Turn.BEGUN] * (len(seen) % 2)
    assert said.count(Turn.WORSE) <= 14 * max(1, said.count(Turn.BEGUN))
    assert (said[-1:] not in ([], [Turn.OVER])) is (bool(much) and much[-1] is not None)
