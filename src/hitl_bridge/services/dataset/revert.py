"""Decisions that turned out to be worth nothing are taken back: a new version without them, and the old ones stay as they are."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from hitl_bridge.core import draws
from hitl_bridge.core.dataset.change import TAG, version_order
from hitl_bridge.core.dataset.reverting import Recorded, TakenBack, take_back
from hitl_bridge.core.deadlines import WorkingHours, shift, worked
from hitl_bridge.core.model import JSON, Item, ItemId, ItemState
from hitl_bridge.errors import UnknownName, UsageError
from hitl_bridge.ports import Clock, Revert, RevertChoice, Reverts, StateStore
from hitl_bridge.services.dataset.commit import CommitResult

_DECISION = re.compile(r"(?P<item>.+)#(?P<revision>\d+)\.(?P<seq>\d+)", re.DOTALL)
_PSEUDONYM = re.compile(r"r_[0-9a-f]{12}")
_LATER = (ItemState.DECIDED, ItemState.COMMITTED)
_NONE = timedelta(0)


@dataclass(frozen=True, slots=True)
class RevertWish:
    """What to take back; where several are named, what all of them choose.

    Args:
        decisions: ids of decisions (`t-17#1.0`), or of items, which stand for all their decisions.
        reviewer: an address, or the pseudonym that datasets show; every decision that they had a part in.
        since: a time in ISO 8601, or a version: what was decided from then on, or what is in later versions and in none yet.
        version: what came with that version.
        ask_again: the items go to people in a new round.
    """

    reason: str
    by: str = ""
    decisions: tuple[str, ...] = ()
    reviewer: str | None = None
    since: str | None = None
    version: str | None = None
    ask_again: bool = False


@dataclass(frozen=True, slots=True)
class RevertedItem:
    """`decision_id` is what held and holds no more; `now` what holds instead, None where nothing does."""

    item_id: str
    decision_id: str
    now: str | None


@dataclass(frozen=True, slots=True)
class RevertResult:
    """`removed` items have no decision any more, `reinstated` ones the one that held before; `answers` count no more; items
    `asked_again` are queued. `version`, `tag` and `git_commit` are those of the new version, None where there is none."""

    removed: int
    reinstated: int
    answers: int
    asked_again: int
    items: tuple[RevertedItem, ...] = ()
    version: str | None = None
    tag: str | None = None
    git_commit: str | None = None


@dataclass(frozen=True, slots=True)
class RevertPorts:
    """`hours` says by which hours deadlines are counted, by pool and tier."""

    reverts: Reverts
    store: StateStore
    clock: Clock
    key: bytes
    hours: Callable[[str, str], WorkingHours | None] = lambda pool, tier: None


def revert(ports: RevertPorts, wish: RevertWish, *, dry_run: bool = False) -> RevertResult:
    """Takes back what was wished; the caller commits. With `dry_run` says what would be.

    Answers behind what was taken back count no more; of a reviewer who is named alone, none that they gave so far. Raises
    UsageError and UnknownName.
    """
    _check(wish)
    now = ports.clock.now()
    choice, reviewer = _choice(ports, wish)
    theirs = None if reviewer is None else ports.reverts.answers_by(reviewer)
    taken, again = _undone(ports, wish, choice, now)
    if theirs is not None:  # what others answered still counts where an item is asked again
        taken = [replace(each, answers=each.answers & theirs) for each in taken]
    alone = reviewer is not None and not (wish.decisions or wish.since or wish.version)
    answers = len(theirs) if alone and theirs is not None else len({key for each in taken for key in each.answers})
    if not dry_run and (taken or alone):
        answers = ports.reverts.record(_revert(ports, wish, reviewer if alone else None, now), taken, again)
    return _result(taken, answers, again)


def _undone(ports: RevertPorts, wish: RevertWish, choice: RevertChoice, now: datetime) -> tuple[list[TakenBack], list[Item]]:
    """What happens to each item, and those that are asked again, in their next round. Raises UnknownName."""
    taken: list[TakenBack] = []
    again: list[Item] = []
    unseen = set(wish.decisions)
    chosen = _chooses(wish, choice)
    for item, history in ports.reverts.histories(choice):
        unseen -= {item.item_id, *(each.decision.decision_id for each in history)}
        found = take_back(history, chosen, now)
        if found is not None:
            taken.append(found)
            hours = ports.hours(item.route.pool, item.route.tier)
            again += [_next_round(item, now, hours)] if wish.ask_again and item.state in _LATER else []
    for name in sorted(unseen):
        raise UnknownName("decision", name, remedy="`hitl-bridge trace ITEM` lists those of an item.")
    return taken, again


def with_version(result: RevertResult, committed: CommitResult) -> RevertResult:
    """The result, with the version that has it."""
    return replace(result, version=committed.version, tag=committed.tag, git_commit=committed.git_commit)


def _check(wish: RevertWish) -> None:
    if not (wish.decisions or wish.reviewer or wish.since or wish.version):
        raise UsageError("Nothing says what to take back.", remedy="Name it with --decision, --reviewer, --since or --version.")
    if not wish.reason.strip() or not (wish.reason + wish.by).isprintable():
        raise UsageError(
            "A revert needs a reason, in one line: it stands in the audit log and beside each decision that is gone.",
            remedy='Give it with --reason "…", naming nobody.',
        )


def _choice(ports: RevertPorts, wish: RevertWish) -> tuple[RevertChoice, str | None]:
    """Where to look, and the address of the reviewer who is named."""
    reviewer = None if wish.reviewer is None else _address(ports, wish.reviewer)
    since = None if wish.since is None else _time(wish.since)
    versions: Sequence[str | None] = ()
    if wish.version is not None:
        versions = (_known(ports, wish.version),)
    elif wish.since is not None and since is None:
        after = version_order(_known(ports, wish.since))
        later = [each.version for each in ports.store.dataset_versions() if version_order(each.version) > after]
        versions = (*later, None)
    items = tuple(dict.fromkeys(ItemId(name) for named in wish.decisions for name in (_item(named), named)))
    return RevertChoice(items, reviewer, since, versions), reviewer


def _chooses(wish: RevertWish, choice: RevertChoice) -> Callable[[Recorded], bool]:
    def chosen(each: Recorded) -> bool:
        decision = each.decision
        return (
            (not wish.decisions or decision.decision_id in wish.decisions or decision.item_id in wish.decisions)
            and (choice.reviewer is None or choice.reviewer in decision.reviewers)
            and (choice.since is None or decision.decided_at >= choice.since)
            and (not choice.versions or each.version in choice.versions)
        )

    return chosen


def _address(ports: RevertPorts, named: str) -> str:
    known = ports.reverts.answering()
    if _PSEUDONYM.fullmatch(named):
        found = [person for person in known if draws.pseudonym(ports.key, person) == named]
    else:
        found = [person for person in known if person.strip().lower() == named.strip().lower()]
    if not found:
        # Not the address itself: what is said here may end in a log.
        name = named if _PSEUDONYM.fullmatch(named) else draws.pseudonym(ports.key, named)
        raise UnknownName("reviewer", name, remedy="Give the address of their Label Studio account, or their pseudonym (r_…).")
    return found[0]


def _time(text: str) -> datetime | None:
    """None for what is no time."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    if at.tzinfo is None:
        raise UsageError(f"{text} has no time zone.", remedy="Write it like 2026-11-22T00:00Z or 2026-11-22T09:30+01:00.")
    return at


