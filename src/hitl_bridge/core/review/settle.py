"""What follows from the answers that an item has: a decision, a next round, or waiting.

`settle` looks only at what is there now, so it gives the same result however often it is asked, and an answer that was
edited or deleted after the decision changes or withdraws it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import takewhile

from hitl_bridge.core.model import (
    ADJUDICATION,
    Agreement,
    Annotation,
    AnnotationState,
    Answer,
    Consensus,
    Decision,
    Item,
    ItemState,
    JSONObject,
    Op,
    Outcome,
    Purpose,
    PushKey,
    ReviewTask,
    Route,
)
from hitl_bridge.core.review.consensus import ConsensusRule, Same, deciding_answers, judge

ANSWERS_DO_NOT_COUNT = "the answers given do not count; asked again"
"""Why an item gets a next round in the same tier."""


@dataclass(frozen=True, slots=True)
class SettlePolicy:
    """How answers to an item are settled: those who may decide, how many are due, by which rule; and for a dispute, who
    adjudicates within what time."""

    eligible: Collection[str]
    needed: int
    rule: ConsensusRule
    adjudication_sla: timedelta


@dataclass(frozen=True, slots=True)
class Settled:
    """The outcome of settling: `agreement`, the item's new state, and a decision or the item as queued for its next round.

    `escalated` marks a next round that is due by rule (a blind review that overturned the model), not by dispute; `asked_again`
    one in the same tier, because the answers of this round do not count and no further one can come.
    """

    agreement: Agreement
    state: ItemState
    decision: Decision | None = None
    next_round: Item | None = None
    escalated: bool = False
    asked_again: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Given:
    """What was answered to an item's question, the revision in force of each annotation: in the `present` round, and in the
    `earlier` rounds that asked the same."""

    present: tuple[Annotation, ...]
    earlier: tuple[Annotation, ...] = ()


def asked_alike(item: Item, tasks: Sequence[ReviewTask]) -> frozenset[PushKey]:
    """Of `tasks` (the item's) those of earlier rounds that asked what the present round asks: back to where the item last
    came into its tier. What was answered there is an answer to the present question, late or not believed at first."""
    before = sorted((task for task in tasks if task.round < item.round), key=lambda task: task.round, reverse=True)
    return frozenset(task.push_key for task in takewhile(lambda task: task.project_key.tier == item.route.tier, before))


def settle(item: Item, given: Given, standing: Decision | None, policy: SettlePolicy,
           same: Same, now: datetime) -> Settled:  # fmt: skip
    """Settles `item` by all the answers to its present question; each person's latest counts, once.

    Args:
        standing: the decision that holds now, if any.
        same: whether two outputs say the same, by value.
    """
    answers = deciding_answers((*given.earlier, *given.present), policy.eligible)
    consensus = judge(answers, policy.rule, policy.needed, same)
    if consensus.agreement is Agreement.AGREED and not _overturns_model(item, consensus, same):
        return _decided(item, consensus, _supported(standing, given), same, now)
    withdrawal = _withdrawal(standing, now)
    if consensus.agreement is Agreement.INCOMPLETE and _seats_are_used_up(given.present, policy.needed):
        following = replace(item, state=ItemState.QUEUED, round=item.round + 1)
        return Settled(
            Agreement.INCOMPLETE, ItemState.QUEUED, withdrawal, following, asked_again=True, reason=ANSWERS_DO_NOT_COUNT
        )
    if consensus.agreement is Agreement.INCOMPLETE or item.route.tier == ADJUDICATION:
        state = ItemState.ANSWERED if answers else ItemState.PUSHED
        return Settled(consensus.agreement, state, withdrawal, reason=consensus.reason)
    escalated = consensus.agreement is Agreement.AGREED
    reason = "a blind review disagrees with the model" if escalated else consensus.reason
    next_round = _for_adjudication(item, now + policy.adjudication_sla, escalated=escalated)
    return Settled(Agreement.DISPUTED, ItemState.QUEUED, withdrawal, next_round, escalated, reason=reason)


def _seats_are_used_up(annotations: Sequence[Annotation], needed: int) -> bool:
    """Whether the labeling service has had all the annotations it asks for in this round: it shows the task to nobody else.

    It counts what we can't: a second answer of one person, an answer from outside the pool, one in quarantine.
    """
    taken = [each for each in annotations if each.state in (AnnotationState.ANSWER, AnnotationState.QUARANTINED)]
    return len(taken) >= max(1, needed)


def _overturns_model(item: Item, consensus: Consensus, same: Same) -> bool:
    """A blind look that says the model was wrong counts only after an adjudicator has agreed: reviewers err too, and where the
    model seldom does, most of what they call wrong is their own mistake."""
    if item.triage.purpose is Purpose.REVIEW or item.route.tier == ADJUDICATION or consensus.answer is None:
        return False
    return not same(consensus.answer.output, item.prediction.output)


@dataclass(frozen=True, slots=True)
class _Standing:
    """The decision that was made before, and whether each answer that it names is still given."""

    decision: Decision
    is_supported: bool


def _supported(standing: Decision | None, given: Given) -> _Standing | None:
    there = {_named(each.key) for each in (*given.earlier, *given.present)}
    return None if standing is None else _Standing(standing, {_named(key) for key in standing.annotations} <= there)


def _named(annotation_key: str) -> str:
    """The annotation that a key names, whichever of its revisions."""
    return annotation_key.partition("@")[0]


def _decided(item: Item, consensus: Consensus, before: _Standing | None, same: Same, now: datetime) -> Settled:
    standing = None if before is None else before.decision
    answer = consensus.answer
    assert answer is not None  # noqa: S101  (AGREED always carries one)
    holds = standing is not None and standing.op is not Op.REMOVE
    fresh = Decision(
        item_id=item.item_id,
        revision=item.revision,
        seq=standing.seq + 1 if standing else 0,
        op=Op.CHANGE if holds else Op.ADD,
        outcome=outcome(answer, item.prediction.output, same),
        output=answer.output,
        rationale=answer.rationale,
        reviewers=tuple(annotation.reviewer for annotation in consensus.behind),
        annotations=tuple(annotation.key for annotation in consensus.behind),
        agreement=consensus.share,
        round=item.round,
        decided_at=now,
    )
    if before is not None and holds and before.is_supported and _says_the_same(fresh, before.decision, same):
        state = item.state if item.state in (ItemState.DECIDED, ItemState.COMMITTED) else ItemState.DECIDED
        return Settled(Agreement.AGREED, state, reason=consensus.reason)
    return Settled(Agreement.AGREED, ItemState.DECIDED, fresh, reason=consensus.reason)


def outcome(answer: Answer, predicted: JSONObject, same: Same) -> Outcome:
    """Compared with the prediction that was sent, by value: what a page calls 'changed' is not to be trusted."""
    if answer.rejects:
        return Outcome.REJECTED
    return Outcome.ACCEPTED if same(answer.output, predicted) else Outcome.CORRECTED


def _says_the_same(fresh: Decision, standing: Decision, same: Same) -> bool:
    return (
        fresh.outcome is standing.outcome
        and same(fresh.output, standing.output)
        and fresh.rationale == standing.rationale
        and set(fresh.reviewers) == set(standing.reviewers)
    )


def _withdrawal(standing: Decision | None, now: datetime) -> Decision | None:
    """Takes back a decision whose answers no longer support it."""
    if standing is None or standing.op is Op.REMOVE:
        return None
    return replace(standing, seq=standing.seq + 1, op=Op.REMOVE, output=None, rationale="", decided_at=now)


def _for_adjudication(item: Item, due_at: datetime, *, escalated: bool) -> Item:
    why = "A check of this item disagrees with the model." if escalated else "Reviewers disagree on this item."
    route = Route(
        pool=item.route.pool,
        tier=ADJUDICATION,
        reviewers=1,
        due_at=due_at,
        priority=item.route.priority,
        blind=False,
        reason=f"{why} Please settle it, seeing all the answers.",
    )
    return replace(item, state=ItemState.QUEUED, round=item.round + 1, route=route)
