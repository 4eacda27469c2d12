"""Looks at everything a workspace needs, and says of each thing what was found and what to do about it."""

from __future__ import annotations

import platform
import re
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from hitl_bridge.core.gold import GoldTerms
from hitl_bridge.core.notices import NAME_SOMEBODY, ONLY_WHO_ASKED
from hitl_bridge.core.people import Role, Term
from hitl_bridge.errors import BridgeError, StoreUnavailable
from hitl_bridge.ports import ServiceStatus
from hitl_bridge.services.desk.gold import GoldStock
from hitl_bridge.settings import Settings, key_source, token_file

OLDEST_PYTHON = (3, 11)
_NEVER_IN_GIT = (".hitl", "data/payloads", "data/snapshot")
OLDEST_GIT = (2, 30)
OLDEST_DVC, NEXT_DVC = (3, 60), (4,)


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report. `ok` is None for what could not be looked at, or is worth knowing and no fault."""

    name: str
    ok: bool | None
    found: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Probes:
    """How to look at the outside. Each may raise anything; a BridgeError brings its own remedy.

    Attributes:
        git_version: such as `2.39.5`.
        dvc_version: such as `3.67.1`.
        repository: raises where a dataset version could not be committed now.
        ignores: whether git leaves a path of the workspace out of commits.
        store: opens the store; returns what it is, without a password.
        labeling: asks Label Studio who it is and who we are.
        label_configs: reads each label config, and returns the names of the files.
        channels: what is wrong with the address of each channel that notices go to; None where nothing is.
        gold: how many known items are in the bank, and who waits for them.
        terms: who may review where, and who might once, as it is written down.
        nobody_settles: by pool, how many items wait for an adjudicator whom nobody there may be.
    """

    git_version: Callable[[], str]
    dvc_version: Callable[[], str]
    repository: Callable[[Settings], None]
    ignores: Callable[[str], bool]
    store: Callable[[Settings], str]
    labeling: Callable[[Settings], ServiceStatus]
    label_configs: Callable[[Settings], Sequence[str]]
    channels: Callable[[Settings], Mapping[str, str | None]] = field(default=lambda _: {})
    gold: Callable[[Settings], GoldStock] = field(default=lambda _: GoldStock())
    terms: Callable[[Settings], Sequence[Term]] = field(default=lambda _: ())
    nobody_settles: Callable[[Settings], Mapping[str, int]] = field(default=lambda _: {})


_Look: TypeAlias = "Callable[[Settings, Probes], Iterator[Check]]"


def doctor(root: Path, settings: Settings | BridgeError, probes: Probes) -> list[Check]:
    """Every check, in the order in which trouble is best mended. Never raises.

    `settings` is what loading them gave: the tree, or the error that says what is wrong with them.
    """
    checks = [
        *_looked("Python", _python),
        *_looked("git", lambda: _git(probes)),
        *_looked("DVC", lambda: _dvc(probes)),
        *_settings(settings),
        *_looked("workspace key", lambda: _key(root)),
        *_looked("private files", lambda: _private(root, probes)),
        *_looked("DVC in the workspace", lambda: _dvc_started(root)),
    ]
    for name, look in _OF_SETTINGS:
        checks += _of_settings(name, look, settings, probes)
    return checks


def _looked(name: str, look: Callable[[], Iterator[Check]]) -> list[Check]:
    try:
        return list(look())
    except BridgeError as error:
        return [Check(name, False, error.message, error.remedy)]
    except Exception as error:  # noqa: BLE001 (a doctor who falls ill helps nobody: whatever a probe throws is its finding)
        said = re.sub(r"://[^/@\s]+@", "://***@", str(error))
        return [Check(name, False, f"{type(error).__name__}: {said}", "Mend this, or report it if it makes no sense.")]


def _of_settings(name: str, look: _Look, settings: Settings | BridgeError, probes: Probes) -> list[Check]:
    if isinstance(settings, BridgeError):
        return [Check(name, None, "not looked at: the settings come first")]
    return _looked(name, lambda: look(settings, probes))


# ---------------------------------------------------------------------------------------------- without settings


def _python() -> Iterator[Check]:
    is_new = sys.version_info >= OLDEST_PYTHON
    remedy = "" if is_new else f"Use Python {_dotted(OLDEST_PYTHON)} or newer."
    yield Check("Python", is_new, f"{platform.python_version()} on {platform.system()}", remedy)


def _git(probes: Probes) -> Iterator[Check]:
    version = probes.git_version()
    is_new = _numbers(version) >= OLDEST_GIT
    yield Check("git", is_new, version, "" if is_new else f"Install git {_dotted(OLDEST_GIT)} or newer.")


def _dvc(probes: Probes) -> Iterator[Check]:
    version = probes.dvc_version()
    is_right = OLDEST_DVC <= _numbers(version) < NEXT_DVC
    remedy = "" if is_right else f'pip install "dvc>={_dotted(OLDEST_DVC)},<{_dotted(NEXT_DVC)}"'
    yield Check("DVC", is_right, version, remedy)


def _settings(settings: Settings | BridgeError) -> Iterator[Check]:
    if isinstance(settings, BridgeError):
        yield Check("settings", False, settings.message, settings.remedy)
        return
    tiers = [tier.name for tier in settings.plan.tiers]
    found = f"{settings.task}, {len(settings.labels)} labels, tiers {' < '.join(tiers)} (policy {settings.plan.policy_version})"
    yield Check("settings", True, found)


def _key(root: Path) -> Iterator[Check]:
    yield Check("workspace key", True, f"{key_source(root)}, readable by you alone")


def _private(root: Path, probes: Probes) -> Iterator[Check]:
    state = root / ".hitl"
    name, remedy = "private files", ""
    exposed = [folder for folder in _NEVER_IN_GIT if not probes.ignores(f"{folder}/file")]
    if exposed:
        found = f"git would commit {', '.join(exposed)}"
        remedy = f"Add to .gitignore: {' '.join(f'/{folder}/' for folder in exposed)} (texts of people must stay out of git)."
    elif state.is_dir() and stat.S_IMODE(state.stat().st_mode) & 0o077:
        found, remedy = "others can look into .hitl", f"chmod 700 {state}"
    else:
        found = f"{', '.join(_NEVER_IN_GIT)} stay out of git"
    yield Check(name, not remedy, found, remedy)


def _dvc_started(root: Path) -> Iterator[Check]:
    is_there = (root / ".dvc" / "config").is_file()
    found = "set up" if is_there else f"there is no .dvc/config in {root}"
    yield Check("DVC in the workspace", is_there, found, "" if is_there else "Run `hitl-bridge init --here` there.")


# ------------------------------------------------------------------------------------------------- with settings


def _repository(settings: Settings, probes: Probes) -> Iterator[Check]:
    probes.repository(settings)
    yield Check("repository", True, f"on branch {settings.git_branch}, ready for dataset versions")


def _store(settings: Settings, probes: Probes) -> Iterator[Check]:
    yield Check("store", True, probes.store(settings))


def _label_configs(settings: Settings, probes: Probes) -> Iterator[Check]:
    names = probes.label_configs(settings)
    remedy = "" if names else "Run `hitl-bridge init --here`, which brings those of your task type."
    yield Check("label configs", bool(names), ", ".join(names) or "there are none in label_configs", remedy)


def _labeling(settings: Settings, probes: Probes) -> Iterator[Check]:
    if settings.token is None:
        remedy = "Set HITL_LABEL_STUDIO_TOKEN, or start one to try with: hitl-bridge label-studio start"
        yield Check("Label Studio", None, f"no token for {settings.label_studio_url} (nor {_token_place(settings)})", remedy)
        return
    status = probes.labeling(settings)
    for warning in status.warnings:
        yield Check("Label Studio", None, warning)
    yield Check("Label Studio", True, f"{status.version} at {status.url}, as {status.user}")


def _notices(settings: Settings, probes: Probes) -> Iterator[Check]:
    if not settings.notices.channels:
        return
    for name, why in probes.channels(settings).items():
        remedy = "" if why is None else "Correct its line in .hitl/notices: the channel's name, a space, an address of apprise."
        yield Check(f"channel {name}", why is None, why or "understood; `hitl-bridge notices test` tries it", remedy)


FEW_GOLD = 20
"""Known items left, or fewer, are nearly none: at the usual share a day's work of a small team uses them up."""

