"""Calibrations and thresholds in the store, on both databases."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from hitl_bridge.adapters.sql.engine import writing
from hitl_bridge.adapters.sql.store import SqlStore
from hitl_bridge.core.model import ItemState, Outcome, Purpose, Split
from hitl_bridge.core.triage.calibration import Calibration
from hitl_bridge.core.triage.plan import CLOSED, Threshold
from hitl_bridge.errors import BridgeError, UsageError
from hitl_bridge.ports import CalibrationRow, Standing, ThresholdRow, ThresholdStore
from tests.adapters.store_examples import LATER, NOW, a_decision, an_item, decided, ingest

CALIBRATION = Calibration("m1", "temperature", (0.1 + 0.2,))
FITTED = CalibrationRow(CALIBRATION, 40, "ab" * 32, {"ece": [0.1, 0.01]}, NOW)
ROW = ThresholdRow(
    model_version="m1",
    standing=Standing.PROPOSED,
    calibration=CALIBRATION,
    thresholds=(Threshold("m1", 0.1 + 0.2), Threshold("m1", CLOSED, "legal")),
    terms={"error_budget": 0.02, "confidence": 0.95, "of": "all", "per": None, "costs": None},
    figures={"judged": 400},
    items=400,
    items_digest="cd" * 32,
    by="bridge",
    reason="lets through more",
    at=NOW,
)


class TestThresholds:
    def test_a_row_comes_back_as_it_was_written_with_its_calibration(self, store: SqlStore) -> None:
        thresholds: ThresholdStore = store.thresholds()
        thresholds.record_calibration(FITTED)
        thresholds.record(ROW)
        (back,) = thresholds.proposals()
        assert replace(back, number=0) == ROW
        assert thresholds.newest() == back.number > 0
        assert thresholds.calibration_row(CALIBRATION) == FITTED
        assert thresholds.in_force() == []

    def test_the_newest_row_that_is_no_proposal_is_in_force(self, store: SqlStore) -> None:
        thresholds = store.thresholds()
        thresholds.record_calibration(FITTED)
        for standing in (Standing.PROPOSED, Standing.APPROVED, Standing.PROPOSED):
            thresholds.record(replace(ROW, standing=standing, items=len(standing)))
        thresholds.record(replace(ROW, model_version="m2", calibration=None, standing=Standing.TIGHTENED, thresholds=()))
        assert [(row.model_version, row.standing) for row in thresholds.in_force()] == [
            ("m1", Standing.APPROVED),
            ("m2", Standing.TIGHTENED),
        ]
        assert [row.model_version for row in thresholds.proposals()] == ["m1"]
        thresholds.record(replace(ROW, standing=Standing.CHOSEN))
        assert thresholds.proposals() == []

    def test_a_calibration_is_kept_once_and_must_be_known(self, store: SqlStore) -> None:
        with pytest.raises(UsageError, match="never recorded"):
            store.thresholds().record(ROW)
        for _ in range(2):
            store.thresholds().record_calibration(FITTED)
        event = store.insights().last_event("calibration")
        assert event is not None
        assert event.detail["items_digest"] == FITTED.items_digest

    def test_every_row_is_in_the_audit_log_with_who_and_why(self, store: SqlStore) -> None:
        store.thresholds().record_calibration(FITTED)
        store.thresholds().record(replace(ROW, standing=Standing.APPROVED, by="approver.dee", reason="I looked"))
        event = store.insights().last_event("thresholds.approved")
        assert event is not None
        assert (event.actor, event.detail["reason"]) == ("approver.dee", "I looked")
        assert store.verify_audit({}).problems == ()

    @pytest.mark.parametrize("statement", ["UPDATE thresholds SET bounds = '[]'", "DELETE FROM calibrations"])
    def test_rows_can_not_be_changed_or_removed(self, store: SqlStore, statement: str) -> None:
        store.thresholds().record_calibration(FITTED)
        store.thresholds().record(ROW)
        with pytest.raises((BridgeError, sa.exc.DatabaseError)), writing(store.engine) as connection:
            connection.execute(sa.text(statement))

    def test_only_uniform_items_of_the_calibration_part_are_read_with_their_latest_decision(self, store: SqlStore) -> None:
        kinds = {
            "decided": (Purpose.UNIFORM, Split.CALIBRATION),
            "open": (Purpose.UNIFORM, Split.CALIBRATION),
            "holdout": (Purpose.UNIFORM, Split.HOLDOUT),
            "audit": (Purpose.AUDIT, Split.TRAIN),
            "review": (Purpose.REVIEW, Split.TRAIN),
        }
        made = [an_item(name, state=ItemState.PUSHED) for name in kinds]
        items = [
            replace(item, triage=replace(item.triage, purpose=purpose, split=split))
            for item, (purpose, split) in zip(made, kinds.values(), strict=True)
        ]
        ingest(store, *items)
        before = store.thresholds().mark()
        for seq, outcome in enumerate((Outcome.CORRECTED, Outcome.ACCEPTED)):
            decision = replace(a_decision(items[0], seq), outcome=outcome)
            store.record_settlements([decided(items[0], decision)], LATER)
        found = {each.item.item_id: each.outcome for each in store.thresholds().calibration_items()}
        assert found == {"decided": Outcome.ACCEPTED, "open": None}
        assert store.thresholds().calibration_items()[0].item.prediction.input == {}
        assert store.thresholds().mark() != before == before
