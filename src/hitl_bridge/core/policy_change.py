"""What a change of policy lets through that the policy before did not, named one by one.

A tighter policy is in force at once; one that loosens anything takes an approver's sign-off, as a looser threshold does. Rules
are SQL, and whether one expression implies another can't be told: so a rule that is gone or changed counts as a rule less, and a
new one that sends items anywhere but to the strictest tier counts as a way past the tiers that their risk would lead to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from hitl_bridge.core.model import JSON, JSONObject
from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.core.routing import Tier
from hitl_bridge.core.signing import SignOffTerms

_CONSENSUS = ("single", "weighted", "majority", "unanimous")


def policy_terms(policy: ReviewPolicy, terms: SignOffTerms) -> JSONObject:
    """All of a policy that decides how much is let through: what `loosened` compares, and what a sign-off speaks of."""
    plan, budget = policy.plan, policy.budget
    return {
        "tiers": [{"name": each.name, "max_risk": each.max_risk, **_review(policy.tiers.get(each.name))} for each in plan.tiers],
        "auto_tier": plan.auto_tier,
        "by_budget": budget.decides,
        "rules": [{"when": each.when, "tier": each.tier} for each in plan.rules],
        "audit_rate": plan.audit_rate,
        "uniform_rate": plan.uniform_rate,
        "budget": budget.terms,
        "four_eyes": terms.four_eyes,
    }


def _review(tier: Tier | None) -> dict[str, JSON]:
    if tier is None:
        return {}
    return {
        "reviewers": tier.reviewers,
        "consensus": tier.consensus,
        "rationale": tier.rationale_required,
        "checklist": list(tier.checklist),
    }


def loosened(before: JSONObject, now: JSONObject) -> list[str]:
    """Each thing that lets more through than before, as a sentence; none where everything is as strict or stricter."""
    return [*_tiers(before, now), *_rules(before, now), *_rates(before, now), *_budget(before, now)]


def _tiers(before: JSONObject, now: JSONObject) -> Iterator[str]:
    known, rows = _by_name(before), _rows(now["tiers"])
    for place, row in enumerate(rows):
        name = str(row["name"])
        if name in known:
            yield from _tier(known[name], row, by_budget=bool(now["by_budget"]) and name == now["auto_tier"])
        elif name == now["auto_tier"]:
            yield f"the tier {name!r} is new: what it takes is approved without a look"
        elif place < len(rows) - 1:
            yield f"the tier {name!r} is new: it takes items that a stricter one took"
    if known and rows[-1]["name"] != _rows(before["tiers"])[-1]["name"]:
        yield f"the strictest tier is {rows[-1]['name']!r}, and was {_rows(before['tiers'])[-1]['name']!r}"
    if before["by_budget"] and not now["by_budget"] and now["auto_tier"] is not None:
        yield "the error budget does not choose the threshold any more"


def _tier(before: JSONObject, now: JSONObject, *, by_budget: bool) -> Iterator[str]:
    name = f"tier {now['name']!r}"
    if not by_budget and _number(now["max_risk"]) > _number(before["max_risk"]):
        was = _number(before["max_risk"])
        yield f"{name}: max_risk {_number(now['max_risk']):g}, was {'`budget`' if was < 0 else format(was, 'g')}"
    if "reviewers" not in before or "reviewers" not in now:
        return
    if _number(now["reviewers"]) < _number(before["reviewers"]):
        yield f"{name}: {now['reviewers']} reviewers, were {before['reviewers']}"
    if _consensus(now) < _consensus(before):
        yield f"{name}: consensus {now['consensus']}, was {before['consensus']}"
    if before["rationale"] and not now["rationale"]:
        yield f"{name}: no rationale is required any more"
    for gone in [each for each in _texts(before["checklist"]) if each not in _texts(now["checklist"])]:
        yield f"{name}: not on the checklist any more: {gone}"


def _rules(before: JSONObject, now: JSONObject) -> Iterator[str]:
    strictness = {str(row["name"]): place for place, row in enumerate(_rows(now["tiers"]))}
    rules = {str(row["when"]): str(row["tier"]) for row in _rows(now["rules"])}
    known = {str(row["when"]): str(row["tier"]) for row in _rows(before["rules"])}
    for when, tier in known.items():
        if when not in rules:
            yield f"a rule is gone: {when} → {tier}"
        elif rules[when] != tier and strictness[rules[when]] < strictness.get(tier, len(strictness)):
            yield f"a rule leads to {rules[when]!r}, and led to {tier!r}: {when}"
    for when, tier in rules.items():
        if when not in known and strictness[tier] < len(strictness) - 1:
            yield f"a new rule leads to {tier!r} whatever the risk: {when}"
    kept = [when for when in rules if when in known]
    if kept != [when for when in known if when in rules]:
        yield "rules stand in another order"


def _rates(before: JSONObject, now: JSONObject) -> Iterator[str]:
    for name in ("audit_rate", "uniform_rate"):
        if _number(now[name]) < _number(before[name]):
            yield f"{name.replace('_', ' ')} {_number(now[name]):g}, was {_number(before[name]):g}"
    if before["four_eyes"] and not now["four_eyes"]:
        yield "who had a model trained may sign it off"


def _budget(before: JSONObject, now: JSONObject) -> Iterator[str]:
    old, new = cast("JSONObject", before["budget"]), cast("JSONObject", now["budget"])
    if not now["by_budget"] or old.get("error_budget") is None:
        return
    if _number(new["error_budget"]) > _number(old["error_budget"]):
        yield f"error budget {_number(new['error_budget']):g}, was {_number(old['error_budget']):g}"
    if _number(new["confidence"]) < _number(old["confidence"]):
        yield f"confidence {_number(new['confidence']):g}, was {_number(old['confidence']):g}"
    for name in ("of", "per", "costs"):
        if new.get(name) != old.get(name):
            yield f"another promise: triage.{name} was changed"


def _by_name(policy: JSONObject) -> Mapping[str, JSONObject]:
    return {str(row["name"]): row for row in _rows(policy["tiers"])}


def _consensus(tier: JSONObject) -> int:
    """Any rule that is not known here counts as strict: it asks more than a majority."""
    name = str(tier["consensus"])
    return _CONSENSUS.index(name) if name in _CONSENSUS else len(_CONSENSUS)


def _rows(value: JSON) -> Sequence[JSONObject]:
    return cast("Sequence[JSONObject]", value)


def _texts(value: JSON) -> Sequence[str]:
    return cast("Sequence[str]", value)


def _number(value: JSON) -> float:
    return float(cast("float", value))
