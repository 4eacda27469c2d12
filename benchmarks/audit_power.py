"""Audits with teeth: do they hold a bad lot, prove a good one, and say the truth, however often they are looked at?

    python -m benchmarks.audit_power            # 1,000 lots of each kind
    python -m benchmarks.audit_power --full     # 4,000 of each kind, more repeats of the rest

Lots are simulated: a week of auto-approved items, a look every day and two after the week's end. Which items are audited is
chance with the planned probability; an audit's first answer comes on the same day or the next; an audit that disagrees with the
model waits a further day for an adjudicator, as in the bridge. The rest runs on the answers of a real model (TF-IDF and logistic
regression) to Banking77, beside the repository: set HITL_SHARED_DATA to where it lies (the default is ../shared/data). Drift is
what comes from outside the model's scope: tweets (WNUT17) among the bank's queries, and, much harder, queries of intents that
were kept from the model.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray
from report import Report, above, at_least, at_most

from hitl_bridge.core.audits import drift
from hitl_bridge.core.audits.audit_size import AuditPlan, Wish, planned_audits
from hitl_bridge.core.audits.audited import AutoError, Stratum, auto_error
from hitl_bridge.core.audits.lots import LotFindings, LotPromise, LotVerdict, judge
from hitl_bridge.core.audits.reviewers import FAULTLESS, Bounds, ReviewerError, share_bounds
from hitl_bridge.core.audits.traffic import Looked, whole_accuracy
from hitl_bridge.ports import Blind
from hitl_bridge.services.audits.lots import reviewer_error

Floats = NDArray[np.float64]
Chance = np.random.Generator

ITEMS, DAYS, LATE_LOOKS = 70_000, 7, 3
"""Of a lot: auto-approved items, days in which they come, looks after the last of them."""

BUDGET, BAD, GOOD = 0.01, 0.03, 0.005
ERRS, ALIKE = 0.05, 0.5
"""Reviewers and adjudicators err in so many answers; of the errors on an item that the model has wrong, such a share repeats
the model's own."""

GOLD = 4_000
"""Items with a known answer from which reviewers' errors are known in the third world (as many seen by adjudicators)."""


# ------------------------------------------------------------------------------------------------------- simulated lots


@dataclass(frozen=True)
class World:
    """How reviewers err, and what the bridge is told of it."""

    name: str
    says: str
    errs: float
    told: ReviewerError


def worlds() -> list[World]:
    alarm, miss = ERRS * ERRS, ERRS * ALIKE + (1 - ERRS * ALIKE) * ERRS * ALIKE
    known = ReviewerError(Bounds(alarm, alarm), Bounds(miss, miss))
    doubt = 0.01
    wrongs, alike = (
        share_bounds(round(ERRS * GOLD), GOLD, doubt / 3),
        share_bounds(round(ALIKE * ERRS * GOLD), round(ERRS * GOLD), doubt / 3),
    )
    # From its own adjudications: 100 first answers of 2,000 taken back; nothing is known of misses.
    seen = reviewer_error(Blind(right=2_000, alarms=100))
    return [
        World("faultless", "faultless reviewers", 0.0, FAULTLESS),
        World("known", "reviewers err in 5 %, known", ERRS, known),
        World("gold", f"reviewers err in 5 %, as {GOLD:,} gold items tell", ERRS, in_two_steps(wrongs, wrongs, alike, doubt)),
        World("bridge", "reviewers err in 5 %, as the bridge itself sees it", ERRS, seen),
        World("untold", "reviewers err in 5 %, taken as 0", ERRS, FAULTLESS),
    ]  # fmt: skip


