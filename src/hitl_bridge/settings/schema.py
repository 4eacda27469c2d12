"""The shape of `hitl.yaml`, section by section. What sections say about one another is in `checks`."""

from __future__ import annotations

import re
from datetime import timedelta
from difflib import get_close_matches
from pathlib import PurePosixPath
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, StringConstraints

from hitl_bridge.core.model import ADJUDICATION, NONE_OF_THESE
from hitl_bridge.core.people import WEEKLY
from hitl_bridge.core.routing import MOST_REVIEWERS, ConsensusName
from hitl_bridge.core.task_types import TASK_TYPE_NAMES
from hitl_bridge.core.task_types.controls import ANOTHER_LABEL
from hitl_bridge.core.triage.columns import PREDICTIONS
from hitl_bridge.settings.durations import Quota, parse_quota, quota_text
from hitl_bridge.settings.section import Duration, Section
from hitl_bridge.settings.time import HoursSection, Ladder, NoticesSection

ASSIGNMENTS = ("pool", "reviewer")

LONGEST_LABEL = 200
LONGEST_NAME = 20
"""Of tiers and pools: both stand in a project's title, and Label Studio gives that 50 characters."""

_RESERVED_LABELS = {name.casefold() for name in (NONE_OF_THESE, ANOTHER_LABEL)}
_RULE_FIELDS = {*PREDICTIONS, "risk", "disagreement"}
_NAME = re.compile(r"\w(?:[\w .&+-]*[\w.+])?")
_ATTRIBUTE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_EMAIL = re.compile(r"[^@\s,;<>]+@[^@\s,;<>]+")
_BRANCH = re.compile(r"(?![-/.])(?!.*(?:\.\.|//|@\{|/\.|\.lock(?:/|$)))[^\x00-\x20~^:?*\[\\\x7f]+(?<![/.])")


def _label(text: str) -> str:
    if not text.strip():
        raise ValueError("a label must not be empty")
    if text != text.strip() or not text.isprintable():
        raise ValueError(f"label {text!r} has spaces around it or characters that can't be seen; remove them")
    if len(text) > LONGEST_LABEL:
        raise ValueError(f"a label may have at most {LONGEST_LABEL} characters; this one has {len(text)}")
    if text.casefold() in _RESERVED_LABELS:
        raise ValueError(f"{text!r} is an answer that every review page has already; choose another word")
    return text


def _name(text: str) -> str:
    if not _NAME.fullmatch(text) or len(text) > LONGEST_NAME:
        raise ValueError(f"{text!r} is no name: use up to {LONGEST_NAME} letters, digits, spaces and - _ . & +")
    return text


def _tier_name(text: str) -> str:
    if text.casefold() == ADJUDICATION:
        raise ValueError(f"{text!r} is the bridge's own tier for settling disputes; choose another name")
    if text.casefold() == "auto" and text != "auto":
        raise ValueError(f"{text!r} would be taken for the tier `auto`; write it in small letters, or choose another name")
    return _name(text)


def _attribute(text: str) -> str:
    if not _ATTRIBUTE.fullmatch(text):
        raise ValueError(f"{text!r} can't be used in a rule: use letters, digits and _, not beginning with a digit")
    if text.casefold() in _RULE_FIELDS:
        raise ValueError(f"{text!r} is a field that every prediction has; choose another name")
    return text


def _email(text: str) -> str:
    # Label Studio keeps addresses in small letters, and answers are matched to people by address.
    if not _EMAIL.fullmatch(text):
        raise ValueError(
            f"{text!r} is no e-mail address; write it like ana@example.com, as in the reviewer's Label Studio account"
        )
    return text.lower()


def _branch(text: str) -> str:
    if not _BRANCH.fullmatch(text):
        raise ValueError(f"{text!r} is no name that git allows for a branch; write it like `reviews`")
    return text


