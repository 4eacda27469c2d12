"""What follows from the answers that an item has: a decision, a next round, or waiting.

`settle` looks only at what is there now, so it gives the same result however often it is asked, and an answer that was
edited or deleted after the decision changes or withdraws it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import takewhile

from hitl_bridge.core.deadlines import WorkingHours, shift
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
    Request,
    ReviewTask,
)
from hitl_bridge.core.review.by_parts import Parts, judge_parts
from hitl_bridge.core.review.consensus import ConsensusRule, Same, Weighing, deciding_answers, judge
from hitl_bridge.core.review.demands import Demands, note, whole
from hitl_bridge.core.review.handed_on import (
    CHALLENGED,
    DISPUTED,
    ESCALATED,
    NOT_THEIRS,
    OVERTURNED,
    ReviewTerms,
    aside,
    asks,
    challenges,
    to_adjudicator,
    to_reviewers,
)

ANSWERS_DO_NOT_COUNT = "the answers given do not count; asked again"
"""Why an item gets a next round in the same tier."""

ONE_MORE = "the answers agree too little; one more reviewer is asked"
"""Why it gets one with a further reviewer."""


@dataclass(frozen=True, slots=True)
class SettlePolicy:
    """How answers to an item are settled: those who may decide, how many are due, by which rule, and what each must come with;
    within what time a dispute is adjudicated, and to which tier an adjudicator may return the item (None: to none).

    A task of the round has `seats` (0: as many as are due). Where the answers agree too little one more reviewer is asked, `most`
    in all (0: nobody). With `weighing` a consensus has a probability. With `parts` answers are agreed upon part by part.
    """

    eligible: Collection[str]
    needed: int
    rule: ConsensusRule
    adjudication_sla: timedelta
    demands: Demands = field(default_factory=Demands)
    returns_to: ReviewTerms | None = None
    seats: int = 0
    most: int = 0
    weighing: Weighing | None = None
    parts: Parts | None = None
    hours: WorkingHours | None = None

    def adjudicated_by(self, now: datetime) -> datetime:
        """When an adjudicator's answer is due; time is counted by `hours`."""
        return shift(now, self.adjudication_sla, self.hours)


@dataclass(frozen=True, slots=True)
class Settled:
    """The outcome of settling: `agreement`, the item's new state, and a decision or the item as queued for its next round.

    `escalated` marks a next round that is due by rule (a blind review that overturned the model) or was asked for by a reviewer,
    not by dispute; `asked_again` one with the reviewers, because the answers of this round do not count and no further one can
    come, or because an adjudicator returned the item; `added` one with a further reviewer, as the answers agree too little.
    """

    agreement: Agreement
    state: ItemState
    decision: Decision | None = None
    next_round: Item | None = None
    escalated: bool = False
    asked_again: bool = False
    reason: str = ""
    added: bool = False


@dataclass(frozen=True, slots=True)
class Given:
    """What was answered to an item's question, the revision in force of each annotation: in the `present` round, and in the
    `earlier` rounds that asked the same. `elsewhere` are the answers of all other rounds, `deleted` those there whose annotation
    was deleted since, as they last were."""

    present: tuple[Annotation, ...]
    earlier: tuple[Annotation, ...] = ()
    elsewhere: tuple[Annotation, ...] = ()
    deleted: tuple[Annotation, ...] = ()


def asked_alike(item: Item, tasks: Sequence[ReviewTask]) -> frozenset[PushKey]:
    """Of `tasks` (the item's) those of earlier rounds that asked what the present round asks: back to where the item last
    came into its tier. What was answered there is an answer to the present question, late or not believed at first."""
    before = sorted((task for task in tasks if task.round < item.round), key=lambda task: task.round, reverse=True)
    return frozenset(task.push_key for task in takewhile(lambda task: task.project_key.tier == item.route.tier, before))


