"""Does `plan` predict what the next items will ask of people, and what will slip through?

    python benchmarks/plan.py [--data DIR] [--full]

Banking77 queries, scored by TF-IDF and logistic regression, stream through triage under a policy with the default rates of
draws; simulated reviewers who err answer. After 50,000 recorded items, plan says how many reviews the next 1,000 will ask and
how many errors they will let through, under the policy in force and under another one that approves more. Then the 1,000
come. Queries are drawn with replacement, so that the true error rates are known: to an oracle, who has only the chance of the
future against it.

One more run goes through the whole bridge: ingest, push, answers, pull, resolve, and the command's own plan.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from planned_bridge import Said, whole_bridge
from queries import DataMissing, Queries, Query, read_queries
from report import Report, at_least, at_most
from scipy.stats import binom

from hitl_bridge.adapters.triage_engine.duckdb import DuckDbTriage
from hitl_bridge.core.model import Purpose
from hitl_bridge.core.planning.forecast import LEVEL, Forecast, Horizon, Range, Terms, Work, forecast
from hitl_bridge.core.planning.tally import tally
from hitl_bridge.core.triage.columns import PREDICTIONS
from hitl_bridge.core.triage.plan import TierBound, TriagePlan

RECORDED, NEXT, RUNS = 50_000, 1_000, 100
FULL_RUNS = 500
IN_RANGE, TOO_WIDE = 0.85, 1.5
ERRS, KEEPS_THE_MODEL_S = 0.05, 0.5
"""Of single answers, those that are wrong; of these, on a page that shows a wrong label, those that leave it there."""

SEATS = {"quick": 1, "comprehensive": 2}
KEY = b"a benchmark's key"
_NO_DATA = 2

Flags = NDArray[np.bool_]
Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


def policy(name: str, auto: float) -> TriagePlan:
    tiers = (TierBound("auto", auto), TierBound("quick", 0.40), TierBound("comprehensive", 1.0))
    return TriagePlan(name, tiers, audit_rate=0.05, uniform_rate=0.02)


TODAY, OTHER = policy("today", 0.10), policy("approves more", 0.25)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Scored queries, of which traffic is drawn with replacement; `wrong` says where the prediction is."""

    predictions: pa.Table
    wrong: Flags
    said: Sequence[Said]

    def draw(self, number: int, prefix: str, chance: np.random.Generator) -> tuple[pa.Table, Flags]:
        picked = chance.integers(len(self.wrong), size=number)
        drawn = self.predictions.take(pa.array(picked))
        ids = pa.array([f"{prefix}-{at}" for at in range(number)])
        return drawn.set_column(drawn.column_names.index("item_id"), "item_id", ids), self.wrong[picked]


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What people made of triaged items: whether each was `seen`, the decision says `wrong`, and how many answers it took."""

    seen: Flags
    wrong: Flags
    answers: Counts
    adjudicated: Flags


# ------------------------------------------------------------------------------------------------------ the simulation


def review(receipts: pa.Table, wrong: Flags, chance: np.random.Generator) -> Reviewed:
    """Simulated reviewers. A blind look that disagrees with the model, and two answers that differ, go to an adjudicator, who
    does not err. Two who err on the same item differ in what they say, but for what the page shows."""
    purpose, tier = (np.array(receipts[name].to_pylist(), dtype=object) for name in ("purpose", "tier"))
    blind = (purpose == Purpose.AUDIT) | (purpose == Purpose.UNIFORM)
    ordinary = purpose == Purpose.REVIEW
    two = ordinary & (tier == "comprehensive")
    first, second = (_agrees(wrong, ordinary, chance) for _ in range(2))
    adjudicated = (blind & ~first) | (two & (first != second)) | (two & ~first & ~second & _differ(wrong, chance))
    says_wrong = np.where(adjudicated, wrong, ~first)
    answers = np.where(blind | ordinary, 1, 0) + two + adjudicated
    return Reviewed(blind | ordinary, says_wrong, answers.astype(np.int64), adjudicated)


def _agrees(wrong: Flags, shown: Flags, chance: np.random.Generator) -> Flags:
    """Whether an answer is the model's."""
    errs = chance.random(len(wrong)) < ERRS
    keeps = shown & (chance.random(len(wrong)) < KEEPS_THE_MODEL_S)
    return np.where(errs, wrong & keeps, ~wrong)


def _differ(wrong: Flags, chance: np.random.Generator) -> Flags:
    """Two answers that both leave the model's say different things if either of them errs."""
    share = np.where(wrong, 1.0 - (1.0 - ERRS * KEEPS_THE_MODEL_S) ** 2, 1.0)
    return chance.random(len(wrong)) < share