def web_address(text: str) -> str:
    """A server's address without a slash at its end. Raises ValueError, never repeating what may be a password."""
    try:
        parts = urlsplit(text)
        named = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        named, parts = False, urlsplit("")
    if parts.scheme not in ("http", "https") or not named or any(char.isspace() for char in text):
        raise ValueError("must be an address like http://127.0.0.1:8080 or https://labels.example.com")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must hold no user name or password; the token comes from HITL_LABEL_STUDIO_TOKEN")
    if parts.query or parts.fragment:
        raise ValueError("must end before any ? or #; write it like https://labels.example.com")
    return text.rstrip("/")


def recall_address(text: str) -> str:
    """Where recalls are sent. Raises ValueError, never repeating what may be a password."""
    try:
        parts = urlsplit(text)
        named = bool(parts.hostname) and parts.scheme in ("http", "https") and (parts.port is None or parts.port > 0)
    except ValueError:
        named, parts = False, urlsplit("")
    if not named or not text.isprintable() or any(char.isspace() for char in text):
        raise ValueError("must be an address like https://shop.example.com/recalls")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must hold no user name or password; calls are signed with HITL_RECALL_SECRET")
    return text


def git_remote(text: str) -> str:
    """One of the workspace's remotes by name, or an address. Raises ValueError, never repeating what may be a password."""
    if not text or not text.isprintable() or any(char.isspace() for char in text) or text.startswith("-"):
        raise ValueError("must be the name of a remote like `origin`, or an address like git@example.com:team/reviews.git")
    user, separator, _host = text.partition("://")[2].partition("/")[0].rpartition("@")
    if separator and (":" in user or text.startswith("http")):
        raise ValueError("must hold no user name or password, as this file is committed to git; use git's credential helper")
    return text


def store_address(text: str) -> str:
    """The database of `hitl.yaml`, which is committed to git: no password. Raises ValueError, never repeating one."""
    scheme, separator, rest = text.partition("://")
    if scheme == "sqlite" and separator:
        if not rest.startswith("/") or not PurePosixPath(rest[1:]).name or rest[1:].startswith(":memory:"):
            raise ValueError("must name a file: sqlite:///.hitl/bridge.db (three slashes; the path starts at the workspace)")
        return text
    if scheme in ("postgres", "postgresql"):
        raise ValueError("must name the driver: write postgresql+psycopg://… in place of " + scheme + "://…")
    if scheme != "postgresql+psycopg" or not separator:
        raise ValueError("must be sqlite:///.hitl/bridge.db or postgresql+psycopg://user@host/database")
    _user, _, password = rest.rpartition("@")[0].partition(":")
    if password or "password=" in rest:
        raise ValueError("must hold no password, as this file is committed to git; set HITL_STORE_URL with the full address")
    return text


def _max_risk(value: object) -> object:
    """The whole verdict: of a union, pydantic would tell what is wrong with each of its parts."""
    if value is None or value == "budget":
        return value
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"must be a number like 0.02, or `budget` to have it chosen from triage.error_budget, not {value!r}")
    if not 0 <= value <= 1:
        raise ValueError(f"must be between 0 and 1, not {value:g}")
    return value


def _cost(value: object) -> object:
    several = list(value.values()) if isinstance(value, dict) else [value]
    numbers = [each for each in several if isinstance(each, int | float) and not isinstance(each, bool) and 0 < each <= 1e6]
    if not several or len(numbers) < len(several):
        raise ValueError("must be how many ordinary errors such an error costs: a number above 0, or numbers by predicted label")
    return value


def _assignment(value: str) -> str:
    if value not in ASSIGNMENTS:
        raise ValueError(f"must be `pool` (a project a pool and tier) or `reviewer` (one a reviewer), not {value!r}")
    return value


def _weekly(span: timedelta) -> timedelta:
    if span > timedelta(hours=80):
        raise ValueError("may be 80h at most: it is the time that somebody has for reviews in a week")
    return span


def _task(name: str) -> str:
    if name not in TASK_TYPE_NAMES:
        raise ValueError(unknown_word("task type", name, TASK_TYPE_NAMES))
    return name


