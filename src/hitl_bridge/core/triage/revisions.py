"""Which of the predictions that came in are new, which were here before, and which contradict what was here."""

from __future__ import annotations

from collections.abc import Collection, Sequence
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
