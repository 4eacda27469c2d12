"""Who gets which item: as many right answers as the load allows, nobody over their room, every deadline weighed.

The exact optimum of the transport problem "each item needs k different people, each person has room for so many answers".
Items that are worth the same to everybody are one supply of that many: the program grows with the kinds of items and not with
their number, and its vertices are whole numbers (the matrix of a transport problem is totally unimodular; Hoffman & Kruskal
1956), so a linear program solves it exactly. scipy is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from math import ceil
from typing import TYPE_CHECKING, TypeAlias

from hitl_bridge.core.deadlines import WorkingHours, stretches

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix: TypeAlias = "NDArray[np.float64]"
    Counts: TypeAlias = "NDArray[np.int64]"

Skill: TypeAlias = "Callable[[str, str | None], float]"
"""Person, scenario → the chance that they answer an item of it rightly."""

FAIR = 1.1
"""The most that somebody gets of their fair share, as long as everything finds a place that way."""

NOBODY = "nobody of its pool may answer it"
"""Why an item that needs one answer finds nobody at all."""

_NEARLY = 1e-9
"""By which a whole number may be missed and is one."""

_SCALE, _UNPLACED, _BEYOND = 1e3, 1e5, 1e-3
"""In the program: a chance of a right answer; a missing answer, which costs more than any other is worth; an answer beyond
somebody's share, a millionth of a chance."""


@dataclass(frozen=True, slots=True)
class Work:
    """An item that waits for `answers` answers of different people, of those who `may` give one. `hours` are those that its
    deadline is counted in (None: the clock's).

    `surprise` is a keyed draw a person, where chance decides who gets it and not skill: or nobody would ever be seen outside
    what they are known to be good at.
    """

    key: str
    scenario: str | None
    answers: int
    due_at: datetime
    may: frozenset[str]
    surprise: Mapping[str, float] | None = None
    hours: WorkingHours | None = None


@dataclass(frozen=True, slots=True)
class Worker:
    """Somebody with `room` for so many more answers; the next would be there at `ready_at`. `weight` is their part of the
    work, as in weekly hours."""

    person: str
    room: int
    ready_at: datetime
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Terms:
    """What an hour of lateness (of the item's own hours) costs, in chances of a right answer (never more than `most_lateness`
    together); and how late nobody may be asked to be (None: better late than never)."""

    lateness_cost: float = 0.02
    most_lateness: float = 1.0
    latest: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Unplaced:
    """An item that `missing` answers were found nobody for, and why, in a sentence without names."""

    key: str
    missing: int
    reason: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """Who answers each item, the most urgent items first served; how much it is worth (the sum of the values, for
    comparisons); and what found no place."""

    people: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    value: float = 0.0
    unplaced: tuple[Unplaced, ...] = ()

    def load(self) -> dict[str, int]:
        """Answers by person."""
        found: dict[str, int] = {}
        for people in self.people.values():
            for person in people:
                found[person] = found.get(person, 0) + 1
        return found


def assign(work: Sequence[Work], workers: Sequence[Worker], skill: Skill, terms: Terms = Terms()) -> Assignment:
    """The best assignment of `work`. Nobody gets more than `FAIR` times their share, or, where something would find no place
    that way, not much more, and never more than their room. The same question has the same answer."""
    if not work or not workers:
        reason = "nobody is there to take it"
        return Assignment(unplaced=tuple(Unplaced(each.key, each.answers, reason) for each in work))
    values, shares = _values(work, workers, skill, terms), _shares(work, workers)
    for factor in (FAIR, 1.5 * FAIR, 3 * FAIR):
        limits = [
            _Limit(min(each.room, _up(share)), min(each.room, _up(factor * share))) for each, share in _with(workers, shares)
        ]
        found = _solved(work, workers, limits, values)
        if not found.unplaced:
            return found
    return _solved(
        work, workers, [_Limit(min(each.room, _up(share)), each.room) for each, share in _with(workers, shares)], values
    )


@dataclass(frozen=True, slots=True)
class _Limit:
    """The share of a worker's own, and the most that they get."""

    share: int
    most: int


def _with(workers: Sequence[Worker], shares: Sequence[float]) -> list[tuple[Worker, float]]:
    return list(zip(workers, shares, strict=True))


def _up(share: float) -> int:
    return ceil(share - _NEARLY)