def plan_for(recorded: pa.Table, seen: Reviewed, drawn: pa.Table, wanted: TriagePlan) -> Forecast:
    """As the service does it: the record replayed under `wanted`, counted, and predicted from."""
    replayed = recorded if wanted is TODAY else DuckDbTriage().triage(drawn, wanted, KEY)
    wrong = pa.chunked_array([pa.array(np.where(seen.wrong, True, False), mask=~seen.seen)])
    counted = tally(recorded, replayed, wrong, recorded_auto="auto", auto_tier="auto")
    return forecast(counted.cells, terms(wanted, recorded, seen), Horizon(items=NEXT))


def terms(wanted: TriagePlan, recorded: pa.Table, seen: Reviewed) -> Terms:
    purpose, tier = (np.array(recorded[name].to_pylist(), dtype=object) for name in ("purpose", "tier"))
    ordinary = purpose == Purpose.REVIEW

    def work(of: Flags, seats: int) -> Work:
        return Work(seats, int(of.sum()), int((of & seen.adjudicated).sum()), None)

    works = {name: work(ordinary & (tier == name), seats) for name, seats in SEATS.items()}
    return Terms("auto", wanted.uniform_rate, wanted.audit_rate, works, work(seen.seen & ~ordinary, 1), None)


# ---------------------------------------------------------------------------------------------------------- the oracle


@dataclass(frozen=True, slots=True)
class Oracle:
    """Knows the share of the traffic that escapes, and how many items ask how many answers."""

    escapes: float
    answers: Mapping[int, float]

    def escaped(self) -> Range:
        low, high = binom.ppf([(1 - LEVEL) / 2, (1 + LEVEL) / 2], NEXT, self.escapes)
        return Range(NEXT * self.escapes, float(low), float(high))

    def reviews(self, chance: np.random.Generator) -> Range:
        totals = chance.multinomial(NEXT, list(self.answers.values()), 20_000) @ np.array(list(self.answers))
        low, high = np.quantile(totals, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="inverted_cdf")
        return Range(float(totals.mean()), float(low), float(high))


def oracle(traffic: Traffic, wanted: TriagePlan, chance: np.random.Generator) -> Oracle:
    """From all the queries, each looked at many times over."""
    times = 40
    many = pa.concat_tables([traffic.predictions] * times)
    ids = pa.array([f"oracle-{at}" for at in range(many.num_rows)])
    many = many.set_column(many.column_names.index("item_id"), "item_id", ids)
    receipts = DuckDbTriage().triage(many, replace(wanted, audit_rate=0.0, uniform_rate=0.0), KEY)
    approved = np.array(receipts["tier"].to_pylist(), dtype=object) == "auto"
    wrong = np.tile(traffic.wrong, times)
    unseen = (1 - wanted.uniform_rate) * (1 - wanted.audit_rate)
    seen = review(DuckDbTriage().triage(many, wanted, KEY), wrong, chance)
    kinds, counts = np.unique(seen.answers, return_counts=True)
    shares = dict(zip(kinds.tolist(), (counts / counts.sum()).tolist(), strict=True))
    return Oracle(float((approved & wrong).mean()) * unseen, shares)


# ------------------------------------------------------------------------------------------------------------ the runs


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was predicted of a figure, and what came."""

    predicted: Range
    came: int

    @property
    def is_right(self) -> bool:
        return self.predicted.low <= self.came <= self.predicted.high

    @property
    def width(self) -> float:
        return self.predicted.high - self.predicted.low


def one_run(traffic: Traffic, run: int) -> dict[tuple[str, str], Outcome]:
    chance = np.random.default_rng([77, run])
    drawn, wrong = traffic.draw(RECORDED, f"r{run}", chance)
    recorded = DuckDbTriage().triage(drawn, TODAY, KEY)
    seen = review(recorded, wrong, chance)
    coming, coming_wrong = traffic.draw(NEXT, f"n{run}", chance)
    found: dict[tuple[str, str], Outcome] = {}
    for wanted in (TODAY, OTHER):
        said = plan_for(recorded, seen, drawn, wanted)
        assert said.escaped is not None
        came = review(DuckDbTriage().triage(coming, wanted, KEY), coming_wrong, chance)
        found[wanted.policy_version, "reviews"] = Outcome(said.reviews, int(came.answers.sum()))
        found[wanted.policy_version, "escaped"] = Outcome(said.escaped, int((~came.seen & coming_wrong).sum()))
    return found


def scored_traffic(queries: Queries) -> Traffic:
    """Trained on half of what is there, its confidences tempered on a tenth; the rest is the traffic."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    every = [*queries.base, *queries.holdout, *queries.arriving]
    order = np.random.default_rng(77).permutation(len(every))
    half, tenth = len(every) // 2, len(every) // 10
    parts = [[every[at] for at in some] for some in np.split(order, [half, half + tenth])]
    (train, train_y), (fit, fit_y), (rest, rest_y) = ((_texts(part), _intents(part)) for part in parts)
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10, max_iter=300))
    model.fit(train, train_y)
    labels = model.classes_
    power = _temperature(model.predict_log_proba(fit), np.searchsorted(labels, fit_y))
    chances = _softmax(model.predict_log_proba(rest) * power)
    said = chances.argmax(axis=1)
    sure, says = chances.max(axis=1), [str(labels[at]) for at in said]
    each = [Said(*row) for row in zip(rest, says, sure.tolist(), rest_y, strict=True)]
    return Traffic(_predictions(sure, says), labels[said] != np.array(rest_y), each)