def in_two_steps(first: Bounds, adjudicator: Bounds, alike: Bounds, doubt: float) -> ReviewerError:
    """Of the review as the bridge does it: only an answer that differs from the model's is adjudicated.

    A false alarm takes two errors, one of each person. A miss takes one: a reviewer who errs in the model's own way (of a
    reviewer's errors the share `alike`), or else an adjudicator who does.

    Args:
        first: how often a reviewer errs. adjudicator: how often an adjudicator does.
        doubt: the chance that any of the three is off its bounds.
    """

    def missed(reviewer: float, expert: float, same: float) -> float:
        return reviewer * same + (1 - reviewer * same) * expert * same

    return ReviewerError(
        Bounds(first.low * adjudicator.low, first.high * adjudicator.high, first.best * adjudicator.best),
        Bounds(
            missed(first.low, adjudicator.low, alike.low),
            missed(first.high, adjudicator.high, alike.high),
            missed(first.best, adjudicator.best, alike.best),
        ),
        doubt,
    )


@dataclass
class Audits:
    """What was drawn and decided, day by day of deciding: row d, column k = drawn on day d, known from day d + k on."""

    right: NDArray[np.int64]
    wrong: NDArray[np.int64]
    drawn: NDArray[np.int64]

    def at(self, day: int) -> tuple[int, int, int]:
        """Right, wrong and waiting at the look of that day (from 0)."""
        right, wrong = (
            sum(int(each[d, : day - d + 1].sum()) for d in range(min(day + 1, DAYS))) for each in (self.right, self.wrong)
        )
        return right, wrong, int(self.drawn[: day + 1].sum()) - right - wrong