def settle(item: Item, given: Given, standing: Decision | None, policy: SettlePolicy,
           same: Same, now: datetime) -> Settled:  # fmt: skip
    """Settles `item` by all the answers to its present question; each person's latest counts, once, if it lacks nothing that
    the tier asks for.

    Args:
        standing: the decision that holds now, if any.
        same: whether two outputs say the same, by value.
    """
    left_out = aside(item, standing, given.elsewhere, given.deleted).left_out(policy.eligible, policy.needed)
    answers = _counting(item, given, standing, left_out, policy)
    handed_on = _handed_on(item, given, standing, answers, policy, now)
    if handed_on is not None:
        return handed_on
    judged = tuple(each for each in answers if each.answer is not None and each.answer.request is None)
    consensus = _consensus(judged, policy, same)
    if consensus.agreement is Agreement.AGREED and not _overturns_model(item, consensus, same):
        return _decided(item, consensus, _supported(standing, given), same, now)
    withdrawal = None if _holds_meanwhile(item, standing, given) else _withdrawal(standing, now)
    if consensus.agreement is Agreement.INCOMPLETE and _seats_are_used_up(given.present, _seats(policy)):
        lacks = note(given.present, policy.demands) or _not_theirs(given, left_out)
        route = replace(item.route, note=lacks or item.route.note)
        following = replace(item, state=ItemState.QUEUED, round=item.round + 1, route=route)
        return Settled(
            Agreement.INCOMPLETE, ItemState.QUEUED, withdrawal, following, asked_again=True, reason=lacks or ANSWERS_DO_NOT_COUNT
        )
    if consensus.agreement is Agreement.INCOMPLETE or item.route.tier == ADJUDICATION:
        state = ItemState.ANSWERED if answers else ItemState.PUSHED
        return Settled(consensus.agreement, state, withdrawal, reason=consensus.reason)
    escalated = consensus.agreement is Agreement.AGREED
    if not escalated and max(policy.needed, len(judged)) < policy.most:
        following = _one_more(item, len(judged), policy)
        return Settled(Agreement.INCOMPLETE, ItemState.QUEUED, withdrawal, following, reason=ONE_MORE, added=True)
    reason = "a blind review disagrees with the model" if escalated else consensus.reason
    next_round = to_adjudicator(item, policy.adjudicated_by(now), OVERTURNED if escalated else DISPUTED)
    return Settled(Agreement.DISPUTED, ItemState.QUEUED, withdrawal, next_round, escalated, reason=reason)


def _consensus(answers: Sequence[Annotation], policy: SettlePolicy, same: Same) -> Consensus:
    if policy.parts is not None:
        return judge_parts(answers, policy.rule, policy.needed, policy.parts, policy.weighing)
    return judge(answers, policy.rule, policy.needed, same, policy.weighing)


def _seats(policy: SettlePolicy) -> int:
    return min(policy.needed, policy.seats or policy.needed)


def _one_more(item: Item, answers: int, policy: SettlePolicy) -> Item:
    """The next round asks the same, and nothing on its page tells that others disagree."""
    route = replace(item.route, reviewers=max(policy.needed, answers) + 1, note="")
    return replace(item, state=ItemState.QUEUED, round=item.round + 1, route=route)


def _counting(
    item: Item, given: Given, standing: Decision | None, left_out: Collection[str], policy: SettlePolicy
) -> tuple[Annotation, ...]:
    """The answers that count. Those who leave the round to others are not heard, but for what was decided before others came."""
    answers = whole(deciding_answers((*given.earlier, *given.present), policy.eligible), policy.demands)
    return tuple(each for each in answers if each.reviewer not in left_out or _is_behind(standing, item, each))


def _is_behind(standing: Decision | None, item: Item, answer: Annotation) -> bool:
    """Whether the decision of this very round rests on that answer: who joins later does not undo it."""
    made_now = standing is not None and standing.op is not Op.REMOVE and standing.round == item.round
    return standing is not None and made_now and _named(answer.key) in {_named(key) for key in standing.annotations}


def _not_theirs(given: Given, left_out: Collection[str]) -> str:
    """For those who are asked again, where somebody answered who leaves the round to others."""
    answered = any(each.state is AnnotationState.ANSWER and each.reviewer in left_out for each in given.present)
    return NOT_THEIRS if answered else ""


