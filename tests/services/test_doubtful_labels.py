"""Labels that are probably wrong go back to people, who decide; what can't be asked again is said."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hitl_bridge.core.model import ADJUDICATION
from hitl_bridge.errors import UsageError
from hitl_bridge.services.model.doubtful_labels import REPORT, Standing
from tests.services.bench import ANA, AUTO, BEN, DEE, Bench, row


def found(bench: Bench, *doubts: dict[str, Any]) -> None:
    """What the pipeline's stage `examine` leaves."""
    filling = {"source": "decisions", "version": "v0.1.0", "label": "refund", "rather": "cancel", "support": 0.1}
    rows = [{**filling, "twin": None, "twin_label": None, **doubt} for doubt in doubts]
    path = bench.root / REPORT
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"format": 1, "examined": 10, "doubtful": rows}))


def decided(bench: Bench, *item_ids: str, reviewer: str = ANA) -> None:
    bench.pushed(*(row(item_id) for item_id in item_ids))
    for item_id in item_ids:
        bench.answer(item_id, reviewer)
    bench.brought_back()


def test_a_doubtful_label_is_looked_at_by_an_adjudicator_and_holds_until_they_have_spoken(bench: Bench) -> None:
    decided(bench, "t-1", "t-2")
    found(bench, {"item_id": "t-1", "twin": "t-9", "twin_label": "billing"}, {"item_id": "t-2"})

    asked = bench.bridge.ask_again(1, by="Lea")

    assert asked.asked == ("t-1",)
    route = bench.item("t-1").route
    assert route.tier == ADJUDICATION
    assert "“refund” may be wrong" in route.reason
    assert "rather say “cancel” and an item that is nearly the same is labelled “billing”" in route.reason
    assert bench.decision("t-1").output == {"label": "refund"}
    assert bench.state("t-2") == "decided"

    bench.bridge.push()
    bench.answer("t-1", DEE, "cancel", why="They want to leave.")
    bench.brought_back()
    again = bench.decision("t-1")
    assert (again.output, again.reviewers, again.seq) == ({"label": "cancel"}, (DEE,), 1)


def test_only_so_many_are_asked_as_were_wanted_and_none_twice(bench: Bench) -> None:
    decided(bench, "t-1", "t-2", "t-3")
    found(bench, {"item_id": "t-3"}, {"item_id": "t-1"}, {"item_id": "t-2"})

    assert bench.bridge.ask_again(2, by="Lea").asked == ("t-3", "t-1")
    assert bench.bridge.ask_again(2, by="Lea").asked == ("t-2",)
    assert {each.item_id: each.standing for each in bench.bridge.doubtful_labels().doubtful} == dict.fromkeys(
        ("t-1", "t-2", "t-3"), Standing.OPEN
    )


def test_what_can_not_be_asked_again_is_listed_with_the_reason(bench: Bench) -> None:
    decided(bench, "settled", "changed")
    bench.pushed(row("audit", AUTO))
    bench.answer("audit", BEN)
    bench.brought_back()
    found(bench, {"item_id": "settled"})
    bench.bridge.ask_again(1, by="Lea")
    bench.bridge.push()
    bench.answer("settled", DEE, "refund", why="It is one.")
    bench.brought_back()
    found(
        bench,
        {"item_id": "settled"},
        {"item_id": "audit"},
        {"item_id": "changed", "label": "billing"},
        {"item_id": "gone"},
        {"item_id": "b-1", "source": "base"},
    )

    standings = {each.item_id: each.standing for each in bench.bridge.doubtful_labels().doubtful}

    assert standings == {
        "settled": Standing.SETTLED,
        "audit": Standing.MEASURES,
        "changed": Standing.CHANGED,
        "gone": Standing.CHANGED,
        "b-1": Standing.BASE,
    }
    assert bench.bridge.ask_again(5, by="Lea").asked == ()


def test_a_dry_run_says_whom_it_would_ask_and_writes_nothing(bench: Bench) -> None:
    decided(bench, "t-1")
    found(bench, {"item_id": "t-1"})
    before = bench.database()

    assert bench.bridge.ask_again(3, by="Lea", dry_run=True).asked == ("t-1",)
    assert bench.database() == before


def test_labels_that_were_never_examined_are_said_to_be_so(bench: Bench) -> None:
    with pytest.raises(UsageError, match="have not been examined"):
        bench.bridge.doubtful_labels()
