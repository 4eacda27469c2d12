"""The settings' policy, held against the one that somebody has agreed to: what lets more through waits for a person."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from hitl_bridge.core.model import JSON, JSONObject
from hitl_bridge.core.policy_change import loosened
from hitl_bridge.core.signing import NOBODY, Kind, Method
from hitl_bridge.core.triage.normalise import canonical
from hitl_bridge.errors import RefusedForSafety
from hitl_bridge.ports import SignOff
from hitl_bridge.services.model.signing import (
    Approvals,
    Approver,
    Wanted,
    checked_reason,
    given,
    keep_signers,
    trusted_signers,
    who_approves,
)

SETTINGS = "hitl.yaml"


@dataclass(frozen=True, slots=True)
class PolicyStanding:
    """Whether the settings may decide: `loosens` names what lets more through than what was agreed to, `signers_changed`
    whether the allowed signers are others. `in_force` is the policy that was agreed to last (None before the first)."""

    policy: str
    in_force: str | None
    loosens: tuple[str, ...]
    signers_changed: bool
    by: str | None = None

    @property
    def waits(self) -> bool:
        return bool(self.loosens) or self.signers_changed


def name_of(terms: JSONObject) -> str:
    """Names what `core.policy_change.policy_terms` gave: 12 hex digits of its SHA-256."""
    return "policy-" + hashlib.sha256(canonical(terms).encode()).hexdigest()[:12]


def policy_standing(ports: Approvals, terms: JSONObject) -> PolicyStanding:
    """How the settings stand. Writes nothing."""
    agreed = ports.sign_offs.of_kind(Kind.POLICY)
    before = _terms(agreed[-1]) if agreed else None
    text = ports.signers.read_text(encoding="utf-8") if ports.signers.is_file() else None
    trusted = trusted_signers(ports.sign_offs)
    return PolicyStanding(
        policy=name_of(terms),
        in_force=agreed[-1].subject if agreed else None,
        loosens=tuple(loosened(before, terms)) if before is not None else (),
        signers_changed=trusted is not None and text is not None and text != trusted,
        by=agreed[-1].approver if agreed else None,
    )


def agreed_policy(ports: Approvals, terms: JSONObject) -> None:
    """Puts a policy in force that lets through no more than the one before; the first is the measure of all that follow.

    Raises RefusedForSafety, naming what it loosens, for one that nobody has signed off.
    """
    standing = policy_standing(ports, terms)
    if standing.in_force == standing.policy:
        return
    if standing.loosens:
        raise RefusedForSafety(
            f"hitl.yaml lets more through than what was agreed to: {'; '.join(standing.loosens)}.",
            remedy='`hitl-bridge policy approve --reason "…"` with an approver\'s access token (docs/model.md), or take it back.',
        )
    why = "the first policy" if standing.in_force is None else "lets through no more than the one before"
    wanted = _wanted(ports.sign_offs.of_kind(Kind.POLICY), standing.policy, why)
    ports.sign_offs.record(given(wanted, Approver(NOBODY, Method.NOT_NEEDED, ""), _statement(terms, ()), ports.clock))


def approve_policy(ports: Approvals, terms: JSONObject, *, reason: str) -> PolicyStanding:
    """Puts the settings in force in the name of who approves, allowed signers included. Raises RefusedForSafety."""
    why, standing = checked_reason(reason), policy_standing(ports, terms)
    if not standing.waits:
        agreed_policy(ports, terms)
        return policy_standing(ports, terms)
    wanted = _wanted(ports.sign_offs.of_kind(Kind.POLICY), standing.policy, why)
    who = who_approves(ports, wanted)
    if standing.signers_changed:
        keep_signers(ports, who, why, ports.signers.read_text(encoding="utf-8"))
    if standing.loosens:
        ports.sign_offs.record(given(wanted, who, _statement(terms, standing.loosens), ports.clock))
    return PolicyStanding(standing.policy, standing.policy, standing.loosens, standing.signers_changed, who.name)


def _wanted(agreed: Sequence[SignOff], policy: str, reason: str) -> Wanted:
    return Wanted(Kind.POLICY, policy, 1 + max((each.number for each in agreed), default=0), reason, (SETTINGS,))


def _statement(terms: JSONObject, loosens: Sequence[str]) -> dict[str, JSON]:
    return {"policy": terms, "loosens": list(loosens)}


def _terms(sign_off: SignOff) -> JSONObject:
    said = sign_off.statement["policy"]
    return said if isinstance(said, dict) else {}