def _handed_on(
    item: Item, given: Given, standing: Decision | None, answers: Sequence[Annotation], policy: SettlePolicy, now: datetime
) -> Settled | None:
    """What follows where a person hands the item on in place of settling it; None if nobody does."""
    due_at = policy.adjudicated_by(now)
    if item.route.tier != ADJUDICATION:
        if not asks(answers, Request.ESCALATE):
            return None
        withdrawal = None if _stands_untouched(standing, given) else _withdrawal(standing, now)
        why = ESCALATED if standing is None or standing.op is Op.REMOVE else CHALLENGED
        following = to_adjudicator(item, due_at, why)
        return Settled(Agreement.DISPUTED, ItemState.QUEUED, withdrawal, following, escalated=True, reason=why)
    if challenges(item, standing, given.elsewhere):
        following = to_adjudicator(item, due_at, CHALLENGED)
        return Settled(Agreement.DISPUTED, ItemState.QUEUED, None, following, escalated=True, reason=CHALLENGED)
    returned = asks(answers, Request.RETURN)
    if returned and policy.returns_to is not None:
        following, withdrawal = to_reviewers(item, policy.returns_to, returned[-1], now), _withdrawal(standing, now)
        said = "returned for correction"
        return Settled(Agreement.INCOMPLETE, ItemState.QUEUED, withdrawal, following, asked_again=True, reason=said)
    return None


def _stands_untouched(standing: Decision | None, given: Given) -> bool:
    """Whether every answer behind the decision is there as it was."""
    there = {each.key for each in (*given.earlier, *given.present, *given.elsewhere)}
    return standing is not None and set(standing.annotations) <= there


def _holds_meanwhile(item: Item, standing: Decision | None, given: Given) -> bool:
    """Whether a decision that was challenged holds until an adjudicator has spoken."""
    there = {_named(each.key) for each in (*given.earlier, *given.present, *given.elsewhere)}
    challenged = standing is not None and item.route.tier == ADJUDICATION and standing.round < item.round
    return standing is not None and challenged and {_named(key) for key in standing.annotations} <= there


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
        reason_codes=answer.reason_codes,
        probability=consensus.probability,
        scenario=_scenario(consensus.behind),
    )
    if before is not None and holds and before.is_supported and _says_the_same(fresh, before.decision, same):
        state = item.state if item.state in (ItemState.DECIDED, ItemState.COMMITTED) else ItemState.DECIDED
        return Settled(Agreement.AGREED, state, reason=consensus.reason)
    return Settled(Agreement.AGREED, ItemState.DECIDED, fresh, reason=consensus.reason)


def _scenario(behind: Sequence[Annotation]) -> str | None:
    """What most of those say who say anything of it; None where that is nobody, or they are divided."""
    said = Counter(each.answer.scenario for each in behind if each.answer is not None and each.answer.scenario)
    ranked = said.most_common(2)
    divided = len(ranked) == 2 and ranked[0][1] == ranked[1][1]
    return None if divided or not ranked else ranked[0][0]


def outcome(answer: Answer, predicted: JSONObject, same: Same) -> Outcome:
    """Compared with the prediction that was sent, by value: what a page calls 'changed' is not to be trusted. Where no model said
    anything (an empty mapping), there is nothing to accept."""
    if answer.rejects:
        return Outcome.REJECTED
    return Outcome.ACCEPTED if predicted and same(answer.output, predicted) else Outcome.CORRECTED


def _says_the_same(fresh: Decision, standing: Decision, same: Same) -> bool:
    return (
        fresh.outcome is standing.outcome
        and same(fresh.output, standing.output)
        and fresh.rationale == standing.rationale
        and fresh.reason_codes == standing.reason_codes
        and fresh.scenario == standing.scenario
        and set(fresh.reviewers) == set(standing.reviewers)
    )


def _withdrawal(standing: Decision | None, now: datetime) -> Decision | None:
    """Takes back a decision whose answers no longer support it."""
    if standing is None or standing.op is Op.REMOVE:
        return None
    return replace(standing, seq=standing.seq + 1, op=Op.REMOVE, output=None, rationale="", decided_at=now)
