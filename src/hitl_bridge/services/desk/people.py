"""The roster: who has an account, who is missing, who has left, and whose answers don't decide."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from hitl_bridge.core.gold import is_training
from hitl_bridge.core.lifecycle import OPEN
from hitl_bridge.core.model import ItemId, ItemState, TaskState
from hitl_bridge.core.people import Role, RosterChange, Seat, Term, decided_until, roster_change, seats
from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.ports import Accounts, AnswerThere, Clock, NewAccount, PeopleStore, Settlement, StateStore

REVIEWER_LEFT = "its reviewer has left the roster; asked again"
LESSON_ENDED = "nobody has to learn by it any more"
_THERE = (TaskState.INTENDED, TaskState.UNKNOWN, TaskState.LIVE)

KeepPassword = Callable[[NewAccount], None]
"""Puts a new account's password where its owner can be given it, and nobody else reads it."""


Learn = Callable[[Sequence[tuple[str, str]]], object]
"""What is done with reviewers, by pool and e-mail, who are new in it, before it is written down that they are there."""


@dataclass(frozen=True, slots=True)
class Outside:
    """Somebody whose answers are kept and do not decide: they are not of that pool."""

    email: str
    pool: str
    items: int


@dataclass(frozen=True, slots=True)
class ReviewersResult:
    """What `reviewers sync` found: people of the roster who `have` an account, those `missing` (with the `invitation` to send
    them) and those for whom one was `made`. Rights to decide that `joined` and that `left` since the last time. `outside` are
    people who have answered where they may not decide; `unlisted` have an account and are in no pool."""

    have: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    made: tuple[str, ...] = ()
    invitation: str = ""
    joined: tuple[Seat, ...] = ()
    left: tuple[Seat, ...] = ()
    outside: tuple[Outside, ...] = ()
    unlisted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PeoplePorts:
    """`ours` is the e-mail of the bridge's own account, which reviews nothing."""

    store: PeopleStore
    accounts: Accounts
    clock: Clock
    keep_password: KeepPassword
    ours: str = ""
    learn: Learn | None = None


def keep_roster(store: PeopleStore, policy: ReviewPolicy, clock: Clock, learn: Learn | None = None) -> RosterChange:
    """Writes down who has joined and who has left since the last time. What somebody said while they might decide goes on
    counting; what they say from now on does not. Reviewers who never were in the pool `learn` first."""
    terms = store.terms()
    change = roster_change(seats(policy.pools.values()), terms)
    if learn is not None:
        learn(newcomers(change, terms))
    if change != RosterChange():
        store.record(change, clock.now())
    return change


def newcomers(change: RosterChange, terms: Sequence[Term]) -> list[tuple[str, str]]:
    """Reviewers who have joined and never were there before, as adjudicators either, by pool and e-mail."""
    before = {(term.seat.pool, term.seat.email) for term in terms}
    joined = [(seat.pool, seat.email) for seat in change.joined if seat.role is Role.REVIEWER]
    return [each for each in joined if each not in before]


def release(store: StateStore, left: Collection[Seat], clock: Clock) -> int:
    """Asks again what waits in the projects of people who have `left`; returns how many tasks were closed. What they answered
    in time stays. What they were to learn by nobody is asked any more."""
    gone = {(seat.pool, seat.email) for seat in left}
    if gone:
        end_lessons(store, gone, clock)
    waiting = {(item.item_id, item.revision, item.round) for item in store.items_in(*OPEN)} if gone else set()
    theirs = [
        task.push_key
        for task in (store.tasks_in(*_THERE) if gone else ())
        if (task.project_key.team, task.project_key.reviewer) in gone and (task.item_id, task.revision, task.round) in waiting
    ]
    answered = {each.push_key for each in store.standing_annotations(theirs)} if theirs else set()
    unanswered = [key for key in theirs if key not in answered]
    return store.close_gone(unanswered, REVIEWER_LEFT, clock.now()) if unanswered else 0


def end_lessons(store: StateStore, people: Collection[tuple[str, str]], clock: Clock) -> int:
    """Withdraws what these people, by pool and e-mail, were still to learn by; returns how many items."""
    pools = {"/".join(each) for each in people}
    theirs = [item for item in store.items_in(*OPEN) if is_training(item) and item.route.pool in pools]
    ended = [Settlement(item.item_id, item.revision, ItemState.WITHDRAWN, event=LESSON_ENDED) for item in theirs]
    if ended:
        store.record_settlements(ended, clock.now())
        items = {item.item_id for item in theirs}
        store.close_gone([task.push_key for task in store.tasks_in(*_THERE) if task.item_id in items], LESSON_ENDED, clock.now())
    return len(ended)


def sync_reviewers(ports: PeoplePorts, policy: ReviewPolicy, *, make: bool = False, dry_run: bool = False) -> ReviewersResult:
    """Compares the roster with the labeling service's accounts, and makes those that are missing if `make`."""
    there = {account.email for account in ports.accounts.listed()}
    wanted = sorted({seat.email for seat in seats(policy.pools.values())} | {person.email for person in policy.roster})
    missing = [email for email in wanted if email not in there]
    change = roster_change(seats(policy.pools.values()), ports.store.terms())
    made: tuple[str, ...] = ()
    if not dry_run:
        change = keep_roster(ports.store, policy, ports.clock, ports.learn)
        made = _made(ports, missing) if make else ()
    left_over = tuple(email for email in missing if email not in made)
    return ReviewersResult(
        have=tuple(email for email in wanted if email in there),
        missing=left_over,
        made=made,
        invitation=ports.accounts.invitation() if left_over else "",
        joined=change.joined,
        left=change.left,
        outside=_outside(ports.store, policy),
        unlisted=tuple(sorted(there - set(wanted) - {ports.ours})),
    )


def _made(ports: PeoplePorts, missing: Sequence[str]) -> tuple[str, ...]:
    for email in missing:
        ports.keep_password(ports.accounts.make(email))
    return tuple(missing)


def _outside(store: PeopleStore, policy: ReviewPolicy) -> tuple[Outside, ...]:
    """What somebody said while they might decide was no mistake, if they have left since."""
    until = decided_until(store.terms())
    people = {pool.name: {*pool.reviewers, *pool.adjudicators} for pool in policy.pools.values() if pool.reviewers}
    items: dict[tuple[str, str], set[ItemId]] = {}
    for each in store.answers_of_others(people):
        if not _in_time(each, until):
            items.setdefault((each.pool, each.email), set()).add(each.item_id)
    return tuple(Outside(email, pool, len(those)) for (pool, email), those in sorted(items.items()))


def _in_time(answer: AnswerThere, until: Mapping[tuple[str, str], datetime | None]) -> bool:
    who = answer.pool, answer.email
    last = until.get(who)
    return who in until and (last is None or datetime.fromisoformat(answer.at) <= last)