def _shares(work: Sequence[Work], workers: Sequence[Worker]) -> list[float]:
    """Everybody's part, by weight, of the work that they may do at all."""
    asked: dict[frozenset[str], int] = {}
    for each in work:
        asked[each.may] = asked.get(each.may, 0) + each.answers
    together = {may: sum(worker.weight for worker in workers if worker.person in may) or 1.0 for may in asked}
    return [
        sum(answers * worker.weight / together[may] for may, answers in asked.items() if worker.person in may)
        for worker in workers
    ]


def _values(work: Sequence[Work], workers: Sequence[Worker], skill: Skill, terms: Terms) -> Matrix:
    """What each item is worth in each pair of hands; −inf where it may not be. Shape (items, workers)."""
    import numpy as np

    scenarios = {each.scenario for each in work}
    skills = {scenario: np.array([skill(worker.person, scenario) for worker in workers]) for scenario in scenarios}
    lateness = _lateness(work, workers)
    allowed: dict[frozenset[str], NDArray[np.bool_]] = {}
    rows = []
    for each in work:
        if each.may not in allowed:
            allowed[each.may] = np.array([worker.person in each.may for worker in workers])
        late = lateness[each.hours](each.due_at)
        drawn = each.surprise
        worth = skills[each.scenario] if drawn is None else np.array([drawn.get(worker.person, 0.0) for worker in workers])
        row = worth - np.minimum(terms.most_lateness, terms.lateness_cost * late)
        barred = ~allowed[each.may]
        if terms.latest is not None:
            barred = barred | (late > terms.latest.total_seconds() / 3600)
        rows.append(np.where(barred, -np.inf, row))
    return np.array(rows)


def _lateness(
    work: Sequence[Work], workers: Sequence[Worker]
) -> dict[WorkingHours | None, Callable[[datetime], NDArray[np.float64]]]:
    """By the hours that deadlines are counted in: how many of these each worker would be late, begun ones as whole."""
    found = {}
    for hours in dict.fromkeys(each.hours for each in work):
        moments = [each.due_at for each in work if each.hours is hours] + [worker.ready_at for worker in workers]
        found[hours] = _late(_worked_by(min(moments), max(moments), hours), workers)
    return found


def _late(
    worked_by: Callable[[Sequence[datetime]], NDArray[np.float64]], workers: Sequence[Worker]
) -> Callable[[datetime], NDArray[np.float64]]:
    import numpy as np

    ready = worked_by([worker.ready_at for worker in workers])

    @cache
    def late(due_at: datetime) -> NDArray[np.float64]:
        hours: NDArray[np.float64] = np.maximum(0.0, np.ceil((ready - worked_by([due_at])) / 3600 - _NEARLY))
        return hours

    return late


def _worked_by(
    first: datetime, last: datetime, hours: WorkingHours | None
) -> Callable[[Sequence[datetime]], NDArray[np.float64]]:
    """Seconds of `hours` from `first` until each of several moments up to `last`."""
    import numpy as np

    edges, worked = [0.0], [0.0]
    for begins, ends in stretches(first, last, hours) if hours is not None else [(first, last)]:
        edges += [(begins - first).total_seconds(), (ends - first).total_seconds()]
        worked += [worked[-1], worked[-1] + (ends - begins).total_seconds()]
    return lambda moments: np.interp([(each - first).total_seconds() for each in moments], edges, worked)


@dataclass(frozen=True, slots=True)
class _Kinds:
    """Items that are worth the same to everybody, together. `values` (kinds, workers), `size` items of `answers` each."""

    values: Matrix
    size: Counts
    answers: Counts
    members: Sequence[Sequence[int]]


def _kinds(work: Sequence[Work], values: Matrix) -> _Kinds:
    import numpy as np

    table = np.column_stack([values, [each.answers for each in work]])
    rows, kind = np.unique(table, axis=0, return_inverse=True)
    members: list[list[int]] = [[] for _ in rows]
    for place in sorted(range(len(work)), key=lambda place: (work[place].due_at, work[place].key)):
        members[int(kind.reshape(-1)[place])].append(place)
    size = np.array([len(each) for each in members], dtype=np.int64)
    return _Kinds(rows[:, :-1], size, rows[:, -1].astype(np.int64), members)


def _solved(work: Sequence[Work], workers: Sequence[Worker], limits: Sequence[_Limit], values: Matrix) -> Assignment:
    kinds = _kinds(work, values)
    flow = _flow(kinds, limits)
    people: dict[str, tuple[str, ...]] = {}
    unplaced: list[Unplaced] = []
    for kind, members in enumerate(kinds.members):
        reason = ""
        for place, hands in zip(members, _dealt(flow[kind], len(members), int(kinds.answers[kind])), strict=True):
            each = work[place]
            if hands:
                people[each.key] = tuple(workers[worker].person for worker in hands)
            if len(hands) < each.answers:
                reason = reason or _why(kinds, flow, workers, kind)
                unplaced.append(Unplaced(each.key, each.answers - len(hands), reason))
    worth = sum(float(values[place, list(hands)].sum()) for place, hands in _placed(work, workers, people))
    return Assignment(people, worth, tuple(unplaced))


