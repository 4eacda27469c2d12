"""May the candidate replace the champion? Paired tests on the same holdout, and a verdict with its reasons.

"No significant difference" is no evidence of no loss: at 150 items it lets a loss of six points pass one time in four.
So each test here has to *show* something, and where there are too few items to show it, the verdict is `unverified`.

- Overall: non-inferiority. The lower confidence bound of (candidate − champion) must lie above −margin. Bound: Wald
  with half a pair added to each cell (Agresti & Min 2005, *Statistics in Medicine* 24:729–740).
- Edge cases: improvement, by the one-sided exact McNemar test (McNemar 1947; exact binomial on the discordant pairs).
- Scenarios: no scenario may get worse, by one-sided exact McNemar with Holm's correction (Holm 1979, *Scand. J.
  Statist.* 6:65–70), because a good average hides a ruined slice.
- The negative flip rate (Yan et al. 2021, CVPR) is reported: right before, wrong now.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from hitl_bridge.core.model import Verdict

POWER = 0.8
"""Probability with which a loss of the size called "smallest visible" would have been seen."""


class Finding(StrEnum):
    """UNCLEAR: there were too few items to tell. NOT_TESTED: nothing to test, and nothing demanded."""

    PASSED = "passed"
    FAILED = "failed"
    UNCLEAR = "unclear"
    NOT_TESTED = "not_tested"


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """What the gate demands; `gate:` in `params.yaml`.

    `margin` and `edge_margin` are the losses of accuracy (as shares) that still count as none. `alpha` is the
    probability with which a test may err. Below `min_items` (or `min_edge_items`, `min_slice_items`) nothing is claimed.
    """

    margin: float = 0.02
    alpha: float = 0.05
    require_improvement: bool = True
    edge_margin: float = 0.05
    max_ece: float | None = None
    min_items: int = 100
    min_edge_items: int = 20
    min_slice_items: int = 10


@dataclass(frozen=True, slots=True)
class PairedResults:
    """Both models on the same holdout: whether each was right, item by item and in parallel.

    `champion` is empty while there is none. `floor` is how always answering the commonest label would have done.
    `leaks` counts holdout items that the candidate has been trained on.
    """

    candidate_version: str
    champion_version: str | None
    candidate: Sequence[bool]
    champion: Sequence[bool]
    floor: Sequence[bool]
    edge: Sequence[bool]
    scenario: Sequence[str | None]
    candidate_ece: float | None = None
    leaks: int = 0


@dataclass(frozen=True, slots=True)
class GateTest:
    """One test with its figures. `difference` is candidate − reference in accuracy; `wins` and `losses` are the pairs
    that only the candidate, or only the reference, got right. `smallest_visible` is the smallest change that the test
    could have seen with so many items."""

    name: str
    finding: Finding
    reason: str
    n: int
    slice: str | None = None
    candidate_accuracy: float | None = None
    reference_accuracy: float | None = None
    difference: float | None = None
    wins: int = 0
    losses: int = 0
    lower_bound: float | None = None
    p_value: float | None = None
    threshold: float | None = None
    smallest_visible: float | None = None


@dataclass(frozen=True, slots=True)
class GateReport:
    """The verdict, its reasons as sentences, and every test behind it. `negative_flips` is a share of all items."""

    verdict: Verdict
    reasons: tuple[str, ...]
    tests: tuple[GateTest, ...]
    candidate_version: str
    champion_version: str | None
    n: int
    negative_flips: float | None


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Counts of one set of items: both right, only the candidate, only the reference, neither."""

    both: int
    wins: int
    losses: int
    neither: int

    @property
    def n(self) -> int:
        return self.both + self.wins + self.losses + self.neither

    @property
    def candidate_accuracy(self) -> float:
        return (self.both + self.wins) / self.n if self.n else 0.0

    @property
    def reference_accuracy(self) -> float:
        return (self.both + self.losses) / self.n if self.n else 0.0

    @property
    def difference(self) -> float:
        return (self.wins - self.losses) / self.n if self.n else 0.0

    @property
    def reference_errors(self) -> int:
        return self.wins + self.neither


