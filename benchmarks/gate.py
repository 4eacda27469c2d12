"""Does the gate let through what is better, and nothing else? Candidates whose worth is known, on resampled holdouts.

    python benchmarks/gate.py [--data DIR] [--full]

A champion of 3,000 labels of Banking77 is challenged by a model with 1,000 well-chosen labels more, by one of 3,000 other
labels, by one with 15 % wrong labels, and by two that are better on average and have two of 77 intents ruined. The gate judges
each on 400 holdouts of 1,200 queries and on 400 of 100, with the policy of a fresh workspace.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from candidates import Draw, Scored, draw_candidates
from queries import DataMissing, Query, read_halves
from report import Report, at_least, at_most, exactly

from hitl_bridge.core.gating.gate import judge
from hitl_bridge.core.gating.paired import agresti_min_bounds, exact_mcnemar
from hitl_bridge.core.gating.policy import SCENARIO, GatePolicy
from hitl_bridge.core.gating.report import Finding, GateReport, Leakage, PairedResults
from hitl_bridge.core.model import Verdict

HOLDOUTS = 400
ITEMS, FEW = 1_200, 100
FIRST_SEED = 20
NO_LEAK = Leakage({"item_id": 0, "group": 0, "input": 0})
_HUNDRED = 100
_NO_DATA = 2

Places = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Rule:
    """A way of judging: says whether a candidate passes."""

    name: str
    passes: Callable[[PairedResults], bool]


def main() -> int:
    arguments = _arguments()
    try:
        training, testing = read_halves(arguments.data)
    except DataMissing as missing:
        print(missing, file=sys.stderr)
        return _NO_DATA
    report = Report("gate")
    draws = [_drawn(training, testing, FIRST_SEED + number) for number in range(12 if arguments.full else 4)]
    _tell_candidates(report, draws)
    _tell_verdicts(report, draws)
    _tell_few(report, draws)
    _tell_other_rules(report, draws)
    return report.finish()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "banking77")
    parser.add_argument("--full", action="store_true", help="twelve draws of all models instead of four: half an hour")
    return parser.parse_args()


def _drawn(training: Sequence[Query], testing: Sequence[Query], seed: int) -> Draw:
    drawn = draw_candidates(training, testing, seed)
    print(f"draw {seed}: champion {drawn.champion.right.mean():.3f}", file=sys.stderr, flush=True)
    return drawn


def _names(draws: Sequence[Draw]) -> list[str]:
    return list(draws[0].candidates)


def _tell_candidates(report: Report, draws: Sequence[Draw]) -> None:
    report.add("draws", "draws of champion and candidates", len(draws))
    report.add("champion", "champion's accuracy, mean", statistics.fmean(draw.champion.right.mean() for draw in draws))
    for name in _names(draws):
        changes = [float(draw.candidates[name].right.mean() - draw.champion.right.mean()) for draw in draws]
        report.add(f"change, {name}", f"true change in points, {name}", _spread([_HUNDRED * each for each in changes]))
        flips = [float((draw.champion.right & ~draw.candidates[name].right).mean()) for draw in draws]
        report.add(f"flips, {name}", "· right before, wrong now (share)", round(statistics.fmean(flips), 3))
        if name.startswith("slice"):
            lost = [_HUNDRED * draw.lost_in_ruined(name) for draw in draws]
            report.add(f"lost, {name}", "· points lost in the two ruined intents", _spread(lost))


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):+.1f} ({' · '.join(f'{each:+.1f}' for each in values)})"


def _tell_verdicts(report: Report, draws: Sequence[Draw]) -> None:
    """Shares of holdouts, mean over the draws, and each draw beside it."""
    policy = GatePolicy()
    started, judged = time.perf_counter(), 0
    for name in _names(draws):
        verdicts = [list(_judged(draw, name, ITEMS, policy)) for draw in draws]
        judged += sum(map(len, verdicts))
        promoted = [_share(each.verdict is Verdict.PROMOTE for each in reports) for reports in verdicts]
        wanting = [_share(_is_wanting(each) for each in reports) for reports in verdicts]
        mean = round(statistics.fmean(promoted), 4)
        counts = Counter(each.verdict.value for reports in verdicts for each in reports)
        aims = {"good": at_least(mean, 0.95), "bad": at_most(mean, 0.01)}
        aim = aims.get(name, at_most(mean, 0.05) if name.startswith("slice") else None)
        report.add(f"promoted, {name}", f"{name}: promoted, mean", mean, aim)
        report.add(f"promoted by draw, {name}", "· by draw", _listed(promoted))
        if name == "neutral":
            held = round(statistics.fmean(wanting), 4)
            report.add("held, neutral", "· held for want of improvement, mean", held, at_least(held, 0.90))
            report.add("held by draw, neutral", "· by draw", _listed(wanting))
        report.add(f"verdicts, {name}", "· verdicts", {verdict.value: counts[verdict.value] for verdict in Verdict})
    seconds = (time.perf_counter() - started) / judged
    report.add("milliseconds", f"milliseconds a verdict on {ITEMS:,} items and 87 slices ¹", round(1000 * seconds, 1))


def _tell_few(report: Report, draws: Sequence[Draw]) -> None:
    """With 100 items the gate must say of every candidate that it can't tell, and what would be needed."""
    reports = [each for name in _names(draws) for draw in draws for each in _judged(draw, name, FEW, GatePolicy())]
    unverified = _share(each.verdict is Verdict.UNVERIFIED for each in reports)
    report.add("unverified", f"all candidates on {FEW} items: unverified", unverified, exactly(unverified, 1.0))
    overall = [test for each in reports for test in each.tests if test.name == "overall"]
    told = _share(test.smallest_visible is not None and test.items_needed is not None for test in overall)
    report.add("told", "· with the smallest loss it could have seen and the items needed", told, exactly(told, 1.0))
    visible = statistics.median(test.smallest_visible or 0.0 for test in overall)
    needed = statistics.median(test.items_needed or 0 for test in overall)
    report.add("told, median", "· median of these", f"{visible:.1%}, {needed:,.0f} items")


