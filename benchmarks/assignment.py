"""Who gets which item: the bridge's assignment beside the exact optimum, greedy and chance, on known and on learned skills.

    python benchmarks/assignment.py [--full]

Simulated reviewers with two strong domains of ten each, as in the reference figures; nobody may get more than 110 % of a fair
share. What is measured is the mean chance that an assigned reviewer answers rightly.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from math import ceil

import numpy as np
import numpy.typing as npt
from report import Report, at_least, at_most, exactly
from scipy.optimize import Bounds, LinearConstraint, linear_sum_assignment, milp
from scipy.sparse import coo_matrix

from hitl_bridge.core.assignment import Assignment, Work, Worker, assign
from hitl_bridge.core.skills import Cell, Record, Skills, learn

DOMAINS, STRONG = 10, 2
"""Domains in all, and those that each reviewer is strong in."""

WEAK_SKILL, STRONG_SKILL = (0.50, 0.85), (0.85, 0.99)
"""Even between these: the mean of all is then that of the reference's reviewers, 0.725."""

GOLD = 10
"""Known items a reviewer and domain from which skills are learned."""

FIRST, AT_ONCE = 4, 3
"""Of those, in each domain before the rest is asked where it tells most; and so many a reviewer at a time."""

EXPLORED = 0.1
DUE = datetime(2026, 11, 23, 18, tzinfo=UTC)
SIZES = ((200, 8, 1), (1000, 20, 1), (1000, 20, 2), (2000, 40, 3), (5000, 50, 1))
LEARNED = {(200, 8, 1): 0.866, (1000, 20, 1): 0.884, (1000, 20, 2): 0.883, (2000, 40, 3): 0.892, (5000, 50, 1): 0.903}
"""The reference's accuracy on learned skills."""

HELD = ((1000, 20, 1), (1000, 20, 2))
"""Sizes of which the reference's figure is an aim."""

Skill = Callable[[str, str | None], float]