_FILL = "Add items with their answers: hitl-bridge gold add FILE (docs/agreement.md)"


def _gold(settings: Settings, probes: Probes) -> Iterator[Check]:
    terms = settings.policy.gold
    try:
        stock = probes.gold(settings)
    except StoreUnavailable:
        yield Check("gold bank", None, "not looked at: the store comes first")
        return
    if terms == GoldTerms() and not stock.in_bank:
        return  # `share` has a default: who says nothing and keeps no bank has asked for none
    is_low = bool(terms.share) and stock.left <= FEW_GOLD
    remedy = f"{_FILL}, or set gold: {{share: 0}}." if is_low else ""
    yield Check(
        "gold bank", None if is_low else True, f"{stock.left:,} of {stock.in_bank:,} known items are left to mix in", remedy
    )
    for pool, people in stock.waiting.items():
        found = (
            f"{people} newcomer(s) of pool {pool} wait: the bank has no further item for them, and what they say does not count"
        )
        yield Check("newcomers", None, found, f"{_FILL} that go to this pool, or set gold: {{onboarding: 0}}.")


def _pools(settings: Settings, probes: Probes) -> Iterator[Check]:
    """A pool that never named anybody is open to all by intention; one that names nobody any more hardly is."""
    empty = [pool.name for pool in settings.policy.pools.values() if not pool.reviewers]
    try:
        seats = {term.seat for term in probes.terms(settings)}
    except StoreUnavailable:
        yield Check("pools", None, "not looked at: the store comes first")
        return
    once = Counter(seat.pool for seat in seats if seat.role is Role.REVIEWER and seat.pool in empty)
    for pool, people in sorted(once.items()):
        found = f"pool {pool} has lost its last reviewer ({people} once): everybody's answers count there now"
        yield Check(
            "pools", None, found, f"Name who reviews there (roster, or its reviewers in expertise), or take pool {pool} out."
        )


def _adjudicators(settings: Settings, probes: Probes) -> Iterator[Check]:
    try:
        waiting = probes.nobody_settles(settings)
    except StoreUnavailable:
        yield Check("adjudicators", None, "not looked at: the store comes first")
        return
    for pool, items in sorted(waiting.items()):
        found = f"{items:,} item(s) of pool {pool} wait for an adjudicator, and nobody may be it: {ONLY_WHO_ASKED}"
        yield Check("adjudicators", False, found, NAME_SOMEBODY)


_OF_SETTINGS: tuple[tuple[str, _Look], ...] = (
    ("repository", _repository),
    ("store", _store),
    ("label configs", _label_configs),
    ("Label Studio", _labeling),
    ("notices", _notices),
    ("gold bank", _gold),
    ("pools", _pools),
    ("adjudicators", _adjudicators),
)


def _token_place(settings: Settings) -> str:
    return f"in {token_file(settings.root).relative_to(settings.root)}"


def _numbers(version: str) -> tuple[int, ...]:
    """`2.39.5 (Apple Git-154)` → (2, 39, 5)."""
    matched = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in matched[0].split(".")) if matched else ()


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(str(number) for number in numbers)