def judge(results: PairedResults, policy: GatePolicy) -> GateReport:
    """The verdict: `hold` if a test failed, `unverified` if one could not tell, else `promote`."""
    tests = tuple(_tests(results, policy))
    findings = {test.finding for test in tests}
    if Finding.FAILED in findings:
        verdict, telling = Verdict.HOLD, Finding.FAILED
    elif Finding.UNCLEAR in findings:
        verdict, telling = Verdict.UNVERIFIED, Finding.UNCLEAR
    else:
        verdict, telling = Verdict.PROMOTE, Finding.PASSED
    flips = _pairs(results.candidate, results.champion).losses / len(results.champion) if results.champion else None
    return GateReport(
        verdict=verdict,
        reasons=tuple(test.reason for test in tests if test.finding is telling),
        tests=tests,
        candidate_version=results.candidate_version,
        champion_version=results.champion_version,
        n=len(results.candidate),
        negative_flips=flips,
    )


def _tests(results: PairedResults, policy: GatePolicy) -> Iterable[GateTest]:
    yield _leakage(results)
    if results.champion_version is None:
        yield _above_floor(_pairs(results.candidate, results.floor), policy)
    elif results.champion_version == results.candidate_version:
        reason = f"{results.candidate_version} is the champion already: there is nothing to promote."
        yield GateTest("difference", Finding.FAILED, reason, len(results.candidate))
    else:
        yield _overall(_pairs(results.candidate, results.champion), policy)
        yield _edge(_pairs(results.candidate, results.champion, results.edge), policy)
        yield from _slices(results, policy)
    if policy.max_ece is not None:
        yield _calibration(results, policy.max_ece)


def _leakage(results: PairedResults) -> GateTest:
    n = len(results.candidate)
    if results.leaks:
        reason = f"{results.leaks} holdout items were trained on: the figures mean nothing. Run `dvc repro` again."
        return GateTest("leakage", Finding.FAILED, reason, n)
    return GateTest("leakage", Finding.PASSED, "No holdout item was trained on.", n)


def _calibration(results: PairedResults, limit: float) -> GateTest:
    ece, n = results.candidate_ece, len(results.candidate)
    if ece is None:
        return GateTest("calibration", Finding.UNCLEAR, "The calibration error could not be measured.", n, threshold=limit)
    good = ece <= limit
    reason = f"The calibration error (ECE) is {ece:.3f}; the limit is {limit:.3f}."
    return GateTest("calibration", Finding.PASSED if good else Finding.FAILED, reason, n, threshold=limit)


def _above_floor(pairs: _Pairs, policy: GatePolicy) -> GateTest:
    """A first model has nothing to be compared with; it must only know more than the commonest label."""
    p_value = exact_mcnemar(pairs.wins, pairs.losses)
    test = _filled("floor", pairs, p_value=p_value, threshold=policy.alpha, smallest=_fewest(policy.alpha, 1) / max(pairs.n, 1))
    floor = f"always answering the commonest label gets {pairs.reference_accuracy:.1%}"
    if pairs.n < policy.min_items:
        return replace(test, finding=Finding.UNCLEAR, reason=_too_few("the holdout", pairs.n, policy.min_items))
    if pairs.difference <= 0:
        return replace(test, finding=Finding.FAILED, reason=f"Accuracy is {pairs.candidate_accuracy:.1%}; {floor}.")
    if p_value > policy.alpha:
        return replace(test, finding=Finding.UNCLEAR, reason=f"Too few items to tell the candidate from chance: {floor}.")
    reason = f"There is no champion: nothing to compare with. Accuracy is {pairs.candidate_accuracy:.1%}; {floor}."
    return replace(test, finding=Finding.PASSED, reason=reason)


def _overall(pairs: _Pairs, policy: GatePolicy) -> GateTest:
    test = _not_worse("overall", "the whole holdout", pairs, policy.margin, policy.alpha)
    if test.finding is Finding.PASSED and pairs.n < policy.min_items:
        return replace(test, finding=Finding.UNCLEAR, reason=_too_few("the holdout", pairs.n, policy.min_items))
    return test


