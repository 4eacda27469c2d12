"""Which pool gets which queued item, where several are able to judge it (`assignment: pool`).

Triage sends an item to the first pool whose condition holds. Where the conditions of others hold, too, all of them may judge it,
and skill, room and deadline decide, as they do among people. What was promised to the labeling service stays where it is.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import floor
from typing import cast

import pyarrow as pa

from hitl_bridge.core.assignment import Work, Worker, assign
from hitl_bridge.core.gold import is_gold, name
from hitl_bridge.core.model import JSON, Item, TaskState
from hitl_bridge.core.people import WEEKLY
from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.core.routing import Pool
from hitl_bridge.core.skills import Skills
from hitl_bridge.core.triage.plan import Rule
from hitl_bridge.ports import Clock, PeopleStore, RowChecker, StateStore, TriageEngine
from hitl_bridge.services.desk.assignment import SECONDS, ready_by, skills
from hitl_bridge.services.intake.online import row_of

_FIRST = 1


@dataclass(frozen=True, slots=True)
class SharingOut:
    """What sharing out needs of the world, and the workspace's key."""

    store: StateStore
    people: PeopleStore
    check: RowChecker
    engine: TriageEngine
    clock: Clock
    key: bytes


def share_out(ports: SharingOut, policy: ReviewPolicy) -> int:
    """Moves queued items to the pool that the optimum gives them to; returns how many."""
    moved = _to_move(ports, policy, ports.store.queued())
    if moved:
        ports.people.reroute(moved, ports.clock.now())
    return len(moved)


def shared_out(ports: SharingOut, policy: ReviewPolicy, queued: Sequence[Item]) -> list[Item]:
    """What is `queued` as it would be after `share_out`; nothing is written."""
    moved = {name(item): pool for item, pool in _to_move(ports, policy, queued)}
    return [replace(item, route=replace(item.route, pool=moved.get(name(item), item.route.pool))) for item in queued]


def _to_move(ports: SharingOut, policy: ReviewPolicy, queued: Sequence[Item]) -> list[tuple[Item, str]]:
    conditional = [pool for pool in policy.pools.values() if pool.when is not None]
    promised = {(task.item_id, task.revision) for task in ports.store.tasks_in(TaskState.INTENDED, TaskState.UNKNOWN)}
    fresh = [each for each in queued if each.round == _FIRST and not is_gold(each)]
    free = [each for each in fresh if (each.item_id, each.revision) not in promised]
    able = _able(ports, policy, conditional, free) if free else {}
    asked = [each for each in free if len(able.get(name(each), ())) > 1]
    return _moved(ports, policy, asked, able) if asked else []


def _moved(
    ports: SharingOut, policy: ReviewPolicy, asked: Sequence[Item], able: Mapping[str, Collection[str]]
) -> list[tuple[Item, str]]:
    known, now = skills(ports.people, policy), ports.clock.now()
    workers = [_worker(policy, pool, ports.people, now) for pool in policy.pools.values()]
    work = [_work(each, policy, able[name(each)]) for each in asked]
    found = assign(work, workers, lambda pool, scenario: _skill(policy, known, pool, scenario)).people
    chosen = [(each, found.get(name(each), (each.route.pool,))[0]) for each in asked]
    return [(item, pool) for item, pool in chosen if pool != item.route.pool]


def _work(item: Item, policy: ReviewPolicy, able: Collection[str]) -> Work:
    route = item.route
    hours = policy.hours(route.pool, route.tier)
    return Work(name(item), item.prediction.scenario, 1, route.due_at, frozenset(able), hours=hours)


def _able(ports: SharingOut, policy: ReviewPolicy, conditional: Sequence[Pool], items: Sequence[Item]) -> dict[str, list[str]]:
    """Of each item the pools whose condition holds: asked as if they were rules, all at once."""
    chunk = ports.check([row_of(item.prediction) for item in items])
    if not chunk.predictions.num_rows:
        return {}
    rules = tuple(Rule(str(pool.when), policy.plan.tiers[-1].name, pool.name) for pool in conditional)
    table = chunk.predictions.append_column("revision", pa.array([_FIRST] * chunk.predictions.num_rows, pa.int32()))
    said = ports.engine.triage(table, replace(policy.plan, rules=rules), ports.key)["rule_values"].to_pylist()
    places = cast("list[int]", chunk.predictions["row"].to_pylist())
    holds = [cast("list[JSON]", json.loads(each)) for each in said]
    return {
        name(items[place - 1]): [pool.name for pool, true in zip(conditional, values, strict=True) if true is True]
        for place, values in zip(places, holds, strict=True)
    }


def _skill(policy: ReviewPolicy, known: Skills, pool: str, scenario: str | None) -> float:
    """How often its people are right in the mean, each by the hours that they have."""
    hours = _hours(policy, pool)
    total = sum(hours.values())
    return sum(known.chance(person, scenario) * each for person, each in hours.items()) / total if total else known.anybody.mean


def _hours(policy: ReviewPolicy, pool: str) -> dict[str, float]:
    """The weekly hours of each of its people, shared among their pools."""
    weekly = {person.email: person.weekly for person in policy.roster}
    people = policy.pools[pool].reviewers
    belongs = {person: sum(person in each.reviewers for each in policy.pools.values()) for person in people}
    return {person: weekly.get(person, WEEKLY) / timedelta(hours=1) / belongs[person] for person in people}


def weekly_hours(policy: ReviewPolicy, pool: str) -> float:
    """What a pool's people have for it, together; a pool that names nobody is one person."""
    hours = _hours(policy, pool)
    return sum(hours.values()) if hours else WEEKLY / timedelta(hours=1)


def _worker(policy: ReviewPolicy, pool: Pool, people: PeopleStore, now: datetime) -> Worker:
    """A pool as one who works as much as all of its people."""
    hours, paces, weekly = _hours(policy, pool.name), people.seconds_an_answer(), weekly_hours(policy, pool.name)
    if not weekly:
        return Worker(pool.name, 0, now, 0.0)
    each = sum(paces.get(person, SECONDS) for person in hours) / len(hours) if hours else SECONDS
    waiting = people.open_in_pools().get(pool.name, 0)
    a_week = floor(weekly * 3600 / max(1.0, each))
    ready = ready_by(now, (waiting + 1) / max(1, a_week), pool.hours)
    return Worker(pool.name, max(0, a_week - waiting), ready, weekly)
