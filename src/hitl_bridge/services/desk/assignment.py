"""Who of the pool gets which queued item, where each reviewer has projects of their own (`assignment: reviewer`).

Nothing is written here: what was promised to somebody is a task in the store, and stays theirs. So asking again after a crash
deals out only what nobody has yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import floor

from hitl_bridge.core import draws
from hitl_bridge.core.assignment import Assignment, Unplaced, Work, Worker, assign
from hitl_bridge.core.deadlines import WorkingHours, a_week, shift
from hitl_bridge.core.model import ADJUDICATION, Annotation, Item, ItemId, TaskState
from hitl_bridge.core.people import WEEKLY, Person
from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.core.review.handed_on import Aside, aside
from hitl_bridge.core.routing import MOST_REVIEWERS
from hitl_bridge.core.skills import Cell, Record, Skills, learn
from hitl_bridge.core.sync import Hands, push_key
from hitl_bridge.ports import Clock, PeopleStore, StateStore

EXPLORED = 0.1
"""Of the items this share goes to whoever chance picks: or nobody would be seen outside what they are known for."""

ANSWERS_LEARNED = 50_000
"""The newest checked answers, from which skills are learned."""

SECONDS = 90.0
"""An answer takes as long where nothing is known of the person."""

_LONGEST = 10.0
"""Weeks: what takes longer is as late as can be."""

_TAKEN = (TaskState.INTENDED, TaskState.UNKNOWN, TaskState.LIVE)


@dataclass(frozen=True, slots=True)
class HandingOut:
    """What handing out needs: the store's tasks and people, the clock, the workspace's key, and which items have a known
    answer."""

    store: StateStore
    people: PeopleStore
    clock: Clock
    key: bytes
    gold: Callable[[], Collection[ItemId]] = frozenset


@dataclass(frozen=True, slots=True)
class Handed:
    """The seats that are due and who sits on each; and the items that nobody can take, which stay queued."""

    hands: Hands = field(default_factory=dict)
    unplaced: tuple[Unplaced, ...] = ()


@dataclass(frozen=True, slots=True)
class _Round:
    """An item's present round: seats that somebody has, in `theirs` those that are not in the labeling service yet; who has
    answered the item before, in this tier (`alike`) or elsewhere; and who leaves it to others."""

    item: Item
    seats: int
    taken: Mapping[int, str]
    theirs: Mapping[int, str]
    alike: frozenset[str] = frozenset()
    elsewhere: frozenset[str] = frozenset()
    aside: Aside = field(default_factory=Aside)


def hand_out(ports: HandingOut, policy: ReviewPolicy, items: Sequence[Item]) -> Handed:
    """Deals `items` out among the people of their pools: by skill, room and deadline, a tenth by chance."""
    rounds = _rounds(ports, policy, items)
    workers = _workers(ports, policy)
    known, gold = skills(ports.people, policy), ports.gold()
    waiting = [each for each in rounds if len(each.taken) < each.seats]
    found = assign(
        [_where_it_tells(_work(each, policy, ports.key), each.item, known, gold) for each in waiting], workers, known.chance
    )
    lacking = {each.key for each in found.unplaced}
    hands = {_identity(each.item): tuple(sorted(each.theirs.items())) for each in rounds}
    for each in waiting:
        if _name(each.item) in lacking:
            del hands[_identity(each.item)]
        else:
            hands[_identity(each.item)] = tuple(sorted({**each.theirs, **_seated(each, found)}.items()))
    return Handed(hands, tuple(_by_item(each) for each in found.unplaced))


def _seated(each: _Round, found: Assignment) -> dict[int, str]:
    free = [seat for seat in range(each.seats) if seat not in each.taken]
    return dict(zip(free, found.people[_name(each.item)], strict=True))


def _work(each: _Round, policy: ReviewPolicy, key: bytes) -> Work:
    item = each.item
    there = policy.people(item.route.pool, item.route.tier)
    may = frozenset(person for person in there if _reads(person, item, policy.roster)) - frozenset(each.taken.values())
    lacking = each.seats - len(each.taken)
    may -= each.aside.left_out(may, lacking)
    # Who has judged a dispute's item does not settle it; who is asked to correct something is who said it.
    fresh = may - (each.elsewhere | each.alike if item.route.tier == ADJUDICATION else each.alike)
    same = may & each.alike
    chosen = same if item.route.note and len(same) >= lacking else fresh if len(fresh) >= lacking else may
    surprise, hours = _surprise(item, chosen, key), policy.hours(item.route.pool, item.route.tier)
    return Work(_name(item), item.prediction.scenario, lacking, item.route.due_at, chosen, surprise, hours)


def _where_it_tells(work: Work, item: Item, known: Skills, gold: Collection[ItemId]) -> Work:
    """An item with a known answer goes to those of whom it tells most: who may be good at it, and it is not sure yet."""
    if item.item_id not in gold:
        return work
    return replace(work, surprise={person: known.of(person, work.scenario).promise for person in work.may})


def _surprise(item: Item, people: frozenset[str], key: bytes) -> Mapping[str, float] | None:
    name = _name(item)
    if draws.draw(key, "reviewer exploration", "", name) >= EXPLORED:
        return None
    return {person: draws.draw(key, "reviewer exploration", person, name) for person in people}


def _reads(person: str, item: Item, roster: Sequence[Person]) -> bool:
    language = item.prediction.attributes.get("language")
    languages = next((each.languages for each in roster if each.email == person), ())
    return not languages or not isinstance(language, str) or language in languages


def _seats(item: Item, policy: ReviewPolicy) -> int:
    """As many places as the round would have in a project of the whole pool: where one more opinion is asked for, the answers
    of earlier rounds count, too."""
    return min(item.route.reviewers, policy.tier(item.route.tier).reviewers)


def _rounds(ports: HandingOut, policy: ReviewPolicy, items: Sequence[Item]) -> list[_Round]:
    """Each item with what its tasks of this and earlier rounds tell."""
    keys = {
        push_key(ports.key, replace(item, round=number), seat): (place, number, seat)
        for place, item in enumerate(items)
        for number in range(1, item.round + 1)
        for seat in range(_seats(item, policy) if number == item.round else MOST_REVIEWERS)
    }
    tasks = ports.store.tasks_by_key(list(keys))
    earlier = [key for key in tasks if keys[key][1] < items[keys[key][0]].round]
    answered: dict[int, dict[str, list[Annotation]]] = {}
    for annotation in ports.store.annotations_of(earlier) if earlier else ():
        place, tier = keys[annotation.push_key][0], tasks[annotation.push_key].project_key.tier
        answered.setdefault(place, {}).setdefault(tier, []).append(annotation)
    rounds = []
    for place, item in enumerate(items):
        seats = {seat: tasks.get(push_key(ports.key, item, seat)) for seat in range(_seats(item, policy))}
        taken = {seat: task for seat, task in seats.items() if task is not None and task.state in _TAKEN}
        alike = answered.get(place, {}).pop(item.route.tier, [])
        elsewhere = [each for some in answered.get(place, {}).values() for each in some]
        rounds.append(
            _Round(
                item,
                _seats(item, policy),
                {seat: task.project_key.reviewer for seat, task in taken.items()},
                {seat: task.project_key.reviewer for seat, task in taken.items() if task.state is not TaskState.LIVE},
                frozenset(each.reviewer for each in alike),
                frozenset(each.reviewer for each in elsewhere),
                aside(item, None, elsewhere),
            )
        )
    return rounds


def _workers(ports: HandingOut, policy: ReviewPolicy) -> list[Worker]:
    """Everybody of the pools, with the room that their weekly hours leave and when their next answer would be there."""
    emails = sorted({email for pool in policy.pools.values() for email in (*pool.reviewers, *pool.adjudicators)})
    weekly = {person.email: person.weekly for person in policy.roster}
    open_work, paces, now = ports.people.open_work(), ports.people.seconds_an_answer(), ports.clock.now()
    return [
        _worker(policy, email, weekly.get(email, WEEKLY), open_work.get(email, 0), paces.get(email, SECONDS), now)
        for email in emails
    ]


def _worker(policy: ReviewPolicy, email: str, weekly: timedelta, waiting: int, seconds: float, now: datetime) -> Worker:
    if not weekly:
        return Worker(email, 0, now, 0.0)
    each = timedelta(seconds=max(1.0, seconds))
    theirs = [pool.hours for pool in policy.pools.values() if email in (*pool.reviewers, *pool.adjudicators)]
    ready = min(ready_by(now, (waiting + 1) * each / weekly, hours) for hours in dict.fromkeys(theirs))
    return Worker(email, max(0, floor(weekly / each) - waiting), ready, weekly / timedelta(hours=1))


def ready_by(now: datetime, weeks: float, hours: WorkingHours | None) -> datetime:
    """When so many weeks' work is done by whoever spreads it evenly over their working hours."""
    return shift(now, min(_LONGEST, weeks) * a_week(hours), hours)


def skills(people: PeopleStore, policy: ReviewPolicy) -> Skills:
    """From answers that can be held against a decision which does not rest on them alone."""
    right, of = Counter[Cell](), Counter[Cell]()
    for each in people.checked_answers(ANSWERS_LEARNED):
        cell = (each.email, each.scenario)
        of[cell] += 1
        right[cell] += policy.kind.same(each.said, each.decided)
    return learn({cell: Record(right[cell], of[cell]) for cell in of})


def _identity(item: Item) -> tuple[ItemId, int]:
    return item.item_id, item.revision


def _name(item: Item) -> str:
    return f"{item.item_id}#{item.revision}"


def _by_item(unplaced: Unplaced) -> Unplaced:
    return replace(unplaced, key=unplaced.key.rpartition("#")[0])
