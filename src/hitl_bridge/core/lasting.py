"""What is amiss until a person acts: the lead hears when it begins, when it is twice as bad as was told, and when it is over."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from hitl_bridge.core.model import JSONObject
from hitl_bridge.core.notices import Notice

PROJECT, ADJUDICATORS = "project", "adjudicators"
"""Kinds of such notices: a project that is stopped; items whom nobody in their pool may adjudicate."""

LASTING = (PROJECT, ADJUDICATORS)

_MUCH_WORSE = 2
_FIGURE = re.compile(r"\d+(?:[.,]\d+)*")


class Turn(StrEnum):
    """What has become of it since it was last told."""

    BEGUN = "begun"
    WORSE = "worse"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Lasting:
    """Something amiss at a `place`: `what` it is, the same for as long as it lasts, and how `much` of it there is (0: that can't
    be counted). `said` is what the notice tells."""

    kind: str
    place: str
    what: str
    much: int
    said: JSONObject


@dataclass(frozen=True, slots=True)
class Told:
    """What a channel was last told of it."""

    turn: Turn
    much: int
    said: JSONObject


def figures_aside(sentence: str) -> str:
    """The same sentence without its figures, which change while it goes on meaning the same."""
    return _FIGURE.sub("…", sentence)


def turn(told: Told | None, much: int | None) -> Turn | None:
    """What is to be told now, None if nothing; `much` is None where it is no longer so.

    The one rule: that it begins; that it is at least twice what was told; that it is over. So whatever ticks, and however long,
    is told a number of times that grows with its logarithm.
    """
    stands = told is not None and told.turn is not Turn.OVER
    if much is None:
        return Turn.OVER if stands else None
    if told is None or not stands:
        return Turn.BEGUN
    return Turn.WORSE if much >= _MUCH_WORSE * max(1, told.much) else None


_Key = tuple[str, str, str, str]
"""Channel, kind, place, what."""


def notices_of(
    found: Sequence[Lasting],
    unsure: Collection[tuple[str, str]],
    before: Iterable[Notice],
    channels: Sequence[str],
    now: datetime,
) -> Iterator[Notice]:
    """What the channels are to be told now.

    Args:
        found: what is amiss now.
        unsure: kinds and places of which nobody can tell now whether what was amiss still is.
        before: every notice of such things, oldest first.
        channels: who hears of them.
    """
    told = _told(before)
    here = {(channel, each.kind, each.place, each.what): each for each in found for channel in channels}
    still = {(each.kind, each.place) for each in found} | set(unsure)
    for key in dict.fromkeys([*here, *(key for key in told if key[0] in channels)]):
        now_there = here.get(key)
        if now_there is None and key[1:3] in still:
            continue
        became = turn(told.get(key), None if now_there is None else now_there.much)
        if became is not None:
            yield _notice(key, became, now_there, told.get(key), now)


def _told(before: Iterable[Notice]) -> Mapping[_Key, Told]:
    """The last of each; notices that say no turn were written before there was this rule."""
    found: dict[_Key, Told] = {}
    for each in before:
        said = each.said
        if "turn" in said:
            key = each.channel, each.kind, str(said["place"]), str(said["what"])
            found[key] = Told(Turn(str(said["turn"])), int(str(said["much"])), said)
    return found


def _notice(key: _Key, became: Turn, now_there: Lasting | None, told: Told | None, now: datetime) -> Notice:
    channel, kind, place, what = key
    said = now_there.said if now_there is not None else told.said if told is not None else {}
    much = now_there.much if now_there is not None else 0
    marks: JSONObject = {"turn": str(became), "place": place, "what": what, "much": much}
    return Notice(kind, f"{place}\n{what}\n{became}\n{now.isoformat()}", channel, {**said, **marks})