def _tell_other_rules(report: Report, draws: Sequence[Draw]) -> None:
    """What other ways of judging let through, on the same holdouts."""
    policy = GatePolicy()
    rules = (
        Rule("accuracy not lower", lambda results: sum(results.candidate) >= sum(results.champion)),
        Rule("no significant loss (McNemar)", lambda results: _no_significant_loss(results, policy.alpha)),
        Rule("non-inferior by 2 points", lambda results: _non_inferior(results, policy)),
        Rule("the gate, edge cases by the champion's doubt alone", lambda results: _promotes(_one_sided(results), policy)),
        Rule("the gate, slices by scenario alone", lambda results: _promotes(results, replace(policy, slices=(SCENARIO,)))),
    )
    for rule in rules:
        passed = {
            name: round(_share(rule.passes(each) for draw in draws for each in _resampled(draw, name, ITEMS, HOLDOUTS // 4)), 3)
            for name in _names(draws)
        }
        report.add(f"passed, {rule.name}", f"passed by another rule: {rule.name}", passed)


def _no_significant_loss(results: PairedResults, alpha: float) -> bool:
    wins, losses = _discordant(results)
    return exact_mcnemar(losses, wins) > alpha


def _non_inferior(results: PairedResults, policy: GatePolicy) -> bool:
    return agresti_min_bounds(*_discordant(results), len(results.candidate), policy.alpha)[0] > -policy.margin


def _discordant(results: PairedResults) -> tuple[int, int]:
    candidate, champion = np.asarray(results.candidate), np.asarray(results.champion)
    return int((candidate & ~champion).sum()), int((champion & ~candidate).sum())


def _promotes(results: PairedResults, policy: GatePolicy) -> bool:
    return judge(results, policy).verdict is Verdict.PROMOTE


def _one_sided(results: PairedResults) -> PairedResults:
    """Edge cases as the champion sees them: nothing that the candidate doubts."""
    return replace(results, candidate_confidence=())


def _judged(draw: Draw, name: str, items: int, policy: GatePolicy) -> Iterator[GateReport]:
    return (judge(results, policy) for results in _resampled(draw, name, items, HOLDOUTS))


def _resampled(draw: Draw, name: str, items: int, times: int) -> Iterator[PairedResults]:
    """Holdouts drawn with replacement, the same for every candidate and every rule."""
    rng = np.random.default_rng(items)
    return (_results(draw, draw.candidates[name], rng.integers(0, len(draw.truth), items)) for _ in range(times))


def _results(draw: Draw, candidate: Scored, here: Places) -> PairedResults:
    none = np.zeros(len(here), dtype=bool)
    return PairedResults(
        candidate_version="candidate",
        champion_version="champion",
        candidate=candidate.right[here].tolist(),
        champion=draw.champion.right[here].tolist(),
        floor=none.tolist(),
        named=none.tolist(),
        candidate_confidence=candidate.confidence[here].tolist(),
        champion_confidence=draw.champion.confidence[here].tolist(),
        slices={"scenario": draw.scenario[here].astype(str).tolist(), "label": draw.truth[here].astype(str).tolist()},
        leakage=NO_LEAK,
    )


def _is_wanting(report: GateReport) -> bool:
    """Held, and one of the reasons is that the edge cases got no better."""
    edge = any(test.name == "edge cases" and test.finding is Finding.FAILED for test in report.tests)
    return report.verdict is Verdict.HOLD and edge


def _share(hits: Iterator[bool] | Sequence[bool]) -> float:
    return statistics.fmean(map(float, hits))


def _listed(shares: Sequence[float]) -> str:
    return " · ".join(f"{each:.3f}" for each in shares)


if __name__ == "__main__":
    sys.exit(main())
