"""Candidate against champion on the same items: overall, on the edge cases, and slice by slice.

"No significant difference" is no evidence of no loss: at 150 items it lets a loss of six points pass one time in four.
So each test here has to *show* something, and where there are too few items to show it, its finding is `unclear`.

- Overall: non-inferiority. The lower bound of (candidate − champion) must lie above −margin.
- Edge cases: improvement, by the one-sided exact McNemar test. If it is not shown, the upper bound decides whether that
  was for want of improvement (no gain worth having is left to hope for) or for want of items.
- Slices: none may get worse, because a good average hides a ruined slice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hitl_bridge.core.gating.paired import (
    Flags,
    Pairs,
    agresti_min_bounds,
    count_pairs,
    exact_mcnemar,
    fewest,
    items_needed,
    smallest_visible,
    worse_among,
)
from hitl_bridge.core.gating.policy import GatePolicy
from hitl_bridge.core.gating.report import Finding, GateTest, PairedResults, SliceRow


@dataclass(frozen=True, slots=True)
class Comparison:
    """The tests, and the table of slices."""

    tests: tuple[GateTest, ...]
    slices: tuple[SliceRow, ...] = ()


def compare(results: PairedResults, policy: GatePolicy) -> Comparison:
    """Every test of candidate against champion. With fewer than `min_items` there is one, which says so."""
    candidate, champion = _flags(results.candidate), _flags(results.champion)
    everything = count_pairs(candidate, champion)
    overall = _overall(everything, policy)
    if everything.n < policy.min_items:
        return Comparison((overall,))
    hard = edge_cases(results, policy.edge_share)
    edge = _edge(count_pairs(candidate[hard], champion[hard]), policy)
    tables = [_slices(kind, results, policy) for kind in policy.slices]
    tests = (overall, edge, *(table.tests[0] for table in tables if table.tests))
    return Comparison(tests, tuple(row for table in tables for row in table.slices))


def above_floor(results: PairedResults, policy: GatePolicy) -> GateTest:
    """A first model has nothing to be compared with; it must only know more than the commonest label."""
    pairs = count_pairs(_flags(results.candidate), _flags(results.floor))
    p_value = exact_mcnemar(pairs.wins, pairs.losses)
    visible = fewest(policy.alpha) / max(pairs.n, 1)
    test = replace(_filled("floor", pairs), p_value=p_value, threshold=policy.alpha, smallest_visible=min(1.0, visible))
    floor = f"always answering the commonest label gets {pairs.reference_accuracy:.1%}"
    if pairs.n < policy.min_first_items:
        reason = f"Too few items to tell: the holdout has {pairs.n}, the gate asks for {policy.min_first_items}."
        return replace(test, finding=Finding.UNCLEAR, reason=reason, items_needed=policy.min_first_items)
    if pairs.difference <= 0:
        return replace(test, finding=Finding.FAILED, reason=f"Accuracy is {pairs.candidate_accuracy:.1%}; {floor}.")
    if p_value > policy.alpha:
        needed = items_needed(pairs.discordant, pairs.n, pairs.difference, policy.alpha)
        reason = f"Too few items to tell the candidate from chance: {floor}. About {needed} items would be needed."
        return replace(test, finding=Finding.UNCLEAR, reason=reason, items_needed=needed)
    reason = f"There is no champion: nothing to compare with. Accuracy is {pairs.candidate_accuracy:.1%}; {floor}."
    return replace(test, finding=Finding.PASSED, reason=reason)


def edge_cases(results: PairedResults, share: float) -> Flags:
    """The items that are named, and those that the champion or the candidate doubts most, as many of each.

    Items that one model doubts are where that model errs. To count only the champion's would favour any other model: one
    that is no better errs elsewhere, and looks improved. With both alike, two models of equal worth are exchangeable, and
    the test keeps its level. No label is looked at. Equal confidences are taken together.
    """
    chosen = _flags(results.named).copy()
    for confidence in (results.candidate_confidence, results.champion_confidence):
        chosen |= _doubted(np.asarray(confidence, dtype=np.float64), share, len(chosen))
    return chosen


def _doubted(confidence: npt.NDArray[np.float64], share: float, n: int) -> Flags:
    wanted = math.ceil(share * n) if len(confidence) else 0
    if not wanted:
        return np.zeros(n, dtype=bool)
    doubted: Flags = confidence <= np.partition(confidence, wanted - 1)[wanted - 1]
    return doubted


def _overall(pairs: Pairs, policy: GatePolicy) -> GateTest:
    test = _not_worse("overall", "the whole holdout", pairs, policy.margin, policy.alpha)
    if pairs.n >= policy.min_items:
        return test
    needed = max(policy.min_items, items_needed(pairs.discordant, pairs.n, policy.margin, policy.alpha))
    reason = (
        f"Too few items to tell: the holdout has {pairs.n}, the gate asks for {policy.min_items}. The smallest loss that it "
        f"could have seen is {test.smallest_visible or 1.0:.1%}; about {needed} items could rule out {policy.margin:.1%}."
    )
    return replace(test, finding=Finding.UNCLEAR, reason=reason, items_needed=needed)


def _edge(pairs: Pairs, policy: GatePolicy) -> GateTest:
    if pairs.n < policy.min_edge_items:
        if not policy.require_improvement:
            reason = f"{pairs.n} edge cases are too few to test, and no improvement is demanded."
            return GateTest("edge cases", Finding.NOT_TESTED, reason, pairs.n)
        reason = f"Too few items to tell: there are {pairs.n} edge cases, the gate asks for {policy.min_edge_items}."
        return GateTest("edge cases", Finding.UNCLEAR, reason, pairs.n, items_needed=policy.min_edge_items)
    if not policy.require_improvement or pairs.reference_errors < fewest(policy.alpha):
        # Where the champion hardly errs, no improvement, however real, could be shown.
        return _not_worse("edge cases", "the edge cases", pairs, policy.edge_margin, policy.alpha)
    return _better(pairs, policy)


def _better(pairs: Pairs, policy: GatePolicy) -> GateTest:
    p_value = exact_mcnemar(pairs.wins, pairs.losses)
    _, upper = agresti_min_bounds(pairs.wins, pairs.losses, pairs.n, policy.alpha)
    visible = smallest_visible(pairs.discordant, pairs.n, policy.alpha)
    test = replace(_filled("edge cases", pairs), p_value=p_value, threshold=policy.alpha, smallest_visible=visible)
    figures = f"{pairs.wins} of {pairs.n} edge cases won, {pairs.losses} lost (p = {p_value:.3f})"
    if p_value <= policy.alpha:
        return replace(test, finding=Finding.PASSED, reason=f"Better on the edge cases: {figures}.")
    if upper < policy.edge_gain:
        reason = f"No improvement on the edge cases: {figures}; at best {upper:+.1%}, worth having is +{policy.edge_gain:.1%}."
        return replace(test, finding=Finding.FAILED, reason=reason)
    needed = items_needed(pairs.discordant, pairs.n, policy.edge_gain, policy.alpha)
    reason = (
        f"An improvement on the edge cases can't be told from chance: {figures}. The smallest that could have been seen is "
        f"{visible:+.1%}; about {needed} edge cases would be needed to see +{policy.edge_gain:.1%}."
    )
    return replace(test, finding=Finding.UNCLEAR, reason=reason, items_needed=needed)


def _not_worse(name: str, where: str, pairs: Pairs, margin: float, alpha: float) -> GateTest:
    lower, upper = agresti_min_bounds(pairs.wins, pairs.losses, pairs.n, alpha)
    visible = smallest_visible(pairs.discordant, pairs.n, alpha)
    test = replace(_filled(name, pairs), lower_bound=lower, threshold=-margin, smallest_visible=visible)
    figures = f"{pairs.difference:+.1%} on {where} ({pairs.n} items; at worst {lower:+.1%}, allowed −{margin:.1%})"
    if lower > -margin:
        return replace(test, finding=Finding.PASSED, reason=f"Not worse: {figures}.")
    if upper < 0:
        return replace(test, finding=Finding.FAILED, reason=f"Worse: {figures}.")
    needed = items_needed(pairs.discordant, pairs.n, margin, alpha)
    reason = (
        f"Not shown to be no worse: {figures}. The smallest loss that could have been seen is {visible:.1%}; about {needed} "
        "items would be needed."
    )
    return replace(test, finding=Finding.UNCLEAR, reason=reason, items_needed=needed)


def _slices(kind: str, results: PairedResults, policy: GatePolicy) -> Comparison:
    """One test over all slices of a kind, and a row for each; nothing where there are no slices."""
    counted = dict(_counted(results, kind))
    tested = {name: pairs for name, pairs in counted.items() if pairs.n >= policy.min_slice_items}
    worse = worse_among(list(tested.values()), policy.alpha)
    findings = dict.fromkeys(counted, Finding.NOT_TESTED)
    findings |= {name: Finding.FAILED if lost else Finding.PASSED for name, lost in zip(tested, worse.rejected, strict=True)}
    rows = tuple(_row(kind, name, pairs, findings[name], worse.level) for name, pairs in counted.items())
    return Comparison((_slices_test(kind, rows, worse.level),) if rows else (), rows)


def _counted(results: PairedResults, kind: str) -> Iterator[tuple[str, Pairs]]:
    candidate, champion = _flags(results.candidate), _flags(results.champion)
    places: dict[str, list[int]] = {}
    for place, names in enumerate(results.slices.get(kind, ())):
        for name in (names,) if isinstance(names, str) else names or ():
            places.setdefault(name, []).append(place)
    for name in sorted(places):
        here = np.asarray(places[name])
        yield name, count_pairs(candidate[here], champion[here])


def _row(kind: str, name: str, pairs: Pairs, finding: Finding, level: float) -> SliceRow:
    tested = finding is not Finding.NOT_TESTED
    return SliceRow(
        kind=kind,
        slice=name,
        finding=finding,
        n=pairs.n,
        candidate_accuracy=pairs.candidate_accuracy,
        reference_accuracy=pairs.reference_accuracy,
        wins=pairs.wins,
        losses=pairs.losses,
        p_value=exact_mcnemar(pairs.losses, pairs.wins) if tested else None,
        smallest_visible=min(1.0, fewest(level) / pairs.n) if tested else None,
    )


def _slices_test(kind: str, rows: Sequence[SliceRow], level: float) -> GateTest:
    tested = [row for row in rows if row.p_value is not None]
    worst = min(tested, key=lambda row: (row.p_value, row.slice), default=None)
    test = GateTest(
        kind,
        Finding.NOT_TESTED,
        f"No {kind} has items enough to be tested.",
        n=sum(row.n for row in tested),
        p_value=worst.p_value if worst else None,
        threshold=level if worst else None,
    )
    if worst is None:
        return test
    untested = len(rows) - len(tested)
    besides = f" {untested} more {'has' if untested == 1 else 'have'} too few items to be tested." if untested else ""
    lost = [row for row in rows if row.finding is Finding.FAILED]
    if lost:
        reason = f"Worse in {kind} {'; '.join(map(_told, lost))}.{besides}"
        return replace(test, finding=Finding.FAILED, reason=reason)
    reason = f"No loss seen in any of {len(tested)} slices by {kind}; nearest to one: {_told(worst)}.{besides}"
    return replace(test, finding=Finding.PASSED, reason=reason)


def _told(row: SliceRow) -> str:
    return f"{row.slice!r}: {row.losses} lost, {row.wins} won of {row.n} (p = {row.p_value:.4f})"


def _flags(values: Iterable[bool]) -> Flags:
    return np.asarray(values if isinstance(values, Sequence | np.ndarray) else list(values), dtype=bool)


def _filled(name: str, pairs: Pairs) -> GateTest:
    return GateTest(
        name=name,
        finding=Finding.UNCLEAR,
        reason="",
        n=pairs.n,
        candidate_accuracy=pairs.candidate_accuracy,
        reference_accuracy=pairs.reference_accuracy,
        difference=pairs.difference,
        wins=pairs.wins,
        losses=pairs.losses,
    )