def audited(chance: Chance, errors: Sequence[int], probability: float, errs: float) -> Audits:
    """A week's audits: `errors` of each day's items are wrong."""
    shape = (DAYS, LATE_LOOKS + 1)
    right, wrong, drawn = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(DAYS, np.int64)
    for day, bad in enumerate(errors):
        drawn_bad, drawn_good = chance.binomial(bad, probability), chance.binomial(ITEMS // DAYS - bad, probability)
        drawn[day] = drawn_bad + drawn_good
        confirmed, alarmed = chance.binomial(drawn_bad, errs * ALIKE), chance.binomial(drawn_good, errs)
        pardoned, condemned = chance.binomial(drawn_bad - confirmed, errs * ALIKE), chance.binomial(alarmed, errs)
        for table, count, after in (
            (right, confirmed + drawn_good - alarmed, 0),
            (right, pardoned + alarmed - condemned, 1),
            (wrong, drawn_bad - confirmed - pardoned + condemned, 1),
        ):
            late = chance.binomial(count, 0.5)
            table[day, after] += count - late
            table[day, after + 1] += late
    return Audits(right, wrong, drawn)


def errors_by_day(share: float, *, rising: bool) -> list[int]:
    """How many of each day's items are wrong: the same every day, or none at first and twice as many at last."""
    weights = np.linspace(0, 2, DAYS) if rising else np.ones(DAYS)
    return [round(share * ITEMS / DAYS * weight) for weight in weights]


@dataclass
class Tally:
    """What became of simulated lots."""

    held: int = 0
    proven: int = 0
    covered: int = 0
    lots: int = 0

    def share(self, what: str) -> float:
        return float(getattr(self, what)) / self.lots


class Judge:
    """Looks at lots, remembering what it said of the same findings."""

    def __init__(self, told: ReviewerError) -> None:
        self.look = cache(self._look)
        self._told = told

    def _look(self, probability: float, items: int, wrong: int, waiting: int, closed: bool) -> tuple[AutoError, LotVerdict]:
        # Of the right ones only that they are not wrong matters here; leaving them out makes equal findings out of many.
        stratum = Stratum(probability, items, 0, wrong, waiting)
        promise = LotPromise(BUDGET, of="approved")
        verdict = judge(LotFindings([stratum], items, closed), promise, self._told).verdict
        return auto_error([stratum], promise.confidence, self._told, closed=closed), verdict


def simulate(chance: Chance, lots: int, world: World, plan: AuditPlan, share: float, *, rising: bool = False) -> Tally:
    tally, errors, looker = Tally(lots=lots), errors_by_day(share, rising=rising), Judge(world.told)
    for _ in range(lots):
        audits = audited(chance, errors, plan.probability, world.errs)
        verdicts, covered = set(), True
        for day in range(DAYS + LATE_LOOKS):
            so_far = min(day + 1, DAYS)
            items, truth = ITEMS // DAYS * so_far, sum(errors[:so_far])
            _, wrong, waiting = audits.at(day)
            error, verdict = looker.look(plan.probability, items, wrong, waiting, day >= DAYS)
            verdicts.add(verdict)
            covered &= error.low - 1e-9 <= truth / items <= error.high + 1e-9
            last = verdict
        tally.held += LotVerdict.HELD in verdicts
        tally.proven += last is LotVerdict.PROVEN and LotVerdict.HELD not in verdicts
        tally.covered += covered
    return tally


def lots_of_each_world(report: Report, chance: Chance, lots: int) -> None:
    plans: dict[str, AuditPlan] = {}
    for world in worlds():
        told = next(each for each in worlds() if each.name == "faultless").told if world.name == "untold" else world.told
        plan = planned_audits(ITEMS, BUDGET, Wish(BAD, GOOD), reviewers=told)
        if plan is None:
            report.add(f"{world.name}_planned_audits", f"{world.says}: no number of audits settles such a lot", None)
            continue
        plans[world.name] = plan
        told_all = world.name != "untold"
        report.add(f"{world.name}_planned_audits", f"{world.says}: audits planned for a lot of {ITEMS:,}", plan.audits)
        bad, good = (simulate(chance, lots, world, plan, share) for share in (BAD, GOOD))
        edge, rising = simulate(chance, lots, world, plan, BUDGET), simulate(chance, lots, world, plan, BUDGET, rising=True)
        covered = min(each.share("covered") for each in (bad, good, edge, rising))
        report.add(
            f"{world.name}_bad_held", "· 3 % wrong, budget 1 %: held", bad.share("held"), at_least(bad.share("held"), 0.95)
        )
        report.add(f"{world.name}_good_held", "· 0.5 % wrong: held", good.share("held"), at_most(good.share("held"), 0.05))
        proven = good.share("proven")
        report.add(f"{world.name}_good_proven", "· 0.5 % wrong: proven", proven, at_least(proven, 0.80) if told_all else None)
        false = max(edge.share("held"), rising.share("held"))
        report.add(f"{world.name}_edge_held", "· just 1 % wrong (level, or rising through the week): held", false)
        report.add(
            f"{world.name}_covered", "· interval covers the truth at all ten looks (worst of four kinds of lots)", covered,
            at_least(covered, 0.95) if told_all else None,
        )  # fmt: skip


# ------------------------------------------------------------------------------------------------- a real model's answers


@dataclass(frozen=True)
class Traffic:
    """A model's answers: its confidence in each (calibrated by one temperature), whether it was wrong, whether the model was
    trained for such; and its confidence in tweets."""

    confidence: Floats
    wrong: Floats
    known: NDArray[np.bool_]
    tweets: Floats


def shared(*parts: str) -> Path:
    return Path(os.environ.get("HITL_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data")).joinpath(*parts)


def rows(name: str) -> list[tuple[str, str]]:
    with shared("banking77", name).open(encoding="utf-8", newline="") as file:
        return [(row["text"], row["category"]) for row in csv.DictReader(file)]


def tweets() -> list[str]:
    blocks = shared("wnut17", "wnut17train.conll").read_text(encoding="utf-8").split("\n\n")
    return [" ".join(line.split("\t")[0] for line in block.splitlines() if line) for block in blocks if block.strip()]


def answers(chance: Chance, *, unknown: int = 0) -> Traffic:
    """Of a model trained on a third of the texts, with `unknown` of the 77 intents kept from it: those are out of its scope."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    texts = rows("train.csv") + rows("test.csv")
    order = chance.permutation(len(texts))
    strange = set(chance.permutation(sorted({label for _, label in texts}))[:unknown])
    train = [texts[at] for at in order[:4_500] if texts[at][1] not in strange]
    tune = [texts[at] for at in order[4_500:5_500] if texts[at][1] not in strange]
    rest = [texts[at] for at in order[5_500:]]
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    model = LogisticRegression(C=10, max_iter=2_000)
    model.fit(vectors.fit_transform(text for text, _ in train), [label for _, label in train])

    def logits(some: Sequence[str]) -> Floats:
        return np.asarray(model.decision_function(vectors.transform(some)))

    heat = _temperature(logits([text for text, _ in tune]), np.searchsorted(model.classes_, [label for _, label in tune]))
    shares = _softmax(logits([text for text, _ in rest]) / heat)
    right = np.array([label for _, label in rest])
    wrong = (model.classes_[shares.argmax(axis=1)] != right).astype(float)
    known = ~np.isin(right, list(strange))
    return Traffic(shares.max(axis=1), wrong, known, _softmax(logits(tweets()) / heat).max(axis=1))


def _temperature(logits: Floats, truth: NDArray[np.int64]) -> float:
    def loss(heat: float) -> float:
        return -float(np.log(_softmax(logits / heat)[np.arange(len(truth)), truth]).mean())

    return float(min(np.geomspace(0.1, 3, 60), key=loss))


def _softmax(logits: Floats) -> Floats:
    grown = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(grown / grown.sum(axis=1, keepdims=True))


def whole_traffic(report: Report, chance: Chance, traffic: Traffic, repeats: int) -> None:
    """METHODS 3: audits by risk with a floor of a fifth, 200 of them; and the draws that the bridge makes."""
    risk, wrong = 1 - traffic.confidence, traffic.wrong
    truth, n, auto = float(wrong.mean()), len(wrong), risk <= np.quantile(risk, 0.65)
    by_risk = np.minimum(1.0, 200 / n * (0.2 + 0.8 * np.sqrt(risk) / np.sqrt(risk).mean()))
    ours = np.where(auto, 0.02 + 0.98 * 0.03, 0.02)
    for name, says, chances in (("by_risk", "200 audits by risk", by_risk), ("bridge", "the bridge's own draws", ours)):
        found = list(_repeated(chance, chances, risk, wrong, repeats))
        values, covers, plain = (
            np.array(each)
            for each in zip(*((1 - value, low <= 1 - truth <= high, mean) for value, low, high, mean in found), strict=True)
        )
        bias = float(values.mean() - truth)
        told = f"whole traffic (error {truth:.3f}), {says}: bias of the difference estimator"
        report.add(f"{name}_bias", told, bias, at_most(abs(bias), 0.003))
        report.add(
            f"{name}_coverage", "· its 95 % interval covers the truth", float(covers.mean()), at_least(float(covers.mean()), 0.90)
        )
        uniform = truth * (1 - truth) / chances.sum()
        report.add(f"{name}_efficiency", "· audits that a uniform sample needs for the same", float(uniform / values.var()))
        off = float(plain.mean() - truth)
        report.add(f"{name}_plain_bias", "· bias of the plain mean (wrong)", off, above(abs(off), 0.01))
    _auto_tier(report, chance, wrong[auto], repeats)


def _repeated(
    chance: Chance, chances: Floats, risk: Floats, wrong: Floats, repeats: int
) -> Iterator[tuple[float, float, float, float]]:
    for _ in range(repeats):
        drawn = chance.random(len(risk)) < chances
        found = whole_accuracy(len(risk), float(risk.sum()), Looked(chances[drawn], risk[drawn], wrong[drawn]))
        assert found is not None
        yield found.value, found.low, found.high, float(wrong[drawn].mean())


def _auto_tier(report: Report, chance: Chance, wrong: Floats, repeats: int) -> None:
    from scipy.stats import norm

    n, truth, z, rate = len(wrong), float(wrong.mean()), norm.ppf(0.975), 200 / len(wrong)
    wilson = exact = 0
    for _ in range(repeats):
        drawn = wrong[chance.random(n) < rate]
        k, m = drawn.sum(), len(drawn)
        middle, half = (k + z * z / 2) / (m + z * z), z * np.sqrt(k * (m - k) / m + z * z / 4) / (m + z * z)
        wilson += bool(middle - half <= truth <= middle + half)
        error = auto_error([Stratum(rate, n, m - int(k), int(k))], closed=True)
        exact += error.low <= truth <= error.high
    told = f"auto tier (error {truth:.4f}), 200 uniform audits: Wilson's interval covers"
    report.add("auto_wilson_coverage", told, float(wilson / repeats), at_least(float(wilson / repeats), 0.94))
    report.add("auto_exact_coverage", "· the bridge's own interval covers", exact / repeats, at_least(exact / repeats, 0.95))


def drifting(report: Report, chance: Chance, streams: int) -> None:
    """METHODS 11, without CLINC150: with tweets, about as strange to the model as CLINC's out-of-scope queries are to theirs
    (AUROC .97 here, .93 to .96 there), and with seventeen of the bank's own intents, which are much less so (.84)."""
    traffic = answers(chance, unknown=17)
    usual = traffic.confidence[traffic.known]
    alarms = sum(_false_alarm(chance, usual) for _ in range(streams))
    bar = max(1, round(streams / 30))
    report.add("drift_false_alarms", f"drift: false alarms in {streams} streams of 2,000 items", alarms, at_most(alarms, bar))
    kinds = (("far", "tweets", traffic.tweets), ("near", "intents kept from the model", traffic.confidence[~traffic.known]))
    for name, says, strange in kinds:
        report.add(f"drift_{name}_auroc", f"drift by {says}: AUROC of the confidence", _auroc(usual, strange))
        for share in (0.05, 0.1, 0.2, 0.4):
            found = [_delay(chance, usual, strange, share) for _ in range(streams)]
            seen, middle = sum(each is not None for each in found), float(median(each or 10**6 for each in found))
            bound = {0.1: 600, 0.2: 250}.get(share) if name == "far" else None
            delay = None if middle == 10**6 else middle
            says_delay = f"· {share:.0%} of them: items until the alarm (median)"
            report.add(f"drift_{name}_{share:g}_delay", says_delay, delay, at_most(middle, bound) if bound else None)
            report.add(f"drift_{name}_{share:g}_seen", "  seen within 2,000 items", seen / streams)


def _auroc(usual: Floats, strange: Floats) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(np.r_[np.zeros(len(usual)), np.ones(len(strange))], -np.r_[usual, strange]))


