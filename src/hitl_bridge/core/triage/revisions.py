"""Which of the predictions that came in are new, which were here before, and which contradict what was here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Arrival(NamedTuple):
    """What tells one prediction from another."""

    item_id: str
    model_version: str
    input_digest: str
    content_digest: str


class KnownReceipt(NamedTuple):
    """A prediction that was triaged before. `asked` says that a person was to see the item then."""

    arrival: Arrival
    revision: int
    asked: bool


@dataclass(slots=True)
class _History:
    """One item so far: the content each model gave for each input, the revision of each input, and the last of them."""

    contents: dict[tuple[str, str], str] = field(default_factory=dict)
    revisions: dict[str, int] = field(default_factory=dict)
    last: int = 0

    def add(self, arrival: Arrival, revision: int) -> None:
        self.contents[arrival.model_version, arrival.input_digest] = arrival.content_digest
        self.revisions.setdefault(arrival.input_digest, revision)
        self.last = max(self.last, revision)


@dataclass(frozen=True, slots=True)
class Sorted:
    """Places among the arrivals. `fresh` come with the item's revision; `duplicates` were here before, word for word;
    `conflicts` say something else of the same input with the same model version."""

    fresh: tuple[tuple[int, int], ...]
    duplicates: tuple[int, ...]
    conflicts: tuple[int, ...]


class Digests(NamedTuple):
    """Of a prediction's input and content."""

    input_digest: str
    content_digest: str


_FIRST_FORM = 64
"""Hex digits of digests in receipts of the first form; those of today have half as many."""


def in_present_form(
    known: Collection[KnownReceipt], arrivals: Sequence[Arrival], first_form: Callable[[Sequence[int]], Sequence[Digests]]
) -> list[KnownReceipt]:
    """Receipts of the first form with the digests that they would have today, where an arrival of the same item tells: so that
    `sort_out` knows them again. Those of another input keep theirs, which equal nothing.

    Args:
        first_form: the digests of the first form of the arrivals at these places; called only if there is need.
    """
    old = {each.arrival.item_id for each in known if len(each.arrival.input_digest) == _FIRST_FORM}
    if not old:
        return list(known)
    places = [place for place, arrival in enumerate(arrivals) if arrival.item_id in old]
    today: dict[tuple[str, str], str] = {}
    for place, digests in zip(places, first_form(places), strict=True):
        arrival = arrivals[place]
        today[arrival.item_id, digests.input_digest] = arrival.input_digest
        today[arrival.item_id, digests.content_digest] = arrival.content_digest
    return [receipt._replace(arrival=_with_digests(receipt.arrival, today)) for receipt in known]


def _with_digests(arrival: Arrival, today: Mapping[tuple[str, str], str]) -> Arrival:
    item_id, _, given, said = arrival
    return arrival._replace(input_digest=today.get((item_id, given), given), content_digest=today.get((item_id, said), said))


def sort_out(known: Collection[KnownReceipt], arrivals: Sequence[Arrival]) -> Sorted:
    """Judges each arrival by what was known and by the arrivals before it."""
    if not known and len({arrival.item_id for arrival in arrivals}) == len(arrivals):  # as a rule
        return Sorted(tuple((place, 1) for place in range(len(arrivals))), (), ())
    histories: dict[str, _History] = {}
    for receipt in known:
        histories.setdefault(receipt.arrival.item_id, _History()).add(receipt.arrival, receipt.revision)
    fresh, duplicates, conflicts = [], [], []
    for place, arrival in enumerate(arrivals):
        history = histories.setdefault(arrival.item_id, _History())
        before = history.contents.get((arrival.model_version, arrival.input_digest))
        if before is None:
            revision = history.revisions.get(arrival.input_digest, history.last + 1)
            history.add(arrival, revision)
            fresh.append((place, revision))
        elif before == arrival.content_digest:
            duplicates.append(place)
        else:
            conflicts.append(place)
    return Sorted(tuple(fresh), tuple(duplicates), tuple(conflicts))
