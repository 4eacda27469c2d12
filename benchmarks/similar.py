"""Decided items that are like another one: are the right ones found, and does it matter how many there are?

    python benchmarks/similar.py [--data DIR] [--full]

Banking77's 10,003 training queries are decided as their annotators did. Its test queries ask for the three nearest, which are
compared with an exhaustive search over the same terms. Then two stores, one with 10,000 decided items and one with 100,000
(`--full`: 1,000,000), take turns: 1,000 more are decided, the index is brought up to date, pages ask for prior decisions. Queries
beyond the first 10,003 are made of two halves of queries of one intent.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import scipy.sparse as sp
import sqlalchemy as sa
from queries import DataMissing, Query, read_halves
from report import Report, at_least, at_most

from hitl_bridge.adapters.decided_items import DecidedItemFiles
from hitl_bridge.adapters.sql import audit_log
from hitl_bridge.adapters.sql.rows import decision_row, item_row, payload_row
from hitl_bridge.adapters.sql.store import SqlStore, open_store
from hitl_bridge.adapters.sql.tables import decisions, items, payloads
from hitl_bridge.core.model import (
    BatchId,
    Decision,
    Item,
    ItemId,
    ItemState,
    Op,
    Outcome,
    Prediction,
    Purpose,
    Route,
    Split,
    Triage,
)
from hitl_bridge.core.prior import SHOWN
from hitl_bridge.core.similarity import AT_LEAST, terms_of
from hitl_bridge.core.task_types import task_type
from hitl_bridge.ports import Batch, Event
from hitl_bridge.services.desk.prior import PriorPorts, beside, refresh, similar

SMALL, LARGE, LARGEST = 10_000, 100_000, 1_000_000
NEWS, TURNS, FIRST_TURNS = 1_000, 12, 1
ASKED, LOOKED_UP = 100, 20
SEED = 4
_AT_ONCE = 5_000
_KEY = b"similar items".ljust(32, b".")
_NOW = datetime(2026, 11, 23, tzinfo=UTC)
_NO_DATA = 2


def told(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def texts(training: Sequence[Query], seed: int) -> Iterator[tuple[str, str]]:
    """Text and intent, without end: first the training queries, then new ones of two halves."""
    chance = random.Random(seed)
    by_intent: defaultdict[str, list[str]] = defaultdict(list)
    for query in chance.sample(training, len(training)):
        by_intent[query.intent].append(query.text)
        yield query.text, query.intent
    intents = sorted(by_intent)
    while True:
        intent = chance.choice(intents)
        one, other = (chance.choice(by_intent[intent]).split() for _ in range(2))
        yield " ".join([*one[: (len(one) + 1) // 2], *other[len(other) // 2 :]]), intent


def an_item(item_id: str, text: str, label: str, state: ItemState) -> Item:
    return Item(
        item_id=ItemId(item_id),
        revision=1,
        state=state,
        round=1,
        prediction=Prediction(ItemId(item_id), {"text": text}, {"label": label}, 0.5, "intent-1", {label: 0.5}),
        triage=Triage("quick", 0.5, "the model is unsure", Purpose.REVIEW, Split.TRAIN, "p-1", 0.0, 0.0),
        route=Route("general", "quick", 1, _NOW, 0.5, blind=False, reason="quick review"),
        batch_id=BatchId("b-1"),
        received_at=_NOW,
    )


@dataclass
class Desk:
    """A store whose items are decided at once, and what the bridge makes of it."""

    folder: Path
    stream: Iterator[tuple[str, str]]
    labels: dict[str, str] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.store: SqlStore = open_store(f"sqlite:///{self.folder / 'bridge.db'}", self.folder, key=_KEY)
        batch = Batch(BatchId("b-1"), "benchmark", "", 0, 0, 0, 0, {}, 0, _NOW)
        self.store.record_batch(batch, None, [])
        index = DecidedItemFiles(self.folder / "similar", _KEY)
        self.ports = PriorPorts(self.store.prior(), index, task_type("text-classification"), _KEY)
        self._numbers = count()

    def decide(self, many: int) -> None:
        """Writes as many decided items, with what the log says of each, as settling them would have."""
        while some := list(islice(self.stream, min(many, _AT_ONCE))):
            many -= len(some)
            self._write([(f"q-{next(self._numbers):07}", text, label) for text, label in some])
            if not many:
                return

    def _write(self, some: Sequence[tuple[str, str, str]]) -> None:
        there = [an_item(*each, ItemState.DECIDED) for each in some]
        settled = [_decision(item) for item in there]
        with self.store.engine.begin() as connection:
            connection.execute(sa.insert(items), [item_row(item) for item in there])
            connection.execute(sa.insert(payloads), [payload_row(item) for item in there])
            connection.execute(sa.insert(decisions), [decision_row(decision) for decision in settled])
            audit_log.append(connection, [_event(decision) for decision in settled])
        self.labels |= {item_id: label for item_id, _, label in some}
        self.texts += [text for _, text, _ in some]


def _decision(item: Item) -> Decision:
    return Decision(
        item_id=item.item_id,
        revision=item.revision,
        seq=0,
        op=Op.ADD,
        outcome=Outcome.ACCEPTED,
        output=item.prediction.output,
        rationale="as the annotators said",
        reviewers=("ana@example.com",),
        annotations=("1/1@2026",),
        agreement=1.0,
        round=1,
        decided_at=_NOW + timedelta(seconds=1),
    )


def _event(decision: Decision) -> Event:
    return Event(_NOW, ItemState.DECIDED.value, decision.item_id, {"decision_id": decision.decision_id})


# ---------------------------------------------------------------------------------------------- an exhaustive search


class Exhaustive:
    """Every item compared with every other, by scipy: what the index should find."""

    def __init__(self, known: Sequence[str]) -> None:
        rows = [_terms(text) for text in known]
        self.words, columns = np.unique(np.concatenate(rows), return_inverse=True)
        counts = np.bincount(columns)
        self.weights = np.log((1 + len(rows)) / (1 + counts)) + 1.0
        starts = np.cumsum([0, *map(len, rows)])
        matrix = sp.csr_matrix((self.weights[columns].astype(np.float32), columns, starts), shape=(len(rows), len(self.words)))
        lengths = np.sqrt(matrix.multiply(matrix).sum(axis=1)).A1
        self.matrix = sp.diags((1 / np.maximum(lengths, 1e-9)).astype(np.float32)) @ matrix
        self.size = len(rows)

    def nearest(self, text: str, most: int) -> tuple[list[int], list[float]]:
        terms = _terms(text)
        at = np.searchsorted(self.words, terms)
        there = (at < len(self.words)) & (self.words[np.minimum(at, len(self.words) - 1)] == terms)
        unknown = (~there).sum() * (np.log(1 + self.size) + 1.0) ** 2
        weights = self.weights[at[there]]
        query = sp.csr_matrix((weights.astype(np.float32), at[there], [0, len(weights)]), shape=(1, len(self.words)))
        alike = np.asarray((self.matrix @ query.T).todense()).ravel() / np.sqrt((weights**2).sum() + unknown)
        best = np.argpartition(-alike, most)[:most]
        best = best[np.argsort(-alike[best])]
        return best.tolist(), alike[best].tolist()


def _terms(text: str) -> Any:
    return terms_of(text, {}, text, _KEY)


# ------------------------------------------------------------------------------------------------------- the figures


def quality(report: Report, desk: Desk, test: Sequence[Query]) -> None:
    """On Banking77 itself: do the nearest say what is right?"""
    told("the test queries ask …")
    exhaustive = Exhaustive(desk.texts)
    ids = list(desk.labels)
    asked = [an_item(query.item_id, query.text, query.intent, ItemState.QUEUED) for query in test]
    found = beside(desk.ports, asked)
    first, three, some, best = [], [], [], []
    for query, item in zip(test, asked, strict=True):
        said = [desk.labels[each.item_id] == query.intent for each in found[item.item_id, 1].prior]
        first.append(bool(said) and said[0])
        three.append(sum(said) / SHOWN)
        some.append(any(said))
        best.append(desk.labels[ids[exhaustive.nearest(query.text, SHOWN)[0][0]]] == query.intent)
    add = report.add
    add(
        "first", "test queries whose nearest decided item has their intent", mean(first), at_least(mean(first), mean(best) - 0.01)
    )
    add("first_exhaustive", "… by an exhaustive search", mean(best))
    add("of_three", "of the three nearest, those with it", mean(three))
    add("some_of_three", "test queries with at least one such among three", mean(some))


def recall(desk: Desk, asked: Sequence[Item]) -> float:
    """Of the three nearest of an exhaustive search, the share that the index finds (or others that are just as near)."""
    exhaustive = Exhaustive(desk.texts)
    found = beside(desk.ports, asked)
    shares = []
    for item in asked:
        _, alike = exhaustive.nearest(str(item.prediction.input["text"]), SHOWN)
        wanted = [each for each in alike if each >= AT_LEAST]
        got = [each.similarity for each in found[item.item_id, 1].prior]
        if wanted:
            shares.append(sum(mine >= theirs - 1e-4 for mine, theirs in zip(got, wanted, strict=False)) / len(wanted))
    return mean(shares)


@dataclass(frozen=True, slots=True)
class Turn:
    """Seconds of bringing the index up to date after `NEWS` decisions, of a page, and of `hitl-bridge similar`'s work."""

    refresh: float
    page: float
    similar: float