def _edge(pairs: _Pairs, policy: GatePolicy) -> GateTest:
    if not policy.require_improvement:
        if pairs.n < policy.min_edge_items:
            reason = f"{pairs.n} edge cases are too few to test, and no improvement is demanded."
            return GateTest("edge cases", Finding.NOT_TESTED, reason, pairs.n)
        return _not_worse("edge cases", "the edge cases", pairs, policy.edge_margin, policy.alpha)
    if pairs.n < policy.min_edge_items:
        return GateTest("edge cases", Finding.UNCLEAR, _too_few("the edge cases", pairs.n, policy.min_edge_items), pairs.n)
    if pairs.reference_errors < _fewest(policy.alpha, 1):
        # The champion errs so rarely here that no improvement, however real, could be shown.
        return _not_worse("edge cases", "the edge cases", pairs, policy.edge_margin, policy.alpha)
    return _better(pairs, policy.alpha)


def _better(pairs: _Pairs, alpha: float) -> GateTest:
    p_value = exact_mcnemar(pairs.wins, pairs.losses)
    test = _filled("edge cases", pairs, p_value=p_value, threshold=alpha, smallest=_fewest(alpha, 1) / pairs.n)
    figures = f"{pairs.wins} edge cases won, {pairs.losses} lost (p = {p_value:.3f})"
    if p_value <= alpha:
        return replace(test, finding=Finding.PASSED, reason=f"Better on the edge cases: {figures}.")
    if pairs.difference <= 0:
        return replace(test, finding=Finding.FAILED, reason=f"No improvement on the edge cases: {figures}.")
    reason = f"An improvement on the edge cases can't be told from chance: {figures}. More edge cases are needed."
    return replace(test, finding=Finding.UNCLEAR, reason=reason)


def _not_worse(name: str, where: str, pairs: _Pairs, margin: float, alpha: float) -> GateTest:
    lower, upper = agresti_min_bounds(pairs.wins, pairs.losses, pairs.n, alpha)
    visible = smallest_visible_loss(pairs.wins + pairs.losses, pairs.n, alpha)
    test = _filled(name, pairs, lower_bound=lower, threshold=-margin, smallest=visible)
    figures = f"{pairs.difference:+.1%} on {where} ({pairs.n} items; at worst {lower:+.1%}, allowed −{margin:.1%})"
    if lower > -margin:
        return replace(test, finding=Finding.PASSED, reason=f"Not worse: {figures}.")
    if upper < 0:
        return replace(test, finding=Finding.FAILED, reason=f"Worse: {figures}.")
    needed = items_needed(pairs.wins + pairs.losses, pairs.n, margin, alpha)
    reason = f"Not shown to be no worse: {figures}. About {needed} items would be needed."
    return replace(test, finding=Finding.UNCLEAR, reason=reason)


def _slices(results: PairedResults, policy: GatePolicy) -> Iterable[GateTest]:
    names = sorted({name for name in results.scenario if name is not None})
    counted = {name: _pairs(results.candidate, results.champion, [s == name for s in results.scenario]) for name in names}
    tested = {name: pairs for name, pairs in counted.items() if pairs.n >= policy.min_slice_items}
    p_values = [exact_mcnemar(pairs.losses, pairs.wins) for pairs in tested.values()]
    worse = dict(zip(tested, holm(p_values, policy.alpha), strict=True))
    for (name, pairs), p_value in zip(tested.items(), p_values, strict=True):
        smallest = _fewest(policy.alpha, len(tested)) / pairs.n
        test = _filled("scenario", pairs, p_value=p_value, threshold=policy.alpha, smallest=smallest, name_of_slice=name)
        figures = f"{pairs.difference:+.1%} ({pairs.losses} lost, {pairs.wins} won of {pairs.n}; p = {p_value:.4f})"
        if worse[name]:
            yield replace(test, finding=Finding.FAILED, reason=f"Worse in scenario {name!r}: {figures}.")
        else:
            yield replace(test, finding=Finding.PASSED, reason=f"No loss seen in scenario {name!r}: {figures}.")
    for name in sorted(counted.keys() - tested.keys()):
        n = counted[name].n
        yield GateTest("scenario", Finding.NOT_TESTED, f"Scenario {name!r} has only {n} items.", n, slice=name)


