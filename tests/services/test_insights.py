"""How things stand, and one item's whole life: the keys that others build on."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from hitl_bridge.cli.render import plain
from hitl_bridge.core.model import JSON
from hitl_bridge.core.trace import tell
from hitl_bridge.errors import UnknownName
from tests.services.bench import ANA, AUTO, BEN, COMPREHENSIVE, DEE, POLICY, Bench, row, without_git

STATUS = [
    "items",
    "tiers",
    "decisions",
    "audits",
    "projects",
    "overdue",
    "waiting",
    "problems",
    "last_cycle",
    "champion",
    "candidate",
]
LIFE = ["item_id", "receipts", "revisions", "tasks", "annotations", "decisions", "versions", "events", "models"]


def rows(value: JSON) -> list[dict[str, JSON]]:
    assert isinstance(value, list)
    return value


def test_status_has_the_documented_keys_also_where_nothing_has_happened_yet(bench: Bench) -> None:
    said = plain(bench.bridge.status())
    assert isinstance(said, dict)
    later = ["dataset_version", "lots", "held", "audit_rate_raised", "at_risk", "deadlines", "notices_waiting", "nobody_settles"]
    assert list(said) == [*STATUS, *later]
    assert (said["items"], said["last_cycle"], said["champion"], said["dataset_version"]) == ({}, None, None, None)


def test_status_counts_items_tiers_decisions_and_tasks(bench: Bench) -> None:
    bench.pushed(row("q1"), row("q2"), row("c", COMPREHENSIVE), row("a", AUTO))
    bench.answer("q1", ANA, "billing")
    bench.brought_back()
    status = bench.bridge.status()
    assert status.items == {"decided": 1, "pushed": 3}
    assert status.tiers == {"auto": 1, "quick": 2, "comprehensive": 1}
    assert status.decisions == {"corrected": 1}
    assert {project["tier"]: (project["tasks"], project["answered"], project["open"]) for project in status.projects} == {
        "quick": (3, 1, 2),
        "comprehensive": (1, 0, 1),
    }
    assert all(project["tasks"] == project["closed"] + project["open"] for project in status.projects)  # type: ignore[operator]


def test_status_says_what_is_overdue(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    assert bench.bridge.status().overdue == 0
    bench.clock.turn(timedelta(hours=5).total_seconds())
    assert bench.bridge.status().overdue == 1


def test_status_asks_nobody_outside(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    requests = bench.labeling.requests_made
    bench.labeling.fail_next()
    bench.bridge.status()
    assert bench.labeling.requests_made == requests


def test_the_life_of_a_disputed_item_is_told_from_receipt_to_decision(bench: Bench) -> None:
    bench.pushed(row("t-1", COMPREHENSIVE))
    bench.answer("t-1", ANA, "refund", why="Money back.")
    bench.answer("t-1", BEN, "cancel")
    bench.brought_back()
    bench.bridge.push()
    bench.answer("t-1", DEE, "cancel", why="They say so twice.")
    bench.brought_back()
    life = bench.bridge.trace("t-1")
    assert list(life) == LIFE
    assert [task["round"] for task in rows(life["tasks"])] == [1, 2]
    assert [annotation["reviewer"] for annotation in rows(life["annotations"])] == [ANA, BEN, DEE]
    (decision,) = rows(life["decisions"])
    assert (decision["outcome"], decision["rationale"], decision["version"]) == ("corrected", "They say so twice.", None)
    assert len(rows(life["receipts"])) == 1
    json.dumps(plain(life), allow_nan=False)
    told = "\n".join(tell(life))
    words = ("  routed ", "  asked ", "  answered ", "  decided ")
    assert sorted(words, key=told.index) == list(words)
    assert "They say so twice." in told


def test_an_item_that_nobody_had_to_see_has_its_receipt(bench: Bench) -> None:
    root = without_git(bench.root.parent / "unaudited", POLICY.replace("rate: 1.0", "rate: 0.0"))
    quiet = Bench(root)
    quiet.ingest(row("t-1", AUTO))
    life = quiet.bridge.trace("t-1")
    (receipt,) = rows(life["receipts"])
    assert (receipt["tier"], life["tasks"], life["decisions"], life["models"]) == ("auto", [], [], [])
    assert quiet.bridge.status().items == {"auto_approved": 1}
    assert tell(life)


def test_an_item_that_nobody_knows_is_an_error_with_a_remedy(bench: Bench) -> None:
    with pytest.raises(UnknownName, match="t-404") as unknown:
        bench.bridge.trace("t-404")
    assert unknown.value.remedy