def turn(desk: Desk, asked: Sequence[Item]) -> Turn:
    desk.decide(NEWS)
    refreshed = _seconds(lambda: refresh(desk.ports))
    page = _seconds(lambda: beside(desk.ports, asked)) / len(asked)
    looked_up = [ItemId(item_id) for item_id in list(desk.labels)[:LOOKED_UP]]
    told_of = _seconds(lambda: [similar(desk.ports, item_id, 10) for item_id in looked_up]) / LOOKED_UP
    return Turn(refreshed, page, told_of)


def _seconds(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def growth(report: Report, small: Desk, large: Desk, asked: Sequence[Item]) -> None:
    """Both sizes in turn, so that what else the machine does is the same for both."""
    turns: dict[str, list[Turn]] = {"small": [], "large": []}
    for number in range(FIRST_TURNS + TURNS):
        told(f"turn {number + 1} of {FIRST_TURNS + TURNS} …")
        for name, desk in (("small", small), ("large", large)):
            turns[name].append(turn(desk, asked))
    measured = {name: several[FIRST_TURNS:] for name, several in turns.items()}
    add = report.add
    for what, says, digits in (
        ("refresh", f"seconds for {NEWS:,} new decisions (mean of {TURNS}, with the parts put together meanwhile)", 3),
        ("page", "seconds for the prior decisions of a page (median)", 5),
        ("similar", "seconds for `similar ITEM` (median)", 4),
    ):
        middle = mean if what == "refresh" else median
        here, there = (middle(getattr(each, what) for each in measured[name]) for name in ("small", "large"))
        add(f"{what}_small", f"{says}: {len(small.labels):,} there", round(here, digits))
        add(f"{what}_large", f"… {len(large.labels):,} there", round(there, digits))
        ratio = median(getattr(b, what) / getattr(a, what) for a, b in zip(measured["small"], measured["large"], strict=True))
        add(f"{what}_growth", "… the larger over the smaller, median of turns", round(ratio, 2), at_most(ratio, 1.5))


def sizes(report: Report, small: Desk, large: Desk, asked: Sequence[Item]) -> None:
    for name, desk in (("small", small), ("large", large)):
        told(f"comparing with an exhaustive search of {len(desk.labels):,} …")
        share = recall(desk, asked)
        says = f"of the exhaustive search's three nearest among {len(desk.labels):,}, found"
        report.add(f"found_{name}", says, round(share, 4), at_least(share, 0.95))
    folder = large.folder / "similar"
    on_disk = sum(path.stat().st_size for path in folder.iterdir())
    report.add("bytes_an_item", "bytes of index an item", round(on_disk / len(large.labels)))
    report.add("parts", "parts of the larger index", len(list(folder.glob("part-*"))))


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "banking77")
    options.add_argument("--full", action="store_true", help="the larger store has 1,000,000 decided items")
    given = options.parse_args()
    try:
        training, test = read_halves(given.data)
    except DataMissing as missing:
        told(str(missing))
        return _NO_DATA
    report = Report("similar")
    with tempfile.TemporaryDirectory() as folder:
        small, large = (Desk(Path(folder) / name, texts(training, SEED)) for name in ("small", "large"))
        for desk, many in ((small, SMALL), (large, LARGEST if given.full else LARGE)):
            told(f"{many:,} items are decided …")
            desk.decide(many)
            anew = _seconds(lambda there=desk: refresh(there.ports))
            report.add(f"anew_{many}", f"seconds for an index of {many:,} made anew", round(anew, 2))
        quality(report, small, test)
        asked = [an_item(each.item_id, each.text, each.intent, ItemState.QUEUED) for each in test[:: len(test) // ASKED][:ASKED]]
        growth(report, small, large, asked)
        sizes(report, small, large, asked)
        small.store.close()
        large.store.close()
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
