"""How far people agree, how often they are right, and what showing them the model's answer does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from hitl_bridge.core.model import JSON, NONE_OF_THESE, Item, ItemId, JSONObject, Purpose
from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.core.review.by_parts import NO, YES
from hitl_bridge.core.review.consensus import Weighing
from hitl_bridge.core.review.part_votes import agreement_by_parts, pairs_by_parts, votes_by_parts
from hitl_bridge.core.review.records import (
    AgreementLine,
    GivenAnswer,
    GoldMisses,
    ReviewerLine,
    agreement,
    agreement_by_pair,
    blind_misses,
    everybody,
    reviewer_lines,
    scenario_lines,
    told_apart,
    votes_of,
)
from hitl_bridge.core.review.reliability import Reliability, learn
from hitl_bridge.core.routing import Tier, blind_draw
from hitl_bridge.errors import UsageError
from hitl_bridge.ports import AgreementStore, BankedItem, Clock, GoldStore
from hitl_bridge.services.desk.gold import GoldPorts, Learning, learning

LEARNED_FROM = 20_000
"""So many of the newest answers tell how reliable people are: enough to know them, and read in a fraction of a second."""

REPORTED = 200_000
_PAIRS = 50


@dataclass(frozen=True, slots=True)
class ReviewersReport:
    """What the newest answers tell: everybody together, each person, each scenario; and how far they agree, by project (pool and
    tier), scenario and pair. `gold` items have a known answer. Of those who are `learning` no answer counts yet."""

    everybody: ReviewerLine
    reviewers: tuple[ReviewerLine, ...]
    scenarios: tuple[ReviewerLine, ...]
    projects: tuple[AgreementLine, ...]
    agreement: tuple[AgreementLine, ...]
    pairs: tuple[AgreementLine, ...]
    gold: int
    learning: tuple[Learning, ...] = ()

    @property
    def notices(self) -> tuple[str, ...]:
        return tuple(f"{line.name} {said}" for line in self.reviewers for said in line.notices)


@dataclass(frozen=True, slots=True)
class GoldResult:
    """Items whose answer is known from now on (`added`), in all (`known`), and how many of these somebody has answered. Of those
    that the bridge can mix in by itself so many are `left`."""

    added: int
    known: int
    answered: int
    left: int = 0


@dataclass(slots=True)
class LearnedWeighing:
    """What the answers of a tier are weighed by. The record of past answers is read when it is first asked for, and once."""

    store: AgreementStore
    policy: ReviewPolicy
    _reliability: Reliability | None = None

    def of(self, tier: Tier, item: Item) -> Weighing | None:
        """None where one person's word settles: there is nothing to weigh."""
        if item.route.reviewers < 2 and tier.consensus != "weighted":
            return None
        if self._reliability is None:
            self._reliability = reliability(self.store, self.policy)
        model = said_by_model(item, self.policy) if item.triage.purpose is Purpose.REVIEW else None
        return Weighing(self._reliability, self.policy.kind.text, tier.min_probability, model)


def said_by_model(item: Item, policy: ReviewPolicy) -> Mapping[str, float] | None:
    """How probable the model makes each label, by the calibrated risk that what it says is wrong; None where answers are made of
    several parts. What measures the model is asked without it."""
    if policy.kind.several:
        return None
    said, risk, scores = policy.kind.text(item.prediction.output), item.triage.risk, item.prediction.scores
    rest = {name: scores.get(name, 0.0) for name in policy.labels if name != said}
    total = sum(rest.values())
    if total <= 0:
        rest, total = dict.fromkeys(rest, 1.0), float(len(rest))
    return {said: 1 - risk, **{name: risk * score / total for name, score in rest.items()}}


def reliability(store: AgreementStore, policy: ReviewPolicy) -> Reliability:
    """What past answers to settled items tell of those who gave them."""
    given = store.given(LEARNED_FROM, settled=True)
    if policy.kind.several:
        return learn(told_apart(votes_by_parts(given, policy.kind, policy.labels)), (YES, NO))
    past = votes_of(given, policy.kind.text)
    return learn(told_apart(past), (*policy.labels, NONE_OF_THESE))


def reviewers_report(store: AgreementStore, newcomers: GoldStore, policy: ReviewPolicy, key: bytes) -> ReviewersReport:
    """Reads how things stand; writes nothing.

    Args:
        key: the workspace's, for the draws that said which reviews were blind.
    """
    answers, named = answers_given(store, key), policy.kind.text
    by_project = _grouped(answers, lambda each: f"{each.pool} · {each.tier}")
    by_scenario = _grouped(answers, lambda each: each.scenario or "–")
    return ReviewersReport(
        everybody=everybody(answers, named),
        reviewers=reviewer_lines(answers, named),
        scenarios=scenario_lines(answers, named),
        projects=tuple(_agreement(name, some, policy) for name, some in sorted(by_project.items())),
        agreement=tuple(_agreement(name, some, policy) for name, some in sorted(by_scenario.items())),
        pairs=_pairs(answers, policy)[:_PAIRS],
        gold=len(store.gold()),
        learning=learning(newcomers, policy),
    )


