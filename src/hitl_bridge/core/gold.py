"""Items whose answer is known and that the bridge asks by itself: mixed in unseen among the others, or for somebody to learn by.

Nothing is decided on them and nothing of them goes into a dataset: what is true of them is known. Each ends as soon as it is
answered. They tell how often people are right in every tier, while what triage sends to people are the doubtful items alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from hitl_bridge.core import draws
from hitl_bridge.core.model import (
    Agreement,
    AnnotationState,
    BatchId,
    Item,
    ItemId,
    ItemState,
    JSONObject,
    Prediction,
    Purpose,
    Route,
    Split,
    Triage,
)
from hitl_bridge.core.review.consensus import Same, deciding_answers
from hitl_bridge.core.review.settle import Given, Settled, SettlePolicy
from hitl_bridge.core.routing import Tier, blind_draw, priority, with_blind_draw
from hitl_bridge.core.task_types import TaskType
from hitl_bridge.core.triage import reasons

MIXED_IN, TRAINING = "gold-", "training-"
"""How the batches of such items begin."""

ANSWERED = "its answer is known; nothing is decided"
LEARNING = "You are learning: the answer to this item is known, and nothing is decided by yours"

_RULE = "gold"
"""In place of a rule: such an item never waits for room in the review budget."""

_FIRST = 1
_FOREVER = timedelta(days=3_650)
"""Nobody is late with what they learn by."""


@dataclass(frozen=True, slots=True)
class GoldTerms:
    """Beside this `share` of the items that people are sent, one whose answer is known is mixed in. A newcomer answers
    `onboarding` of them first (0: nobody has to), and counts once the share `passing` of the newest so many was right."""

    share: float = 0.05
    onboarding: int = 0
    passing: float = 0.8


@dataclass(frozen=True, slots=True)
class KnownItem:
    """A gold item with all that it takes to show it: what the model says of it, and where today's policy would send it. `reason`
    is the sentence of its triage, None where nobody would see it: then it is shown as audits are."""

    prediction: Prediction
    pool: str
    tier: str
    risk: float
    policy_version: str
    reason: str | None = None

    @property
    def item_id(self) -> ItemId:
        return self.prediction.item_id


@dataclass(frozen=True, slots=True)
class Known:
    """The true answer of an item (None: no label fits), and what a learner is told of it."""

    output: JSONObject | None
    why: str = ""


def is_gold(item: Item) -> bool:
    """Whether the bridge asks it by itself, and nothing is decided on it."""
    return item.batch_id.startswith((MIXED_IN, TRAINING))


def is_training(item: Item) -> bool:
    return item.batch_id.startswith(TRAINING)


def name(item: Item) -> str:
    return f"{item.item_id}#{item.revision}"


def learner(item: Item) -> str:
    """Who learns by it, by e-mail: it lies in a project of their own."""
    return item.route.pool.partition("/")[2]


# ------------------------------------------------------------------------------------------------------------- mixed in


def due_beside(key: bytes, queued: Iterable[Item], share: float) -> list[Item]:
    """The reviews beside which a known item is due, by keyed draw: asking again gives the same."""
    fresh = [each for each in queued if each.round == _FIRST and each.triage.purpose is Purpose.REVIEW and not is_gold(each)]
    return [item for item in fresh if draws.draw(key, "gold", item.prediction.model_version, name(item)) < share]


def paired(key: bytes, due: Sequence[Item], bank: Sequence[KnownItem]) -> list[tuple[Item, KnownItem]]:
    """Each of `due` with a known item of its pool, of the same tier if there is one; each known item once, in an order of chance.
    Those for which none is left are missing."""
    waiting: dict[str, list[KnownItem]] = {}
    for known in sorted(bank, key=lambda each: draws.draw(key, "gold order", "", each.item_id)):
        waiting.setdefault(known.pool, []).append(known)
    pairs = []
    for item in due:
        there = waiting.get(item.route.pool, [])
        fitting = next((each for each in there if each.tier == item.route.tier), there[0] if there else None)
        if fitting is not None:
            there.remove(fitting)
            pairs.append((item, fitting))
    return pairs


def mixed_in(known: KnownItem, beside: Item, tier: Tier, batch_id: BatchId, now: datetime, key: bytes) -> Item:
    """`known` as an item that looks like its neighbour: same pool, tier and deadline; blind by the tier's own draw, or as an
    audit where triage would have shown it to nobody."""
    said, alone = known.prediction, known.reason is None
    triage = _triage(known, tier.name, known.reason or reasons.BLIND)
    risk = draws.draw(key, "order", said.model_version, said.item_id) if alone else known.risk
    at = priority(beside.route.due_at, risk, by_rule=False)
    route = replace(beside.route, reviewers=tier.reviewers, priority=at, blind=alone, note="")
    if tier.blind and not alone:
        triage, route = with_blind_draw(triage, route, tier.blind, blind_draw(key, said.model_version, said.item_id))
    return _item(said, triage, route, batch_id, now)


def _triage(known: KnownItem, tier: str, reason: str) -> Triage:
    """Never drawn at random among the traffic: it measures people, and nothing else."""
    return Triage(tier, known.risk, reason, Purpose.REVIEW, Split.TRAIN, known.policy_version, 0.0, 0.0, rule=_RULE)


def _item(prediction: Prediction, triage: Triage, route: Route, batch_id: BatchId, now: datetime) -> Item:
    return Item(prediction.item_id, _FIRST, ItemState.QUEUED, _FIRST, prediction, triage, route, batch_id, now)


def settle_mixed_in(item: Item, given: Given, policy: SettlePolicy) -> Settled:
    """It has served its purpose once as many have answered as were asked; nothing is decided."""
    answers = deciding_answers((*given.earlier, *given.present), policy.eligible)
    seated = [each for each in given.present if each.state in (AnnotationState.ANSWER, AnnotationState.QUARANTINED)]
    if len(answers) >= policy.needed or len(seated) >= max(1, min(policy.needed, policy.seats or policy.needed)):
        return Settled(Agreement.AGREED, ItemState.WITHDRAWN, reason=ANSWERED)
    return Settled(Agreement.INCOMPLETE, ItemState.ANSWERED if seated else ItemState.PUSHED)


# ------------------------------------------------------------------------------------------------------------- learning


@dataclass(frozen=True, slots=True)
class FirstAnswer:
    """What a learner said of an item before they were told what is true of it (`known`). Who asked for an adjudicator said
    nothing (`asked`)."""

    said: JSONObject | None
    known: JSONObject | None
    asked: bool = False

    def is_right(self, same: Same) -> bool:
        return not self.asked and same(self.said, self.known)


@dataclass(frozen=True, slots=True)
class Learner:
    """Somebody new in a pool: the known items that were given to them, how many of them are `open`, and their answers to the
    others, the newest last."""

    pool: str
    person: str
    since: datetime
    given: frozenset[str] = frozenset()
    open: int = 0
    answers: tuple[FirstAnswer, ...] = ()

    def has_passed(self, terms: GoldTerms, there: int, same: Same) -> bool:
        """Whether their answers count from now on; `there` is how many known items their pool has."""
        needed = min(terms.onboarding, there)
        newest = self.answers[-needed:] if needed else ()
        return len(newest) == needed > 0 and sum(each.is_right(same) for each in newest) >= terms.passing * needed


def next_lessons(key: bytes, pupil: Learner, bank: Sequence[KnownItem], terms: GoldTerms) -> list[KnownItem]:
    """What a learner is given now: at first as many as they need, then a quarter of that at a time, none twice. All of a pool
    learn in one order: what somebody was told is not mixed in any more, and the rest of the bank is left for that."""
    if pupil.open:
        return []
    many = max(1, terms.onboarding // 4) if pupil.given else terms.onboarding
    fresh = [each for each in bank if each.pool == pupil.pool and each.item_id not in pupil.given]
    return sorted(fresh, key=lambda each: draws.draw(key, "lesson", pupil.pool, each.item_id))[:many]


def lesson(known: KnownItem, pupil: Learner, tier: Tier, batch_id: BatchId, now: datetime, key: bytes) -> Item:
    """A copy of `known` in a project of the learner's own."""
    copy = ItemId(TRAINING + draws.digest(key, "lesson", pupil.pool, pupil.person, known.item_id)[:16])
    route = Route(
        pool=f"{pupil.pool}/{pupil.person}",
        tier=tier.name,
        reviewers=1,
        due_at=now + _FOREVER,
        priority=priority(now + tier.sla, known.risk, by_rule=False),
        blind=False,
        reason=LEARNING,
    )
    return _item(replace(known.prediction, item_id=copy), _triage(known, tier.name, LEARNING), route, batch_id, now)


def settle_lesson(item: Item, given: Given, known: Known, kind: TaskType) -> Settled:
    """A right answer ends it; a wrong one brings it back once, with what would have been right."""
    answers = deciding_answers(given.present, frozenset({learner(item)}))
    said = answers[-1].answer if answers else None
    if said is None:
        return Settled(Agreement.INCOMPLETE, ItemState.PUSHED)
    right = said.request is None and kind.same(said.output, known.output)
    if right or item.round > _FIRST:
        return Settled(Agreement.AGREED, ItemState.WITHDRAWN, reason=ANSWERED)
    told = "You asked for an adjudicator" if said.request is not None else f"You answered “{kind.text(said.output)}”"
    note = f"{told}; right is “{kind.text(known.output)}”. {known.why}".strip()
    route = replace(item.route, note=note)
    following = replace(item, state=ItemState.QUEUED, round=item.round + 1, route=route)
    return Settled(Agreement.INCOMPLETE, ItemState.QUEUED, None, following, reason="answered wrongly; told what is right")


Newcomers = Mapping[str, Mapping[str, datetime | None]]
"""By pool and person: from when on their answers count; None: not yet."""
