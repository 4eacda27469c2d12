"""Whether `trace` tells an item's whole life: what must be in it, by what became of the item."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from hitl_bridge.core.model import ADJUDICATION, Split

Life = Mapping[str, Any]


def missing_parts(life: Life, reviewers: Collection[str], candidate: str) -> list[str]:
    """What a trace lacks; empty if it is whole.

    Args:
        reviewers: the e-mail addresses of those who may answer.
        candidate: the model version trained on the dataset version that holds the decisions.
    """
    receipts = life["receipts"]
    if not receipts or receipts[0]["tier"] is None or receipts[0]["policy_version"] is None:
        return ["receipt"]
    checks = _unseen(life) if receipts[0]["purpose"] is None else _decided(life, reviewers, candidate)
    return [what for what, holds in checks if not holds]


def _unseen(life: Life) -> Iterator[tuple[str, bool]]:
    """Approved without a look: the receipt says why, and nothing else happened."""
    receipt = life["receipts"][0]
    yield "tier auto", receipt["tier"] == "auto"
    yield "the audit draw that spared it", receipt["audit_draw"] is not None and receipt["audit_draw"] >= receipt["audit_rate"]
    yield "nothing else", not any(life[name] for name in ("tasks", "annotations", "decisions", "versions", "models"))


def _decided(life: Life, reviewers: Collection[str], candidate: str) -> Iterator[tuple[str, bool]]:
    item, decision = life["revisions"][-1], life["decisions"][-1]
    answers = [each for each in life["annotations"] if each["answer"] is not None]
    yield "prediction", bool(item["prediction"]["output"] and item["prediction"]["model_version"])
    yield "triage with its reason", bool(item["triage"]["tier"] and item["triage"]["reason"])
    yield "route with its reason", bool(item["route"]["pool"] and item["route"]["reason"] and item["route"]["due_at"])
    yield "a task in each round", _rounds(life["tasks"]) == set(range(1, item["round"] + 1))
    yield "the place of each task", all(each["task_id"] and each["project_url"] for each in life["tasks"])
    yield "an answer in each round", _rounds(answers) == set(range(1, item["round"] + 1))
    yield "who answered", bool(answers) and all(each["reviewer"] in reviewers for each in answers)
    yield "decision", decision["round"] == item["round"] and bool(decision["outcome"])
    yield "the answers behind it", bool(decision["annotations"]) and set(decision["annotations"]) <= _keys(answers)
    yield "dataset version", len(life["versions"]) == 1
    # What is held out to measure by is in the version too, and must not be said to have trained a model.
    trained = {each["model_version"] for each in life["models"]}
    yield "models trained on it", trained >= {candidate} if _trains(life) else not trained
    yield "settled state", item["state"] == "committed"
    if item["round"] > 1:
        yield from _adjudicated(life, answers)


def _adjudicated(life: Life, answers: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, bool]]:
    item = life["revisions"][-1]
    first = {each["answer"]["output"]["label"] for each in answers if each["round"] == 1}
    said = first | {item["prediction"]["output"]["label"]} if item["triage"]["purpose"] == "audit" else first
    yield "the disagreement", len(said) > 1
    yield "the adjudicator's task", any(each["pool"] and each["tier"] == ADJUDICATION for each in life["tasks"])


def kind_of(life: Life) -> str:
    """auto-approved, decided (in the first round) or adjudicated."""
    if life["receipts"][0]["purpose"] is None:
        return "auto-approved"
    return "adjudicated" if life["revisions"][-1]["round"] > 1 else "decided"


def _trains(life: Life) -> bool:
    return bool(life["revisions"][-1]["triage"]["split"] == Split.TRAIN.value)


def _rounds(rows: Sequence[Mapping[str, Any]]) -> set[int]:
    return {int(row["round"]) for row in rows}


def _keys(answers: Sequence[Mapping[str, Any]]) -> set[str]:
    return {str(each["annotation"]) for each in answers}