def unknown_word(kind: str, word: str, known: tuple[str, ...]) -> str:
    """`there is no tier 'quik'; did you mean 'quick'?`"""
    close = get_close_matches(word, known, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]!r}?" if close else f"use one of: {', '.join(known)}" if known else "name none"
    return f"there is no {kind} {word!r}; {hint}"


def _quota(value: object) -> object:
    if value is None or isinstance(value, Quota):
        return value
    if not isinstance(value, str):
        raise ValueError("must be a number of reviews in a time, like 500/day, 60/hour or 2000/week")
    return parse_quota(value)


Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Paragraph = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2_000)]
Expression = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2_000)]
Share = Annotated[float, Field(ge=0, le=1)]
Reviews = Annotated[Quota, BeforeValidator(_quota), PlainSerializer(quota_text)]
TierName = Annotated[str, AfterValidator(_tier_name)]
PoolName = Annotated[str, AfterValidator(_name)]
Email = Annotated[str, AfterValidator(_email)]
AttributeType = Literal["float", "integer", "string", "boolean"]
Label = Annotated[str, AfterValidator(_label)]


class LabelStudio(Section):
    url: Annotated[str, AfterValidator(web_address)] = "http://127.0.0.1:8080"


class Git(Section):
    branch: Annotated[str, AfterValidator(_branch)] = "reviews"
    remote: Annotated[str, AfterValidator(git_remote)] | None = None


def _listen(text: str) -> str:
    host, separator, port = text.rpartition(":")
    if not separator or not host.strip("[]") or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ValueError(f"{text!r} is no address to listen on; write it like 127.0.0.1:8731")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError(f"{text!r} is no address to listen on; an IPv6 address stands in brackets: [::1]:8731")
    return text


def _often(span: timedelta) -> timedelta:
    if span > timedelta(hours=1):
        raise ValueError("may be an hour at most; answers would lie around too long")
    return span


Often = Annotated[Duration, AfterValidator(_often)]


class DaemonSection(Section):
    every: Often = timedelta(seconds=30)
    commit_every: Often = timedelta(seconds=60)
    sweep_every: Duration = timedelta(hours=6)
    listen: Annotated[str, AfterValidator(_listen)] | None = None
    webhook_url: Annotated[str, AfterValidator(web_address)] | None = None


def _inside(text: str) -> str:
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or not path.parts or not text.isprintable():
        raise ValueError(f"{text!r} must be a file in the workspace, like `allowed_signers`")
    return text


class SignOffSection(Section):
    four_eyes: bool = True
    allowed_signers: Annotated[str, AfterValidator(_inside)] = "allowed_signers"


_AFTER = re.compile(r"([1-9]\d{0,6})(?:\s+(corrections|decisions))?", re.ASCII)