def _known(ports: RevertPorts, named: str) -> str:
    version = f"v{named.removeprefix(TAG).removeprefix('v')}"
    known = [each.version for each in ports.store.dataset_versions()]
    if version not in known:
        raise UnknownName("dataset version", named, remedy=f"Versions here: {', '.join(known) or 'none yet'}.")
    return version


def _item(named: str) -> str:
    """Of a decision's id the item; else it is an item's."""
    match = _DECISION.fullmatch(named)
    return named if match is None else match["item"]


def _next_round(item: Item, now: datetime, hours: WorkingHours | None) -> Item:
    """The same question once more, with as much time as it had."""
    had = max(_NONE, worked(item.received_at, item.route.due_at, hours))
    route = replace(item.route, due_at=shift(now, had, hours))
    return replace(item, state=ItemState.QUEUED, round=item.round + 1, route=route)


def _revert(ports: RevertPorts, wish: RevertWish, answers_of: str | None, now: datetime) -> Revert:
    reviewer = None if wish.reviewer is None else draws.pseudonym(ports.key, _address(ports, wish.reviewer))
    scope: dict[str, JSON] = {"decisions": list(wish.decisions), "since": wish.since, "version": wish.version}
    scope["reviewer"] = reviewer
    said = {name: value for name, value in scope.items() if value}
    name = draws.digest(ports.key, "revert", now.isoformat(), wish.by, wish.reason, str(sorted(said.items())))[:16]
    return Revert(name, wish.by, wish.reason.strip(), said, now, answers_of)


def _result(taken: Sequence[TakenBack], answers: int, again: Sequence[Item]) -> RevertResult:
    reinstated = sum(each.reinstates for each in taken)
    return RevertResult(
        removed=len(taken) - reinstated,
        reinstated=reinstated,
        answers=answers,
        asked_again=len(again),
        items=tuple(
            RevertedItem(
                each.decision.item_id,
                each.undone[0].decision_id,
                each.decision.decision_id if each.reinstates else None,
            )
            for each in taken
        ),
    )