def _placed(work: Sequence[Work], workers: Sequence[Worker], people: Mapping[str, Sequence[str]]) -> list[tuple[int, list[int]]]:
    number = {worker.person: place for place, worker in enumerate(workers)}
    return [(place, [number[one] for one in people[each.key]]) for place, each in enumerate(work) if each.key in people]


def _flow(kinds: _Kinds, limits: Sequence[_Limit]) -> Counts:
    """How many items of each kind go to each worker: whole numbers, shape (kinds, workers)."""
    import numpy as np
    from scipy.optimize import linprog
    from scipy.sparse import coo_matrix, csr_matrix, hstack, identity

    (many, people), possible = kinds.values.shape, np.argwhere(np.isfinite(kinds.values))
    here, there, ones, arcs = possible[:, 0], possible[:, 1], np.ones(len(possible)), np.arange(len(possible))
    # The columns: an arc for each kind and worker; of each kind, what nobody answers, which costs more than the rest is worth; of
    # each worker, what goes beyond their share, which costs next to nothing and so decides between equals.
    supply = hstack([coo_matrix((ones, (here, arcs)), (many, len(arcs))), identity(many), csr_matrix((many, people))])
    load = hstack([coo_matrix((ones, (there, arcs)), (people, len(arcs))), csr_matrix((people, many)), -identity(people)])
    needed = kinds.size * kinds.answers
    shares, most = np.array([each.share for each in limits]), np.array([each.most for each in limits])
    solved = linprog(
        np.concatenate([-_SCALE * kinds.values[here, there], np.full(many, _UNPLACED), np.full(people, _BEYOND)]),
        A_ub=load.tocsr(),
        b_ub=shares,
        A_eq=supply.tocsr(),
        b_eq=needed,
        bounds=np.column_stack([np.zeros(len(arcs) + many + people), np.concatenate([kinds.size[here], needed, most - shares])]),
        method="highs-ds",  # the simplex ends in a vertex, and a vertex is whole
    )
    if solved.status != 0:  # it always has a solution: that nobody gives any answer
        raise ArithmeticError(f"the assignment could not be computed: {solved.message}")
    flow = np.zeros(kinds.values.shape, dtype=np.int64)
    flow[here, there] = np.rint(solved.x[: len(arcs)]).astype(np.int64)
    return flow


def _dealt(counts: Counts, items: int, answers: int) -> list[list[int]]:
    """Hands a kind's items out one by one, each to different workers: always those who have most left to get. That works out
    whenever nobody gets more than one of each (Gale 1957), and gives everybody their part of the urgent ones."""
    left = counts.copy()
    hands = []
    for _ in range(items):
        order = (-left).argsort(kind="stable")[:answers]
        taken = [int(worker) for worker in order if left[worker] > 0]
        left[taken] -= 1
        hands.append(taken)
    return hands


def _why(kinds: _Kinds, flow: Counts, workers: Sequence[Worker], kind: int) -> str:
    """Why that kind's items found no place: from them, along everything that could be moved, nobody with room is reached."""
    import numpy as np

    possible = np.isfinite(kinds.values)
    able, needed = int(possible[kind].sum()), int(kinds.answers[kind])
    if able < needed:
        return f"it needs answers of {needed} different people, and {_people(able)} may give one" if needed > 1 else NOBODY
    kinds_seen, workers_seen = {kind}, set[int]()
    waiting = [kind]
    while waiting:
        one = waiting.pop()
        new = set(np.flatnonzero(possible[one] & (flow[one] < kinds.size[one])).tolist()) - workers_seen
        workers_seen |= new
        others = {int(other) for worker in new for other in np.flatnonzero(flow[:, worker] > 0)} - kinds_seen
        kinds_seen |= others
        waiting += others
    asked = int(sum(kinds.size[one] * kinds.answers[one] for one in kinds_seen))
    room = sum(workers[worker].room for worker in workers_seen)
    return f"{asked} answers are due from {_people(len(workers_seen))} who have room for {room}"


def _people(count: int) -> str:
    return "nobody" if count == 0 else "one person" if count == 1 else f"{count} people"
