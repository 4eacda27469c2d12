"""Who says yes, and how that is known: by an approver's access token, or by a tag that an approver signed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hitl_bridge.core.model import JSON, JSONObject
from hitl_bridge.core.signing import APPROVERS, Kind, Method, is_same_person, is_sealed, one_line, sealed, signed_tag
from hitl_bridge.errors import RefusedForSafety, UsageError
from hitl_bridge.ports import AccessTokens, Clock, Registry, SignedTag, SignOff, SignOffs
from hitl_bridge.services.keeping.access import Doorkeeper, digest_of

_HOW = "Make one with `hitl-bridge token new approver.NAME` and set HITL_APPROVER_TOKEN, or HITL_APPROVER_TOKEN_FILE."
_OVERRIDE = "override:"


@dataclass(frozen=True, slots=True)
class Approvals:
    """All by which a yes is known: the token that was given (if any), and the keys that count (`signers`, a file of the
    workspace). With `sign`, the tag is made here, with the key that git is configured with. Where the roster says who may
    approve, `people` are their addresses, and nobody else's yes counts."""

    sign_offs: SignOffs
    tokens: AccessTokens
    registry: Registry
    clock: Clock
    signers: Path
    people: Sequence[str] = ()
    token: str | None = None
    sign: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody is to say yes to. A signed tag has to stand where the branch holds the same `files`; with `overridden`, its
    message needs a line `Override: …`."""

    kind: Kind
    subject: str
    number: int
    reason: str
    files: Sequence[str]
    overridden: bool = False

    @property
    def tag(self) -> str:
        return signed_tag(self.subject, self.number)


@dataclass(frozen=True, slots=True)
class Approver:
    """Somebody who may, and the means by which it is known: a token's SHA-256, or a signed tag's id."""

    name: str
    method: Method
    means: str

    def proof(self, statement: JSONObject) -> str:
        return sealed(self.means, statement) if self.method is Method.TOKEN else self.means


def approver(tokens: AccessTokens, clock: Clock, token: str | None) -> str:
    """The name of whose token this is. Raises RefusedForSafety for one that is not an approver's, or is none any more."""
    if token is None:
        raise RefusedForSafety("This needs the sign-off of an approver: no approver's access token was given.", remedy=_HOW)
    name = Doorkeeper(tokens, clock).knows(token)
    if name is None:
        said = "The approver's access token is not in force: it is wrong, or was revoked."
        raise RefusedForSafety(said, remedy=_HOW)
    if not name.startswith(APPROVERS):
        raise RefusedForSafety(f"The token {name!r} is not an approver's.", remedy=_HOW)
    return name


def who_approves(ports: Approvals, wanted: Wanted) -> Approver:
    """Who says yes to what is wanted. Raises RefusedForSafety where nobody does, or nobody who may."""
    who = _who(ports, wanted)
    check_may_approve(who.name, ports.people)
    return who


def check_may_approve(name: str, people: Sequence[str]) -> None:
    """Raises RefusedForSafety where the roster says who may approve (`people`), and it is not them."""
    if people and not any(is_same_person(name, person) for person in people):
        raise RefusedForSafety(
            f"{name} may not approve, says the roster.", remedy="Ask somebody whose entry in hitl.yaml says `approves: true`."
        )


def _who(ports: Approvals, wanted: Wanted) -> Approver:
    if ports.token is not None:
        return Approver(approver(ports.tokens, ports.clock, ports.token), Method.TOKEN, digest_of(ports.token))
    if ports.signers.is_file():
        signed = _signed(ports, wanted)
        if signed is not None:
            return Approver(signed.signer, Method.SIGNATURE, signed.tag_id)
    raise RefusedForSafety(
        f"{wanted.subject} has no sign-off: no approver's access token was given, and there is no signed tag {wanted.tag}.",
        remedy=f"{_HOW} Or sign with a key of {ports.signers.name}: {_how_to_sign(wanted)}",
    )


def checked_reason(reason: str) -> str:
    """Raises UsageError unless it is one line."""
    said = one_line(reason)
    if said is None:
        raise UsageError("A sign-off needs a reason, in one line of plain text.", remedy='Say why: --reason "…".')
    return said