def _after(value: object) -> object:
    if isinstance(value, tuple) or value is None:
        return value
    matched = _AFTER.fullmatch(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else None
    if matched is None:
        raise ValueError("must be a number of corrections like 200, or `500 decisions`")
    return int(matched[1]), matched[2] != "decisions"


class RetrainSection(Section):
    after: Annotated[tuple[int, bool] | None, BeforeValidator(_after)] = None
    every: Annotated[Duration | None, Field(alias="or")] = None
    revalidate_every: Duration | None = None


class RuleSection(Section):
    when: Expression
    tier: str
    reason: Text


class TriageSection(Section):
    error_budget: Annotated[float, Field(gt=0, lt=1)] | None = None
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    max_reviews: Reviews | None = None
    random_arm: Annotated[float, Field(ge=0, le=1)] = 0.1
    spread_over: Literal["words", "scores", "both"] = "words"
    of: Literal["all", "approved"] = "all"
    per: Literal["scenario"] | None = None
    costs: dict[str, Annotated[float | dict[str, float], BeforeValidator(_cost)]] = Field(default_factory=dict)
    group_by: str | None = None
    rules: list[RuleSection] = Field(default_factory=list, max_length=100)


class TierSection(Section):
    max_risk: Annotated[float | Literal["budget"] | None, BeforeValidator(_max_risk)] = None
    reviewers: Annotated[int, Field(ge=1, le=MOST_REVIEWERS)] = 1
    sla: Duration = timedelta(hours=24)
    consensus: ConsensusName | None = None
    rationale: Literal["required", "optional"] = "optional"
    checklist: list[Text] = Field(default_factory=list, max_length=20)
    reasons: list[Text] = Field(default_factory=list, max_length=6)
    criteria: Paragraph | None = None
    escalate_after: Duration | None = None
    max_reviewers: Annotated[int, Field(ge=1, le=MOST_REVIEWERS)] | None = None
    min_probability: Annotated[float, Field(gt=0.5, lt=1)] = 0.9
    blind: Annotated[float, Field(ge=0, lt=1)] = 0.0
    around_the_clock: bool = False
    at_risk: Duration | None = None
    ladder: Ladder | None = None


def _lot(span: timedelta) -> timedelta:
    if not timedelta(hours=1) <= span <= timedelta(days=366):
        raise ValueError("must be between 1h and 366d")
    return span


class AuditSection(Section):
    rate: Share = 0.05
    uniform: Share = 0.02
    sla: Duration = timedelta(hours=48)
    lot: Annotated[Duration, AfterValidator(_lot)] = timedelta(days=7)
    lot_budget: Annotated[float, Field(gt=0, lt=1)] | None = None
    recall_webhook: Annotated[str, AfterValidator(recall_address)] | None = None


class PrivacySection(Section):
    purpose: Text | None = None
    consent: str | None = None


class AdjudicationSection(Section):
    sla: Duration = timedelta(hours=24)
    criteria: Paragraph | None = None
    ladder: Ladder | None = None


class GoldSection(Section):
    share: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    onboarding: Annotated[int, Field(ge=0, le=500)] = 0
    passing: Annotated[float, Field(ge=0.5, le=1)] = 0.8


class PoolSection(Section):
    name: PoolName
    when: Expression | None = None
    reviewers: list[Email] = Field(default_factory=list, max_length=500)
    adjudicators: list[Email] = Field(default_factory=list, max_length=500)
    working_hours: HoursSection = HoursSection()


class PersonSection(Section):
    email: Email
    pools: list[PoolName] = Field(default_factory=list, max_length=50)
    weekly: Annotated[Duration, AfterValidator(_weekly)] = WEEKLY
    languages: list[Annotated[str, StringConstraints(min_length=2, max_length=20)]] = Field(default_factory=list, max_length=50)
    adjudicates: bool = False
    approves: bool = False


def _general() -> list[PoolSection]:
    return [PoolSection(name="general")]


class HitlYaml(Section):
    """The whole file."""

    task: Annotated[str, AfterValidator(_task)]
    labels: Annotated[list[Label], Field(min_length=2, max_length=10_000)]
    label_studio: LabelStudio = LabelStudio()
    store: Annotated[str, AfterValidator(store_address)] = "sqlite:///.hitl/bridge.db"
    git: Git = Git()
    daemon: DaemonSection = DaemonSection()
    sign_off: SignOffSection = SignOffSection()
    retrain: RetrainSection = RetrainSection()
    scenarios: list[Text] = Field(default_factory=list, max_length=6)
    attributes: Annotated[
        dict[Annotated[str, AfterValidator(_attribute)], AttributeType], Field(default_factory=dict, max_length=200)
    ]
    triage: TriageSection = TriageSection()
    tiers: Annotated[dict[TierName, TierSection], Field(min_length=1, max_length=10)]
    audit: AuditSection = AuditSection()
    adjudication: AdjudicationSection = AdjudicationSection()
    privacy: PrivacySection = PrivacySection()
    working_hours: HoursSection = HoursSection()
    notices: NoticesSection = NoticesSection()
    gold: GoldSection = GoldSection()
    assignment: Annotated[str, AfterValidator(_assignment)] = "pool"
    roster: Annotated[list[PersonSection], Field(default_factory=list, max_length=2_000)]
    expertise: Annotated[list[PoolSection], Field(default_factory=_general, min_length=1, max_length=50)]
