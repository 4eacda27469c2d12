"""What the store keeps of lots, audits and drift, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from hitl_bridge.adapters.sql.store import SqlStore
from hitl_bridge.adapters.sql.tables import lot_verdicts
from hitl_bridge.core.audits.drift import DriftLook, Reference
from hitl_bridge.core.audits.lots import LotVerdict, lot_of
from hitl_bridge.core.model import JSON, ItemId, Op, Outcome
from hitl_bridge.errors import BridgeError
from hitl_bridge.ports import CEILING, CountedFile, DrawnReceipt, LotRow, RaisedRate, ReceiptGroup
from tests.adapters.store_examples import LATER, NOW, an_item, decided_item, ingest

LOT = lot_of("intent-3", "p1", NOW, timedelta(days=7))
GROUP = ReceiptGroup("intent-3", "p1", "payments", 0.02, 0.05, approved=900, approved_risk=9.0, other=100, other_risk=40.0)
FIGURES: dict[str, JSON] = {"wrong": 9, CEILING: 0.03, "settings_version": "p0"}
ALARM = DriftLook(200, 60, 1e-6, alarm=True)


def drawn(item_id: str, *, approved: bool = True, revision: int = 0, **changes: object) -> DrawnReceipt:
    said = DrawnReceipt(
        ItemId(item_id), revision, "intent-3", "p1", "payments", 0.02, 0.05, 0.1, approved=approved, output={"label": "refund"}
    )
    return replace(said, **changes)  # type: ignore[arg-type]


def counted(number: int, *draws: DrawnReceipt) -> CountedFile:
    return CountedFile(number, [(LOT, GROUP)], [(LOT, each) for each in draws], {"intent-3": (1_000, 90)})


class TestLots:
    def test_a_file_is_counted_once(self, store: SqlStore) -> None:
        ingest(store)
        lots = store.lots()
        (file,) = lots.uncounted(9)
        for _ in range(2):
            lots.record_counts(counted(file.number, drawn("t-1"), drawn("t-2", approved=False)))
        assert lots.uncounted(9) == []
        (part,) = lots.parts()
        assert (part.stratum.items, part.stratum.waiting, part.traffic) == (900, 1, 1_000)
        assert part.stratum.probability == pytest.approx(0.069)
        assert lots.parts([LOT.lot_id]) == [part]
        assert lots.parts([]) == []
        assert lots.lots() == [LOT]
        assert [each.path for each in lots.files_of(LOT)] == [file.file.path]

    def test_a_decision_counts_by_its_outcome_or_for_another_model_by_its_answer(self, store: SqlStore) -> None:
        item = an_item()
        decision = decided_item(store, item)
        assert (decision.op, decision.outcome) == (Op.ADD, Outcome.CORRECTED)
        assert decision.output is not None
        lots = store.lots()
        mark = lots.mark()
        (file,) = lots.uncounted(9)
        own = drawn(item.item_id, revision=item.revision)
        agrees = replace(own, model_version="intent-4", output=decision.output)
        differs = replace(own, model_version="intent-5")
        lots.record_counts(counted(file.number, own, agrees, differs))
        assert lots.mark() != mark
        (part,) = lots.parts()
        assert (part.stratum.right, part.stratum.wrong, part.stratum.waiting) == (1, 2, 0)
        looked = lots.looked_at()
        assert sorted(looked.wrong) == [False, True, True]
        assert (looked.items, looked.total_risk, looked.waiting) == (1_000, 49.0, 0)
        assert [wrong for _, wrong in lots.risks_of(LOT.lot_id)].count(True) == 2

    def test_a_verdict_is_added_with_its_event_and_its_recall_and_never_changed(self, store: SqlStore) -> None:
        ingest(store)
        lots = store.lots()
        lots.record_counts(counted(lots.uncounted(9)[0].number))
        lots.record_verdict(LotRow(LOT, LotVerdict.UNPROVEN, {"wrong": 0}, NOW), recall=False)
        lots.record_verdict(LotRow(LOT, LotVerdict.HELD, FIGURES, LATER), recall=True)
        assert lots.verdicts()[LOT.lot_id] == LotRow(LOT, LotVerdict.HELD, FIGURES, LATER)
        assert lots.newest() == "0/2"
        event = store.insights().last_event("lot.held")
        assert event is not None
        assert event.detail["wrong"] == 9
        assert lots.ceilings("p0") == {"intent-3": 0.03}
        assert lots.ceilings("p1") == {}, "somebody has set another policy"
        lots.record_try(LOT.lot_id, LATER, delivered=False)
        assert [(each.tries, each.delivered_at) for each in lots.recalls()] == [(1, None)]
        lots.record_try(LOT.lot_id, LATER, delivered=True)
        assert [(each.tries, each.delivered_at) for each in lots.recalls()] == [(2, LATER)]
        with pytest.raises((BridgeError, sa.exc.SQLAlchemyError)), store.engine.begin() as connection:
            connection.execute(sa.update(lot_verdicts).values(verdict="proven"))
        assert store.verify_audit({}).problems == ()

    def test_an_alarm_raises_the_audit_rate_and_a_person_ends_it(self, store: SqlStore) -> None:
        ingest(store)
        lots = store.lots()
        lots.record_counts(counted(lots.uncounted(9)[0].number))
        assert lots.drift() == {}
        assert lots.audit_rate() is None
        assert len(lots.files_with("intent-3", 10)) == 1
        assert lots.files_with("intent-9", 10) == []
        lots.record_reference("intent-3", Reference(0.4, 1_000, 100), NOW)
        state = lots.drift()["intent-3"]
        assert (state.since, state.since_low, state.last) == (1_000, 90, None)
        lots.record_look("intent-3", ALARM, RaisedRate(0.15, "unsure", "bridge", LATER), LATER)
        state = lots.drift()["intent-3"]
        assert (state.since, state.last) == (0, ALARM)
        assert lots.audit_rate() == RaisedRate(0.15, "unsure", "bridge", LATER)
        assert lots.newest() == "1/0"
        lots.lower_audit_rate(RaisedRate(None, "looked into", "Ana", LATER))
        assert lots.drift() == {}, "the reference is given up"
        assert lots.files_with("intent-3", 10) == [], "and made of what comes now"
        event = store.insights().last_event("audit_rate")
        assert event is not None
        assert (event.actor, event.detail["rate"]) == ("Ana", None)
