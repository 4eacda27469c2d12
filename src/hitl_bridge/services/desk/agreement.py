"""How far people agree, how often they are right, and what showing them the model's answer does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from hitl_bridge.core.model import NONE_OF_THESE, ItemId, JSONObject
from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.core.review.consensus import Weighing
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
from hitl_bridge.ports import AgreementStore, Clock

LEARNED_FROM = 20_000
"""So many of the newest answers tell how reliable people are: enough to know them, and read in a fraction of a second."""

REPORTED = 200_000
_PAIRS = 50


@dataclass(frozen=True, slots=True)
class ReviewersReport:
    """What the newest answers tell: everybody together, each person, each scenario; and how far they agree, by project (pool and
    tier), scenario and pair. `gold` items have a known answer."""

    everybody: ReviewerLine
    reviewers: tuple[ReviewerLine, ...]
    scenarios: tuple[ReviewerLine, ...]
    projects: tuple[AgreementLine, ...]
    agreement: tuple[AgreementLine, ...]
    pairs: tuple[AgreementLine, ...]
    gold: int

    @property
    def notices(self) -> tuple[str, ...]:
        return tuple(f"{line.name} {said}" for line in self.reviewers for said in line.notices)


@dataclass(frozen=True, slots=True)
class GoldResult:
    """Items whose answer is known from now on (`added`), in all (`known`), and how many of these somebody has answered."""

    added: int
    known: int
    answered: int


@dataclass(slots=True)
class LearnedWeighing:
    """What the answers of a tier are weighed by. The record of past answers is read when it is first asked for, and once."""

    store: AgreementStore
    policy: ReviewPolicy
    _reliability: Reliability | None = None

    def of(self, tier: Tier, reviewers: int) -> Weighing | None:
        """None where one person's word settles: there is nothing to weigh."""
        if reviewers < 2 and tier.consensus != "weighted":
            return None
        if self._reliability is None:
            self._reliability = reliability(self.store, self.policy)
        return Weighing(self._reliability, self.policy.kind.text, tier.min_probability)


def reliability(store: AgreementStore, policy: ReviewPolicy) -> Reliability:
    """What past answers to settled items tell of those who gave them."""
    past = votes_of(store.given(LEARNED_FROM, settled=True), policy.kind.text)
    return learn(told_apart(past), (*policy.labels, NONE_OF_THESE))


def reviewers_report(store: AgreementStore, policy: ReviewPolicy, key: bytes) -> ReviewersReport:
    """Reads how things stand; writes nothing.

    Args:
        key: the workspace's, for the draws that said which reviews were blind.
    """
    answers, named = answers_given(store, key), policy.kind.text
    by_project = _grouped(answers, lambda each: f"{each.pool} · {each.tier}")
    by_scenario = _grouped(answers, lambda each: each.scenario or "–")
    said = votes_of(answers, named)
    return ReviewersReport(
        everybody=everybody(answers, named),
        reviewers=reviewer_lines(answers, named),
        scenarios=scenario_lines(answers, named),
        projects=tuple(agreement(name, votes_of(some, named)) for name, some in sorted(by_project.items())),
        agreement=tuple(agreement(name, votes_of(some, named)) for name, some in sorted(by_scenario.items())),
        pairs=agreement_by_pair(said)[:_PAIRS],
        gold=len(store.gold()),
    )


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
    store: AgreementStore, policy: ReviewPolicy, clock: Clock, rows: Sequence[Mapping[str, object]], by: str
) -> GoldResult:
    """The true answers of items, by id, whether they have come in yet or not.

    Raises:
        UsageError: a row has no item or an answer that is none of the labels; nothing is written then.
    """
    known = dict(_known(number, row, policy) for number, row in enumerate(rows, start=1))
    fresh = {item: output for item, output in known.items() if (item, output) not in store.gold().items()}
    if fresh:
        store.record_gold(fresh, by, clock.now())
    return gold_known(store, added=len(fresh))


def remove_gold(store: AgreementStore, clock: Clock, item_ids: Sequence[str], by: str) -> int:
    """Raises UsageError where none of them is known."""
    removed = store.forget_gold([ItemId(each) for each in item_ids], by, clock.now())
    if not removed:
        raise UsageError("None of these is a gold item.", remedy="`hitl-bridge gold list` tells which are.")
    return removed


def gold_known(store: AgreementStore, added: int = 0) -> GoldResult:
    answered = {each.item_id for each in store.given(REPORTED, only_gold=True)}
    return GoldResult(added, len(store.gold()), len(answered))


def _known(number: int, row: Mapping[str, object], policy: ReviewPolicy) -> tuple[ItemId, JSONObject | None]:
    item_id, label = row.get("item_id"), row.get("label")
    if not isinstance(item_id, str) or not item_id or not isinstance(label, str):
        raise UsageError(f"Row {number} needs an `item_id` and a `label`.", remedy='Write rows like {"item_id": …, "label": …}.')
    if label == NONE_OF_THESE:
        return ItemId(item_id), None
    output = {"label": label}
    problem = policy.kind.output_problem(output, policy.labels)
    if problem is not None:
        raise UsageError(
            f"Row {number}: {problem}.", remedy=f"Use a label of hitl.yaml, or {NONE_OF_THESE!r}. Nothing was written."
        )
    return ItemId(item_id), output