def given(wanted: Wanted, who: Approver, statement: JSONObject, clock: Clock) -> SignOff:
    """The sign-off, sealed."""
    at = clock.now()
    said: dict[str, JSON] = {
        "format": 1,
        "kind": wanted.kind.value,
        "subject": wanted.subject,
        "number": wanted.number,
        "approver": who.name,
        "method": who.method.value,
        "reason": wanted.reason,
        "overridden": wanted.overridden,
        "at": at.isoformat(timespec="seconds"),
        **statement,
    }
    proof = who.proof(said)
    return SignOff(wanted.kind, wanted.subject, wanted.number, said, who.name, who.method, proof, wanted.reason, at)


def trouble_with(sign_off: SignOff, tokens: AccessTokens, registry: Registry, signers: str) -> str | None:
    """What is wrong with a sign-off that was given earlier; None if it holds.

    One whose token was revoked since still holds; one whose key is no longer among the allowed signers does not.
    """
    if sign_off.method is Method.NOT_NEEDED:
        return None
    if sign_off.method is Method.TOKEN:
        token = next((each for each in tokens.all() if each.name == sign_off.approver), None)
        if token is None or not is_sealed(token.sha256, sign_off.statement, sign_off.proof):
            return f"the seal of {sign_off.approver} is forged"
        if token.revoked_at is not None and token.revoked_at < sign_off.at:
            return f"{sign_off.approver}'s token was revoked before"
        return None
    return _trouble_with_tag(sign_off, registry, signers)


def _trouble_with_tag(sign_off: SignOff, registry: Registry, signers: str) -> str | None:
    name = signed_tag(sign_off.subject, sign_off.number)
    try:
        signed = registry.signed(name, signers)
    except RefusedForSafety as refused:
        return refused.message
    if signed is None:
        return f"tag {name} was removed"
    if signed.tag_id != sign_off.proof:
        return f"tag {name} was moved by hand: it was {sign_off.proof[:12]}, and is {signed.tag_id[:12]}"
    return None if signed.signer == sign_off.approver else f"tag {name} was signed by {signed.signer}"


# ------------------------------------------------------------------------------------------------------ signatures


def trusted_signers(sign_offs: SignOffs) -> str | None:
    """The text of the allowed signers that somebody has agreed to; None before the first."""
    agreed = sign_offs.of_kind(Kind.SIGNERS)
    return str(agreed[-1].statement["text"]) if agreed else None


def keep_signers(ports: Approvals, who: Approver, reason: str, text: str) -> SignOff:
    """From now on these keys count."""
    number = 1 + max((each.number for each in ports.sign_offs.of_kind(Kind.SIGNERS)), default=0)
    wanted = Wanted(Kind.SIGNERS, ports.signers.name, number, reason, (ports.signers.name,))
    sign_off = given(wanted, who, {"text": text}, ports.clock)
    ports.sign_offs.record(sign_off)
    return sign_off


def _signed(ports: Approvals, wanted: Wanted) -> SignedTag | None:
    text = ports.signers.read_text(encoding="utf-8")
    trusted = trusted_signers(ports.sign_offs)
    if trusted is not None and trusted != text:
        raise RefusedForSafety(
            f"{ports.signers.name} was changed since its keys were agreed to: whoever changed it could have put in their own.",
            remedy='Compare it with git; then `hitl-bridge policy approve --reason "…"` with an approver\'s access token.',
        )
    if ports.sign and ports.registry.tag_id(wanted.tag) is None:
        override = f"\n\nOverride: {wanted.reason}" if wanted.overridden else ""
        ports.registry.sign(wanted.tag, ports.registry.head(), f"{wanted.reason}{override}\n")
    signed = ports.registry.signed(wanted.tag, text)
    if signed is None:
        return None
    _check_it_is_this(ports.registry, wanted, signed)
    if trusted is None:
        keep_signers(ports, Approver("bridge", Method.NOT_NEEDED, ""), "first used", text)
    return signed


def _check_it_is_this(registry: Registry, wanted: Wanted, signed: SignedTag) -> None:
    head = registry.head()
    for path in wanted.files:
        if registry.content(signed.commit, path) != registry.content(head, path):
            raise RefusedForSafety(
                f"Tag {wanted.tag} says yes to another {path} than the one that is there.",
                remedy=f"Remove it, and let the approver look again: {_how_to_sign(wanted)}",
            )
    if wanted.overridden and not any(line.lower().startswith(_OVERRIDE) for line in signed.message.splitlines()):
        raise RefusedForSafety(
            f"Tag {wanted.tag} says yes, but not against the gate's verdict.",
            remedy="Its message needs a line that begins with `Override:` and says why.",
        )


def _how_to_sign(wanted: Wanted) -> str:
    return f"git -c gpg.format=ssh tag -s '{wanted.tag}' -m 'why'"
