"""The sentence that tells a reviewer why an item is in front of them."""

from __future__ import annotations

from collections.abc import Mapping

from hitl_bridge.core.triage.plan import Rule

BLIND = "Please judge this one by yourself: some items are shown without the model's answer."
"""The same for audits and for the uniform stream, so that nobody can tell which is which."""

_TORN = 0.25
"""Up to this margin the second label is worth naming, if it is at least half as likely as the first: 25 % and 6 % tear nobody."""

_LONGEST_RULE = 120


def by_rule(rule: Rule, holds: bool | None) -> str:
    """For an item that a rule sent here; `holds` is None when the rule could not be answered."""
    if holds is None:
        return f"Can't be checked, a value is missing: {_short(rule.when)} ({rule.reason})"
    return f"{rule.reason[:1].upper()}{rule.reason[1:]}: {_short(rule.when)}"


def by_risk(scores: Mapping[str, float], said: str, confidence: float) -> str:
    """For an item that its risk sent here. `said` is the predicted answer in a few words."""
    best = sorted(scores.items(), key=lambda each: (-each[1], each[0]))[:2]
    if len(best) == 2 and best[0][1] - best[1][1] <= _TORN and 2 * best[1][1] >= best[0][1]:
        (first, high), (second, low) = best
        return f"The model is torn between {first} ({_percent(high)}) and {second} ({_percent(low)})"
    return f"The model says {said} and is {_percent(confidence)} sure: too little to approve it without a look"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _short(text: str) -> str:
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= _LONGEST_RULE else one_line[: _LONGEST_RULE - 1] + "…"
