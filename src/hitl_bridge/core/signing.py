"""Sign-offs: what a person says yes to, as one text that can be sealed; who may; and the names under which it is published.

Nothing that counts can be typed by someone else. A token's holder seals the statement (HMAC-SHA256, RFC 2104, under the SHA-256
of the token, which the store knows: so a seal can be checked for ever, and the token itself is nowhere); a key's holder signs
a git tag whose name says what it is for.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from hitl_bridge.core.dataset.change import TAG
from hitl_bridge.core.model import JSON, JSONObject
from hitl_bridge.core.triage.normalise import canonical

APPROVERS = "approver."
"""Access tokens whose names begin so are those of people who may sign off: `hitl-bridge token new approver.dee`."""

NOBODY = "bridge"
"""Who starts what the daemon starts: no person, so anybody who may approve may sign it off."""


@dataclass(frozen=True, slots=True)
class SignOffTerms:
    """What a sign-off takes. `four_eyes`: by somebody else than who had the model trained. `allowed_signers`: the file in the
    workspace that names the keys which count."""

    four_eyes: bool = True
    allowed_signers: str = "allowed_signers"


_DOMAIN = b"hitl-bridge/sign-off/1\n"
_STAGE = "production"
_SIGNED = "sign-off/"
_VERSION = re.compile(r"v(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9]+")


class Kind(StrEnum):
    """What was signed off: a MODEL that became the champion, a POLICY of the settings, the SIGNERS whose keys count."""

    MODEL = "model"
    POLICY = "policy"
    SIGNERS = "signers"


class Method(StrEnum):
    """How it is known who it was. NOT_NEEDED: the change lets nothing more through, or is the first of its kind."""

    TOKEN = "token"  # noqa: S105 (its name, not its value)
    SIGNATURE = "signature"
    NOT_NEEDED = "not_needed"


def statement_digest(statement: JSONObject) -> str:
    """SHA-256 (hex) of the statement in its one form."""
    return hashlib.sha256(canonical(statement).encode()).hexdigest()


def sealed(token_sha256: str, statement: JSONObject) -> str:
    """The seal (hex) of who knows the token of that SHA-256 (hex) under a statement."""
    return hmac.new(bytes.fromhex(token_sha256), _DOMAIN + canonical(statement).encode(), hashlib.sha256).hexdigest()


def is_sealed(token_sha256: str, statement: JSONObject, proof: str) -> bool:
    return hmac.compare_digest(sealed(token_sha256, statement), proof)


def files_digest(files: Mapping[str, str]) -> str:
    """One SHA-256 (hex) for a model: of the SHA-256 of each of its files by path."""
    return hashlib.sha256(canonical(dict(files)).encode()).hexdigest()


# ---------------------------------------------------------------------------------------------------------- people


def is_same_person(approver: str, starter: str) -> bool:
    """Whether somebody would sign off what they started. Names are compared as generously as can be: `approver.dee` is
    Dee <dee@example.com>, for a mistake that way costs a second pair of eyes, and the other way a rule."""
    return starter != NOBODY and bool(_names(approver.removeprefix(APPROVERS)) & _names(starter))


def _names(person: str) -> set[str]:
    """`Dee Doe <dee@example.com>`: the whole, the name, the address, and what stands before its @."""
    name, _, rest = person.casefold().partition("<")
    address = rest.rstrip("> ").strip() or (name.strip() if "@" in name else "")
    written = {name.strip(), address, address.partition("@")[0]}
    return {_NOT_IN_NAMES.sub("-", each).strip("-") for each in written if each}


# --------------------------------------------------------------------------------------------------------- versions


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a model is made of, as far as its version goes: what it answers with, and how it was trained."""

    labels: tuple[str, ...]
    task: str
    training: str

    @staticmethod
    def of(card: JSONObject) -> Recipe:
        """From a model's `model.json`; what is not said there counts as empty."""
        labels = card.get("labels")
        written = {name: card.get(name) for name in ("trainer", "params")}
        known = tuple(str(each) for each in labels) if isinstance(labels, list) else ()
        return Recipe(known, str(card.get("task", "")), canonical(written))


def next_version(known: Iterable[str], before: Recipe | None, now: Recipe) -> str:
    """`v1.4.0` after the highest of `known`: major where labels or task changed, so that whoever calls it has to look; minor
    where it is trained in another way; patch where the same training saw other data."""
    found = sorted(tuple(int(part) for part in match.groups()) for each in known if (match := _VERSION.fullmatch(each)))
    if not found or before is None:
        return f"v{found[-1][0] + 1}.0.0" if found else "v1.0.0"
    major, minor, patch = found[-1]
    if (before.labels, before.task) != (now.labels, now.task):
        return f"v{major + 1}.0.0"
    return f"v{major}.{minor + 1}.0" if before.training != now.training else f"v{major}.{minor}.{patch + 1}"


def artifact_name(card: JSONObject, model_version: str) -> str:
    """The name under which a model is registered, in characters that `gto` takes: `train.name` of params.yaml, `model`. Tags of
    the dataset have a name that no model gets."""
    params = card.get("params")
    given = params.get("name") if isinstance(params, Mapping) else None
    name = given if isinstance(given, str) else model_version.rpartition("-")[0]
    name = _NOT_IN_NAMES.sub("-", name).strip("-") or "model"
    return f"{name}-model" if f"{name}@" == TAG else name


def version_tag(artifact: str, version: str) -> str:
    return f"{artifact}@{version}"


def stage_tag(artifact: str, number: int) -> str:
    return f"{artifact}#{_STAGE}#{number}"


def signed_tag(subject: str, number: int) -> str:
    """The tag that an approver signs. Its number is used once, so that an old signature says yes to nothing new."""
    return f"{_SIGNED}{_NOT_IN_NAMES.sub('-', subject).strip('-')}#{number}"


def registry_tags(artifact: str, tags: Sequence[str]) -> tuple[dict[str, str], dict[int, str]]:
    """Of all tags those of this model: by version, and by production number."""
    versions, numbers = dict[str, str](), dict[int, str]()
    for tag in tags:
        name, _, version = tag.partition("@")
        if name == artifact and _VERSION.fullmatch(version):
            versions[version] = tag
        stage = re.fullmatch(rf"{re.escape(artifact)}#{_STAGE}#([1-9]\d{{0,8}})", tag)
        if stage:
            numbers[int(stage[1])] = tag
    return versions, numbers


def one_line(text: str) -> str | None:
    """The text without spaces around it, if it is one printable line: it goes into commit messages, where a second line could
    pose as a trailer. Else None."""
    stripped = text.strip()
    return stripped if stripped and stripped.isprintable() else None


def as_texts(value: JSON) -> dict[str, str]:
    """A JSON object of texts; empty for anything else."""
    return {str(name): str(each) for name, each in value.items()} if isinstance(value, Mapping) else {}