def exact_mcnemar(more: int, fewer: int) -> float:
    """One-sided exact McNemar: the probability of at least `more` of `more + fewer` discordant pairs by chance alone."""
    from scipy.special import bdtrc

    return float(bdtrc(more - 1, more + fewer, 0.5)) if more else 1.0


def agresti_min_bounds(wins: int, losses: int, n: int, alpha: float) -> tuple[float, float]:
    """One-sided (1 − alpha) bounds, lower and upper, of the difference of two paired proportions (Agresti & Min 2005)."""
    total, difference = n + 2, wins - losses
    variance = (wins + losses + 1) - difference**2 / total
    reach = _z(1 - alpha) * math.sqrt(variance) / total
    return difference / total - reach, difference / total + reach


def smallest_visible_loss(discordant: int, n: int, alpha: float) -> float:
    """The loss of accuracy that a paired test would have seen with probability `POWER`, at this share of discordant pairs."""
    if n == 0:
        return 1.0
    return min(1.0, (_z(1 - alpha) + _z(POWER)) * math.sqrt(_discordance(discordant, n) / n))


def items_needed(discordant: int, n: int, margin: float, alpha: float) -> int:
    """Items with which non-inferiority would be shown with probability `POWER` if nothing had changed in truth."""
    reach = _z(1 - alpha) + _z(POWER)
    return math.ceil(reach**2 * _discordance(discordant, n) / margin**2)


def holm(p_values: Sequence[float], alpha: float) -> list[bool]:
    """Which hypotheses are rejected while the probability of any false rejection stays at most alpha (Holm 1979)."""
    rejected = [False] * len(p_values)
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[index] > alpha / (len(p_values) - rank):
            break
        rejected[index] = True
    return rejected


def _discordance(discordant: int, n: int) -> float:
    """Share of discordant pairs, smoothed as in Agresti & Min: none seen is not none there."""
    return (discordant + 1) / (n + 2)


def _fewest(alpha: float, tests: int) -> int:
    """The fewest discordant pairs, all one way, that reach significance in the first step of Holm over `tests` tests."""
    return math.ceil(math.log2(tests / alpha))


def _z(probability: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(probability))


def _pairs(candidate: Sequence[bool], reference: Sequence[bool], where: Sequence[bool] | None = None) -> _Pairs:
    counts = {(True, True): 0, (True, False): 0, (False, True): 0, (False, False): 0}
    chosen = where if where is not None else [True] * len(candidate)
    for ours, theirs, counts_here in zip(candidate, reference, chosen, strict=True):
        if counts_here:
            counts[bool(ours), bool(theirs)] += 1
    return _Pairs(counts[True, True], counts[True, False], counts[False, True], counts[False, False])


def _too_few(where: str, n: int, least: int) -> str:
    return f"Too few items to tell: {where} {'has' if where == 'the holdout' else 'are'} {n}, the gate asks for {least}."


def _filled(
    name: str,
    pairs: _Pairs,
    *,
    smallest: float,
    threshold: float,
    p_value: float | None = None,
    lower_bound: float | None = None,
    name_of_slice: str | None = None,
) -> GateTest:
    return GateTest(
        name=name,
        finding=Finding.UNCLEAR,
        reason="",
        n=pairs.n,
        slice=name_of_slice,
        candidate_accuracy=pairs.candidate_accuracy,
        reference_accuracy=pairs.reference_accuracy,
        difference=pairs.difference,
        wins=pairs.wins,
        losses=pairs.losses,
        lower_bound=lower_bound,
        p_value=p_value,
        threshold=threshold,
        smallest_visible=smallest,
    )