def _texts(queries: Sequence[Query]) -> list[str]:
    return [query.text for query in queries]


def _intents(queries: Sequence[Query]) -> list[str]:
    return [query.intent for query in queries]


def _temperature(logs: Floats, right: Counts) -> float:
    """The power that makes the right labels likeliest."""
    from scipy.optimize import minimize_scalar

    def loss(power: float) -> float:
        return -float(np.log(_softmax(logs * power)[np.arange(len(right)), right]).mean())

    return float(minimize_scalar(loss, bounds=(0.1, 10.0), method="bounded").x)


def _softmax(logs: Floats) -> Floats:
    powers = np.exp(logs - logs.max(axis=1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=1, keepdims=True)
    return shares


_ARROW = {"VARCHAR": pa.string(), "DOUBLE": pa.float64(), "BIGINT": pa.int64(), "BOOLEAN": pa.bool_()}


def _predictions(sure: Floats, labels: Sequence[str]) -> pa.Table:
    """As ingest would have checked them; what decides nothing here is left out."""
    known: dict[str, Any] = {
        "item_id": [str(at) for at in range(len(labels))],
        "label": labels,
        "output": [f'{{"label":"{label}"}}' for label in labels],
        "confidence": sure,
        "model_version": ["m1"] * len(labels),
        "input": ["{}"] * len(labels),
        "scores": ["{}"] * len(labels),
        "attributes": ["{}"] * len(labels),
    }
    columns = {name: pa.array(known.get(name, [None] * len(labels)), _ARROW[kind]) for name, kind in PREDICTIONS.items()}
    return pa.table(columns)


# ---------------------------------------------------------------------------------------------------------- the report


def measure(report: Report, traffic: Traffic, runs: int) -> None:
    began = time.monotonic()
    outcomes = [one_run(traffic, run) for run in range(runs)]
    chance = np.random.default_rng(78)
    report.add("queries", "queries that traffic is drawn from", len(traffic.wrong))
    report.add("model_error", "the model's error on them", round(float(traffic.wrong.mean()), 4))
    report.add("runs", f"runs of {RECORDED:,} recorded items and {NEXT:,} next ones", runs)
    for wanted in (TODAY, OTHER):
        known = oracle(traffic, wanted, chance)
        for figure, best in (("reviews", known.reviews(chance)), ("escaped", known.escaped())):
            _tell(report, wanted.policy_version, figure, [each[wanted.policy_version, figure] for each in outcomes], best)
    report.add("seconds_a_run", "seconds a run ¹", round((time.monotonic() - began) / runs, 2))


def _tell(report: Report, name: str, figure: str, outcomes: Sequence[Outcome], best: Range) -> None:
    key = f"{name.replace(' ', '_')}_{figure}"
    right = sum(each.is_right for each in outcomes) / len(outcomes)
    width = float(np.mean([each.width for each in outcomes]))
    ratio = width / (best.high - best.low)
    says = f"{figure}, policy “{name}”"
    report.add(f"{key}_came", f"{says}: came, mean of the runs", round(float(np.mean([each.came for each in outcomes])), 2))
    report.add(f"{key}_expected", "… expected", round(float(np.mean([each.predicted.expected for each in outcomes])), 2))
    report.add(f"{key}_in_range", "… runs in the 90 % range", right, at_least(right, IN_RANGE))
    report.add(
        f"{key}_oracle_in_range", "… in the oracle's", sum(best.low <= e.came <= best.high for e in outcomes) / len(outcomes)
    )
    report.add(f"{key}_width", "… width of the range", round(width, 2))
    report.add(f"{key}_oracle_width", "… of the oracle's", best.high - best.low)
    report.add(f"{key}_width_ratio", "… as a multiple", round(ratio, 3), at_most(ratio, TOO_WIDE))


def main() -> int:
    parser = argparse.ArgumentParser(description="What plan predicts, and what came.")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/banking77"), help="folder with train.csv, test.csv, …")
    parser.add_argument("--full", action="store_true", help=f"{FULL_RUNS} runs instead of {RUNS}")
    given = parser.parse_args()
    try:
        queries = read_queries(given.data)
    except DataMissing as missing:
        print(f"No data: {missing}", file=sys.stderr)
        return _NO_DATA
    report = Report("plan")
    traffic = scored_traffic(queries)
    measure(report, traffic, FULL_RUNS if given.full else RUNS)
    whole_bridge(report, queries.labels, traffic.said)
    print()
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
