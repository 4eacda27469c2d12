"""What a dataset version did to the model."""

from __future__ import annotations

from pathlib import Path

import pytest

from hitl_bridge.errors import UnknownName
from hitl_bridge.stages.effect import effect
from hitl_bridge.stages.prepare import prepare
from tests.stages.workspaces import Row, decision, texts, write_lines, write_version

WRONG = {"refund": "cancel", "cancel": "technical", "technical": "refund"}


@pytest.fixture
def taught(workspace: Path) -> Path:
    """A base of 12, a version that teaches the rest, and one that turns 30 of its labels round."""
    write_lines(workspace / "data/base/train.jsonl", texts(12, 1, "t"))
    rows = texts(120, 7, "d")
    inputs = {row["item_id"]: row["input"]["text"] for row in rows}
    write_version(workspace, "v0.1.0", [decision(row["item_id"], row["output"]["label"]) for row in rows], inputs)
    write_version(workspace, "v0.1.1", [turned(row) for row in rows[:90]], {})
    prepare(workspace)
    return workspace


def turned(row: Row) -> Row:
    return decision(row["item_id"], WRONG[row["output"]["label"]], op="change", seq=1)


def test_a_version_of_wrong_corrections_is_seen_to_harm_and_the_flips_are_named(taught: Path) -> None:
    found = effect(taught, "v0.1.1")
    assert found.is_seen
    assert found.gain < 0
    assert found.low <= found.gain <= found.high < 0
    assert found.accuracy_with == pytest.approx(found.accuracy_without + found.gain)
    assert 80 <= found.items <= 90  # those that are nearly a held-out item train in neither
    assert found.flips
    assert all(flip.without != flip.with_it for flip in found.flips)
    assert effect(taught, "decisions@v0.1.1") == found


def test_without_a_version_its_items_are_as_they_were_before_it(taught: Path) -> None:
    """Base rows that it replaced come back, as do decisions that it took back."""
    rows = texts(12, 1, "t")
    changes = [decision(rows[0]["item_id"], None, op="add", outcome="rejected"), decision("d100", None, op="remove", seq=1)]
    write_version(taught, "v0.1.2", changes, {})
    prepare(taught)
    assert effect(taught, "v0.1.2").items <= 2
    assert effect(taught, "v0.1.2").gain <= effect(taught, "v0.1.2").high


def test_a_version_that_is_not_there_is_refused_with_those_that_are(taught: Path) -> None:
    with pytest.raises(UnknownName, match=r"v9\.0\.0") as refused:
        effect(taught, "v9.0.0")
    assert "v0.1.0, v0.1.1" in refused.value.remedy
