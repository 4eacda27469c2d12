from __future__ import annotations

from hitl_bridge.core.model import JSONObject
from hitl_bridge.core.trace import tell


def test_the_life_of_an_item_is_told_in_the_order_of_things() -> None:
    lines = tell(
        {
            "receipts": [
                {
                    "output": '{"label":"refund"}',
                    "confidence": 0.51,
                    "model_version": "m-1",
                    "tier": "quick",
                    "rule": 0,
                    "policy_version": "p-1",
                    "purpose": "review",
                    "uniform_draw": 0.5,
                    "uniform_rate": 0.02,
                }
            ],
            "revisions": [
                {"route": {"pool": "payments", "tier": "quick", "due_at": "2026-11-22T14:00:00Z"}, "state": "committed"}
            ],
            "tasks": [{"round": 1, "task_id": 7, "pool": "payments", "tier": "quick", "state": "live"}],
            "annotations": [
                {"updated_at": "2026-11-22T10:05:00Z", "reviewer": "ana", "answer": {"output": None, "rationale": "spam"}}
            ],
            "decisions": [{"outcome": "rejected", "output": None, "op": "add", "version": "v0.1.0"}],
            "models": [{"role": "champion", "model_version": "m-2"}],
        }
    )
    assert lines == [
        "  predicted  refund, 51 % sure, by m-1",
        "  triaged    quick by rule 1, policy p-1; people see it: review",
        "  drawn      uniform 0.500 against 0.020, audit –",
        "  routed     to payments / quick, due 2026-11-22 14:00; now committed",
        "  asked      round 1: task 7 in payments / quick, live",
        "  answered   2026-11-22 10:05 ana: rejected – “spam”",
        "  decided    rejected: rejected (add), in dataset v0.1.0",
        "  trained    champion m-2",
    ]


def test_an_item_that_nobody_saw_has_a_life_too() -> None:
    (predicted, triaged, _) = tell(
        {"receipts": [{"output": '{"label":"refund"}', "confidence": 0.99, "tier": "auto", "purpose": None}]}
    )
    assert "99 % sure" in predicted
    assert "nobody needs to see it" in triaged


def test_who_hands_an_item_on_did_not_reject_it() -> None:
    asked: JSONObject = {"output": None, "request": "escalate"}
    plea: JSONObject = {"updated_at": "2026-11-22T10:05:00Z", "reviewer": "ana", "answer": asked}
    assert tell({"annotations": [plea]}) == ["  answered   2026-11-22 10:05 ana: lets an adjudicator decide"]