@dataclass(frozen=True)
class World:
    """Items of ten domains and reviewers with a skill in each; drawn with `seed`."""

    items: int
    reviewers: int
    answers: int
    seed: int

    @cached_property
    def _rng(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    @cached_property
    def skills(self) -> npt.NDArray[np.float64]:
        """Shape (reviewers, domains)."""
        skills = self._rng.uniform(*WEAK_SKILL, (self.reviewers, DOMAINS))
        for row in skills:
            row[self._rng.choice(DOMAINS, STRONG, replace=False)] = self._rng.uniform(*STRONG_SKILL, STRONG)
        return skills

    @cached_property
    def domains(self) -> npt.NDArray[np.int64]:
        return np.random.default_rng([self.seed, 1]).integers(0, DOMAINS, self.items)

    @cached_property
    def cap(self) -> int:
        return ceil(1.1 * self.items * self.answers / self.reviewers)

    @cached_property
    def values(self) -> npt.NDArray[np.float64]:
        """Shape (items, reviewers)."""
        return self.skills[:, self.domains].T

    @cached_property
    def work(self) -> list[Work]:
        everybody = frozenset(map(str, range(self.reviewers)))
        return [Work(f"i{place:05}", str(domain), self.answers, DUE, everybody) for place, domain in enumerate(self.domains)]

    @cached_property
    def workers(self) -> list[Worker]:
        return [Worker(str(place), self.cap, DUE) for place in range(self.reviewers)]

    def truth(self, person: str, scenario: str | None) -> float:
        return float(self.skills[int(person), int(scenario or 0)])

    def answered_rightly(self, rng: np.random.Generator, person: int, domain: int, times: int) -> int:
        return int(rng.binomial(times, self.skills[person, domain]))

    def accuracy(self, found: Assignment) -> float:
        """The mean chance of a right answer, by the reviewers' true skills."""
        chances = [self.values[int(key[1:]), int(one)] for key, people in found.people.items() for one in people]
        return float(np.mean(chances))

    def is_kept(self, found: Assignment) -> bool:
        """Whether each item has its answers, of different people, and nobody has more than their cap."""
        whole = all(len(set(found.people.get(each.key, ()))) == self.answers for each in self.work)
        return whole and max(found.load().values()) <= self.cap


# ------------------------------------------------------------------------------------------------------ what to compare with


def by_slots(world: World) -> float:
    """The optimum for one answer an item, another way: every place of every reviewer is a column (Jonker & Volgenant)."""
    slots = np.repeat(np.arange(world.reviewers), world.cap)
    rows, columns = linear_sum_assignment(world.values[:, slots], maximize=True)
    return float(world.values[rows, slots[columns]].mean())


def by_integers(world: World) -> float:
    """The optimum another way: a whole number, 0 or 1, for each item and reviewer (branch and bound)."""
    items, people = world.values.shape
    arcs = np.arange(items * people)
    ones = np.ones(len(arcs))
    each = coo_matrix((ones, (arcs // people, arcs)), shape=(items, len(arcs))).tocsr()
    load = coo_matrix((ones, (arcs % people, arcs)), shape=(people, len(arcs))).tocsr()
    found = milp(
        -world.values.ravel(),
        integrality=np.ones(len(arcs)),
        bounds=Bounds(0, 1),
        constraints=[LinearConstraint(each, world.answers, world.answers), LinearConstraint(load, 0, world.cap)],
    )
    return float(-found.fun) / (items * world.answers)


def greedily(world: World) -> float:
    """Item by item, the best reviewers who still have room."""
    room, total = np.full(world.reviewers, world.cap), 0.0
    for row in world.values:
        best = np.argsort(np.where(room > 0, -row, np.inf), kind="stable")[: world.answers]
        room[best] -= 1
        total += float(row[best].sum())
    return total / (world.items * world.answers)


# -------------------------------------------------------------------------------------------------------------- what is learned


def from_gold(world: World, seed: int) -> Skills:
    """Ten known items in each domain."""
    rng = np.random.default_rng([seed, 2])
    return learn({cell: _checked(world, rng, cell, GOLD) for cell in _cells(world)})


def from_gold_where_it_tells(world: World, seed: int) -> Skills:
    """As many known items in all, as many of each domain: four a reviewer and domain, the rest dealt out as the bridge deals out
    gold, a few a reviewer at a time."""
    rng = np.random.default_rng([seed, 3])
    records = {cell: _checked(world, rng, cell, FIRST) for cell in _cells(world)}
    for _ in range((GOLD - FIRST) * DOMAINS // AT_ONCE):
        for person, domain in _dealt(world, learn(records)):
            more, before = _checked(world, rng, (person, domain), 1), records[person, domain]
            records[person, domain] = Record(before.right + more.right, before.of + more.of)
    return learn(records)


def _dealt(world: World, known: Skills) -> list[tuple[str, str]]:
    """Who gets a known item of which domain."""
    people = frozenset(map(str, range(world.reviewers)))
    promises = {str(domain): {person: known.of(person, str(domain)).promise for person in people} for domain in range(DOMAINS)}
    domains = [str(number % DOMAINS) for number in range(AT_ONCE * world.reviewers)]
    work = [Work(f"g{place:04}", domain, 1, DUE, people, promises[domain]) for place, domain in enumerate(domains)]
    found = assign(work, [Worker(person, AT_ONCE, DUE) for person in sorted(people)], known.chance)
    return [(found.people[each.key][0], str(each.scenario)) for each in work]


def _checked(world: World, rng: np.random.Generator, cell: Cell, times: int) -> Record:
    return Record(world.answered_rightly(rng, int(cell[0]), int(cell[1] or 0), times), times)


def _cells(world: World) -> list[Cell]:
    return [(str(person), str(domain)) for person in range(world.reviewers) for domain in range(DOMAINS)]


def explored(world: World, seed: int) -> list[Work]:
    """The work, a tenth of it left to chance."""
    rng = np.random.default_rng([seed, 4])
    drawn = [{str(person): float(draw) for person, draw in enumerate(row)} for row in rng.random((world.items, world.reviewers))]
    chosen = rng.random(world.items) < EXPLORED
    return [
        Work(each.key, each.scenario, each.answers, each.due_at, each.may, surprise if left else None)
        for each, surprise, left in zip(world.work, drawn, chosen, strict=True)
    ]


# ------------------------------------------------------------------------------------------------------------------- the report


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="40 draws of each size in place of 20, and every size in each part")
    full = parser.parse_args(arguments).full
    report = Report("assignment")
    for size in SIZES:
        _tell_known(report, size, range(5 if full else 2))
    for size in SIZES if full else SIZES[:3]:
        _tell_learned(report, size, range(40 if full else 20))
    _tell_infeasible(report)
    return report.finish()


def _tell_known(report: Report, size: tuple[int, int, int], seeds: Sequence[int]) -> None:
    name = "{} × {} × {}".format(*size)
    worlds = [World(*size, seed) for seed in seeds]
    seconds, found = [], []
    for world in worlds:
        started = time.perf_counter()
        found.append(assign(world.work, world.workers, world.truth))
        seconds.append(time.perf_counter() - started)
    ours = [world.accuracy(each) for world, each in zip(worlds, found, strict=True)]
    other = by_slots if size[2] == 1 else by_integers
    gap = max(abs(accuracy - other(world)) for world, accuracy in zip(worlds, ours, strict=True))
    greedy = statistics.fmean(map(greedily, worlds))
    report.add(f"{name}, accuracy", f"{name}, known skills: accuracy", round(statistics.fmean(ours), 4))
    report.add(f"{name}, gap", "· off the optimum computed another way", round(gap, 9), at_most(gap, 1e-9))
    report.add(f"{name}, greedy", "· greedy", round(greedy, 4), at_most(greedy, statistics.fmean(ours)))
    report.add(f"{name}, chance", "· chance", round(statistics.fmean(float(world.values.mean()) for world in worlds), 4))
    kept = all(world.is_kept(each) for world, each in zip(worlds, found, strict=True))
    report.add(
        f"{name}, kept", "· every item has its answers, of different people; nobody is over 110 %", kept, exactly(kept, True)
    )
    report.add(f"{name}, seconds", "· seconds ¹", round(max(seconds), 3), at_most(max(seconds), 1.0))


def _tell_learned(report: Report, size: tuple[int, int, int], seeds: Sequence[int]) -> None:
    name, reference = "{} × {} × {}".format(*size), LEARNED[size]
    accuracies: Mapping[str, list[float]] = {"flat": [], "asked": [], "explored": [], "known": []}
    kept = True
    for seed in seeds:
        world = World(*size, seed)
        asked = from_gold_where_it_tells(world, seed)
        results = {
            "known": assign(world.work, world.workers, world.truth),
            "flat": assign(world.work, world.workers, from_gold(world, seed).chance),
            "asked": assign(world.work, world.workers, asked.chance),
            "explored": assign(explored(world, seed), world.workers, asked.chance),
        }
        kept = kept and all(map(world.is_kept, results.values()))
        for way, found in results.items():
            accuracies[way].append(world.accuracy(found))
    means = {way: round(statistics.fmean(values), 4) for way, values in accuracies.items()}
    report.add(
        f"{name}, flat", f"{name}, skills learned from 10 gold items a domain: accuracy (reference {reference})", means["flat"]
    )
    error = statistics.stdev(accuracies["flat"]) / len(seeds) ** 0.5
    report.add(f"{name}, error", f"· its standard error, {len(seeds)} draws", round(error, 4))
    held = at_least(means["asked"], reference) if size in HELD else None
    report.add(f"{name}, asked", "· as many gold items, dealt out as the bridge does: where they tell most", means["asked"], held)
    report.add(f"{name}, explored", "· the same, a tenth of the items left to chance", means["explored"])
    report.add(f"{name}, known", "· the same draws, skills known", means["known"])
    report.add(f"{name}, learned kept", "· nobody is over 110 % in any of them", kept, exactly(kept, True))


def _tell_infeasible(report: Report) -> None:
    may = frozenset({"ana", "ben"})
    work = [Work(f"i{number}", "legal", 2, DUE, may) for number in range(10)]
    workers = [Worker("ana", 4, DUE), Worker("ben", 20, DUE), Worker("cy", 50, DUE)]
    found = assign(work, workers, lambda _person, _scenario: 0.9)
    reasons = sorted({each.reason for each in found.unplaced})
    named = reasons == ["20 answers are due from one person who have room for 4"]
    report.add("infeasible", "work that finds no place says why", reasons, exactly(named, True))


if __name__ == "__main__":
    sys.exit(main())
