"""A backtest of policies: all receipts on record triaged again by each, and held against what was decided of the items."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hitl_bridge.core.budget.error_budget import NEVER, Judged
from hitl_bridge.core.deadlines import WorkingHours
from hitl_bridge.core.model import JSONObject, Split
from hitl_bridge.core.planning.forecast import Cell, merged
from hitl_bridge.core.planning.tally import tally
from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.core.triage.policy_record import PoolCondition
from hitl_bridge.core.triage.replay import BEGINS_AT, as_predictions
from hitl_bridge.errors import UsageError
from hitl_bridge.ports import RecordedBatch, RecordedReceipts, ReviewRecord, TriageEngine

if TYPE_CHECKING:
    from numpy.typing import NDArray

AUTO = "auto"
"""The tier that needs nobody, in every settings file."""

_HOURS = 24

Arrivals = Mapping[tuple[str, WorkingHours | None], "NDArray[np.float64]"]

Engines = Callable[[Sequence[PoolCondition]], TriageEngine]


@dataclass
class Backtest:
    """The record under each policy, part by part; only sums are kept.

    Receipts of policy versions that are not `comparable` (their risk was computed otherwise) are left out. With
    `from_confidence` risks are computed anew from the confidence alone.
    """

    record: ReviewRecord
    receipts: RecordedReceipts
    engine: Engines
    key: bytes
    policies: Mapping[str, ReviewPolicy]
    model: str
    comparable: Callable[[str], bool] = lambda version: True
    from_confidence: bool = False
    left_out: int = 0
    volumes: Counter[date] = field(default_factory=Counter)
    _cells: dict[str, list[Cell]] = field(default_factory=dict)
    _loads: dict[str, Counter[tuple[date, int, str, str | None]]] = field(default_factory=dict)
    _risks: list[NDArray[np.float64]] = field(default_factory=list)
    _losses: list[NDArray[np.float64]] = field(default_factory=list)

    def run(self, batches: Sequence[RecordedBatch], progress: Callable[[int, int], None] | None) -> None:
        decisions = {(str(each.item_id), each.revision): each.output for each in self.record.decisions()}
        ids = pa.array({item_id for item_id, _ in decisions}, pa.string())
        verdicts = _Verdicts(decisions, ids, next(iter(self.policies.values())))
        total, done = sum(batch.file.rows for batch in batches), 0
        for batch in batches:
            for part in self.receipts.read([batch.file]):
                done += part.num_rows
                part = part.filter(pc.equal(part["model_version"], self.model))
                self._take(self._comparable(part), batch.received_at, verdicts)
                if progress:
                    progress(done, total)

    def _comparable(self, receipts: pa.Table) -> pa.Table:
        versions = [each for each in pc.unique(receipts["policy_version"]).to_pylist() if self.comparable(each)]
        kept = receipts.filter(pc.is_in(receipts["policy_version"], value_set=pa.array(versions, pa.string())))
        self.left_out += receipts.num_rows - kept.num_rows
        return kept

    def _take(self, receipts: pa.Table, received_at: datetime, verdicts: _Verdicts) -> None:
        if not receipts.num_rows:
            return
        wrong = verdicts.of(receipts)
        at = received_at.astimezone(UTC)
        self.volumes[at.date()] += receipts.num_rows
        predictions = as_predictions(receipts)
        if self.from_confidence:
            predictions = predictions.drop_columns([BEGINS_AT])
        for name, policy in self.policies.items():
            again = self.engine(policy.pool_conditions).triage(predictions, policy.plan, self.key)
            counted = tally(receipts, again, wrong, recorded_auto=AUTO, auto_tier=policy.plan.auto_tier)
            self._cells.setdefault(name, []).extend(counted.cells)
            loads = self._loads.setdefault(name, Counter())
            for (tier, pool), number in counted.loads.items():
                loads[at.date(), at.hour, tier, pool] += number
        self._judge(receipts, wrong)

    def _judge(self, receipts: pa.Table, wrong: pa.ChunkedArray) -> None:
        """What the error budget may be chosen by: decided items of the uniform stream's calibration part."""
        wanted = pc.and_(pc.equal(receipts["split"], str(Split.CALIBRATION)), wrong.is_valid())
        known = receipts.append_column("wrong", wrong).filter(wanted)
        ruled = np.asarray(known["rule"].is_valid(), dtype=np.bool_)
        self._risks.append(np.where(ruled, NEVER, known["risk"].to_numpy()))
        self._losses.append(np.asarray(known["wrong"], dtype=np.float64))

    def cells(self, name: str) -> list[Cell]:
        return merged(self._cells[name])

    def judged(self) -> Judged:
        return Judged(np.concatenate(self._risks), np.concatenate(self._losses))

    def arrivals(self, name: str, days: Sequence[date]) -> Arrivals:
        """By tier and working hours of the pool, predictions by day and hour of the day."""
        place = {day: at for at, day in enumerate(days)}
        pools = self.policies[name].pools
        rest = list(pools.values())[-1]  # where no condition held, as in the queue
        found: dict[tuple[str, WorkingHours | None], NDArray[np.float64]] = {}
        for (day, hour, tier, pool), number in self._loads[name].items():
            kind = (tier, pools.get(pool or "", rest).hours)
            found.setdefault(kind, np.zeros((len(days), _HOURS)))[place[day], hour] += number
        return found


@dataclass(frozen=True, slots=True)
class _Verdicts:
    """Whether predictions were wrong, as far as somebody has decided."""

    decisions: Mapping[tuple[str, int], JSONObject | None]
    item_ids: pa.Array
    policy: ReviewPolicy

    def of(self, receipts: pa.Table) -> pa.ChunkedArray:
        """For each receipt; NULL where there is no decision on the item."""
        places = pc.indices_nonzero(pc.is_in(receipts["item_id"], value_set=self.item_ids))
        found = np.zeros(receipts.num_rows, dtype=np.int8) - 1
        some = receipts.select(["item_id", "revision", "output"]).take(places)
        for place, row in zip(places.to_pylist(), some.to_pylist(), strict=True):
            key = (row["item_id"], row["revision"])
            if key in self.decisions:
                found[place] = not self.policy.kind.same(self.decisions[key], json.loads(row["output"]))
        return pa.chunked_array([pa.array(found == 1, mask=found < 0)])


def within(batches: Sequence[RecordedBatch], last: int | None) -> list[RecordedBatch]:
    """Those of the `last` days up to the newest; all if None. Raises UsageError where there are none."""
    if not batches:
        raise UsageError("Nothing is recorded yet to plan from.", remedy="Take predictions in first: hitl-bridge ingest FILE.")
    since = None if last is None else batches[-1].received_at - timedelta(days=last)
    return [batch for batch in batches if since is None or batch.received_at > since]


def newest_model(receipts: RecordedReceipts, batches: Sequence[RecordedBatch]) -> str:
    """The one with most of the last batch's predictions."""
    counts: Counter[str] = Counter()
    for part in receipts.read([batches[-1].file]):
        counts.update(part["model_version"].to_pylist())
    return counts.most_common(1)[0][0]


def recorded_days(volumes: Mapping[date, int]) -> list[date]:
    """From the first recorded day to the last, those without predictions too."""
    first, last = min(volumes), max(volumes)
    return [first + timedelta(days=after) for after in range((last - first).days + 1)]