def _false_alarm(chance: Chance, usual: Floats) -> bool:
    mixed = chance.permutation(usual)
    return any(_alarms(drift.reference_of(mixed[:2_000]), chance.choice(mixed[2_000:], 2_000)))


def _delay(chance: Chance, usual: Floats, strange: Floats, share: float) -> int | None:
    """Items until the alarm; None without one."""
    mixed = chance.permutation(usual)
    after = np.where(chance.random(2_000) < share, chance.choice(strange, 2_000), chance.choice(mixed[2_000:], 2_000))
    alarms = _alarms(drift.reference_of(mixed[:2_000]), after)
    return (alarms.index(True) + 1) * drift.BLOCK if True in alarms else None


def _alarms(reference: drift.Reference, confidences: Floats) -> list[bool]:
    low = (confidences.reshape(-1, drift.BLOCK) < reference.below).sum(axis=1)
    return [drift.look(reference, drift.BLOCK, int(each)).alarm for each in low]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="4,000 lots of each kind, more repeats of the rest")
    parser.add_argument("--seed", type=int, default=20_261_122)
    asked = parser.parse_args()
    chance = np.random.default_rng(asked.seed)
    report = Report("audit_power")
    lots_of_each_world(report, chance, 4_000 if asked.full else 1_000)
    try:
        traffic = answers(chance)
    except FileNotFoundError as missing:
        print(f"Not measured: {missing.filename} is missing; set HITL_SHARED_DATA.", file=sys.stderr)
        report.finish()
        return 2
    whole_traffic(report, chance, traffic, 8_000 if asked.full else 2_000)
    drifting(report, chance, 300 if asked.full else 90)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
