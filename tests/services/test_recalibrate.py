"""A new champion's thresholds, from what people have judged of the old one's predictions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hitl_bridge.adapters.sql.store import open_store
from hitl_bridge.core.model import Outcome
from hitl_bridge.core.task_types import task_type
from hitl_bridge.ports import ModelAnswer
from hitl_bridge.services.model.recalibrate import recalibrate, rescored
from tests.services.bench import Watch
from tests.services.test_thresholds import BUDGET, KEY, Desk, whole

LABELS = ("refund", "billing")
KIND = task_type("text-classification")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    store = open_store("sqlite:///bridge.db", tmp_path, key=KEY)
    yield Desk(store, Watch())
    store.close()


def says(desk: Desk, *, right: bool, count: int | None = None) -> dict[str, ModelAnswer]:
    """A model that is as sure as the old one was, and always right (or wrong), of the first `count` items."""
    found = {}
    for each in desk.store.thresholds().calibration_items()[:count]:
        assert each.output is not None
        meant = str(each.output["label"])
        other = next(label for label in LABELS if label != meant)
        sure = 0.5 + each.item.prediction.confidence / 2
        said, not_said = (meant, other) if right else (other, meant)
        found[str(each.item.item_id)] = ModelAnswer({"label": said}, sure, {said: sure, not_said: 1 - sure})
    return found


def test_a_model_that_has_predicted_nothing_yet_gets_thresholds_that_wait_for_a_person(desk: Desk) -> None:
    desk.judged(400)
    chosen = recalibrate(desk.ports(), whole(BUDGET), "m2", says(desk, right=True))
    assert chosen is not None
    assert (chosen.model_version, chosen.did, chosen.choice.overall.share) == ("m2", "proposed", 0)
    assert [row.model_version for row in desk.store.thresholds().proposals()] == ["m2"]
    assert desk.in_force().thresholds == ()
    desk.approve()
    assert {each.model_version for each in desk.in_force().thresholds} == {"m2"}


def test_a_model_that_errs_gets_no_more_than_the_budget(desk: Desk) -> None:
    desk.judged(400)
    chosen = recalibrate(desk.ports(), whole(BUDGET), "m2", says(desk, right=False))
    assert chosen is not None
    assert chosen.choice.overall.coverage < 0.05  # all that it approves is wrong: no more than may be


def test_what_could_not_be_scored_counts_as_wrong_and_what_came_later_not_at_all(desk: Desk) -> None:
    desk.judged(100)
    there = desk.store.thresholds().calibration_items()
    scores = says(desk, right=True, count=60)
    left_out = str(there[10].item.item_id)
    del scores[left_out]
    seen = rescored(there, "m2", scores, KIND)
    assert len(seen) == 60
    assert [str(each.item.item_id) for each in seen if each.outcome is not Outcome.ACCEPTED] == [left_out]
    assert seen[10].item.prediction.confidence == 1.0
    assert {each.item.prediction.model_version for each in seen} == {"m2"}
    assert rescored(there, "m2", {}, KIND) == []