def _agreement(name: str, answers: Sequence[GivenAnswer], policy: ReviewPolicy) -> AgreementLine:
    if policy.kind.several:
        return agreement_by_parts(name, answers, policy.kind, policy.labels)
    return agreement(name, votes_of(answers, policy.kind.text))


def _pairs(answers: Sequence[GivenAnswer], policy: ReviewPolicy) -> tuple[AgreementLine, ...]:
    if policy.kind.several:
        return pairs_by_parts(answers, policy.kind, policy.labels)
    return agreement_by_pair(votes_of(answers, policy.kind.text))


def answers_given(store: AgreementStore, key: bytes, *, only_gold: bool = False) -> list[GivenAnswer]:
    """The newest answers, each with what its author was shown."""
    return [_seen(each, key) for each in store.given(REPORTED, only_gold=only_gold)]


def gold_misses(store: AgreementStore, policy: ReviewPolicy, key: bytes) -> GoldMisses:
    """What gold items tell of misses in blind reviews."""
    return blind_misses(answers_given(store, key, only_gold=True), policy.kind.text)


def _seen(answer: GivenAnswer, key: bytes) -> GivenAnswer:
    if not answer.shown or answer.blind_rate is None:
        return answer
    return replace(answer, shown=blind_draw(key, answer.model_version, answer.item_id) >= answer.blind_rate)


def _grouped(answers: Sequence[GivenAnswer], of: Callable[[GivenAnswer], str]) -> Mapping[str, list[GivenAnswer]]:
    found: dict[str, list[GivenAnswer]] = defaultdict(list)
    for each in answers:
        found[of(each)].append(each)
    return found


# ----------------------------------------------------------------------------------------------------------------- gold


def add_gold(
    store: AgreementStore, ports: GoldPorts, policy: ReviewPolicy, rows: Sequence[Mapping[str, object]], by: str
) -> GoldResult:
    """The true answers of items, by id, whether they have come in yet or not. Rows that hold the whole prediction go into the
    bank, out of which the bridge asks by itself.

    Raises:
        UsageError: a row has no item or an answer that is none of the labels, or its prediction is none; nothing is written then.
    """
    known = dict(_known(number, row, policy) for number, row in enumerate(rows, start=1))
    banked = _banked(ports, rows)
    there = store.gold()
    fresh = {item: output for item, output in known.items() if (item, output) not in there.items()}
    if fresh:
        store.record_gold(fresh, by, ports.clock.now())
    if banked:
        ports.gold.keep(banked, by, ports.clock.now())
    return gold_known(store, ports.gold, added=len(fresh))


def remove_gold(store: AgreementStore, clock: Clock, item_ids: Sequence[str], by: str) -> int:
    """Raises UsageError where none of them is known."""
    removed = store.forget_gold([ItemId(each) for each in item_ids], by, clock.now())
    if not removed:
        raise UsageError("None of these is a gold item.", remedy="`hitl-bridge gold list` tells which are.")
    return removed


def gold_known(store: AgreementStore, bank: GoldStore, added: int = 0) -> GoldResult:
    answered = {each.item_id for each in store.given(REPORTED, only_gold=True)}
    return GoldResult(added, len(store.gold()), len(answered), bank.left())


def _known(number: int, row: Mapping[str, object], policy: ReviewPolicy) -> tuple[ItemId, JSONObject | None]:
    item_id, label, output = row.get("item_id"), row.get("label"), row.get("output")
    if not isinstance(item_id, str) or not item_id or not isinstance(label, str | None) or (label is None) is (output is None):
        raise UsageError(f"Row {number} needs an `item_id` and a `label`.", remedy='Write rows like {"item_id": …, "label": …}.')
    if label == NONE_OF_THESE:
        return ItemId(item_id), None
    known = cast("JSONObject", output) if isinstance(output, dict) else {"label": label}
    problem = policy.kind.output_problem(known, policy.labels)
    if problem is not None:
        raise UsageError(
            f"Row {number}: {problem}.", remedy=f"Use a label of hitl.yaml, or {NONE_OF_THESE!r}. Nothing was written."
        )
    return ItemId(item_id), known


_OURS = ("label", "output", "why")


def _banked(ports: GoldPorts, rows: Sequence[Mapping[str, object]]) -> list[BankedItem]:
    """The rows that can be shown to somebody. Raises UsageError where one is no prediction."""
    found = [(number, row) for number, row in enumerate(rows, start=1) if row.get("input") is not None]
    predictions = [{name: value for name, value in row.items() if name not in _OURS} for _, row in found]
    for problem in ports.check(cast("list[JSON]", predictions)).problems if predictions else ():
        raise UsageError(
            f"Row {found[problem.row - 1][0]} can't be shown to anybody: {problem.reason}.",
            remedy="A row with an `input` is a whole prediction, with what is true of it as its `label`. Nothing was written.",
        )
    return [
        BankedItem(ItemId(str(row["item_id"])), cast("JSONObject", prediction), str(row.get("why") or ""))
        for (_, row), prediction in zip(found, predictions, strict=True)
    ]
