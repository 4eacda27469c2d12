"""What a tier asks of an answer, and where an item goes that is handed on."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from hitl_bridge.core.model import ADJUDICATION, Annotation, AnnotationId, Answer, Item, ItemState, Op, Request
from hitl_bridge.core.review.consensus import ConsensusRule
from hitl_bridge.core.review.demands import Demands, lacking
from hitl_bridge.core.review.handed_on import CHALLENGED, ESCALATED, ReviewTerms
from hitl_bridge.core.review.settle import Given, SettlePolicy, settle
from hitl_bridge.core.sync import read_answer
from hitl_bridge.core.task_types import task_type
from hitl_bridge.core.task_types.controls import ESCALATE, LABEL_IS_MISSING, RETURN
from tests.core.examples import LABELS, NOW, an_annotation, an_item

KIND = task_type("text-classification")
ONE = SettlePolicy(frozenset(), 1, ConsensusRule.SINGLE, timedelta(hours=24))
ASKS = Demands(rationale=True, checklist=("read it", "checked it"), reasons=("a word",))
REFUND = {"label": "refund"}


def asked(by: str, request: Request, why: str = "", at: str = "2026-11-22T10:05:00.000000Z", number: int = 1) -> Annotation:
    return replace(an_annotation(by, annotation_id=number, updated_at=at), answer=Answer(None, why, request=request))


def adjudicated(number: int = 2) -> Item:
    item = an_item()
    return replace(item, round=number, route=replace(item.route, tier=ADJUDICATION))


@pytest.mark.parametrize(
    ("answer", "missing"),
    [
        (Answer(REFUND, "why", ("read it", "checked it"), reason_codes=("a word",)), ()),
        (Answer(REFUND, "", ("checked it",)), ("the reason in words", "the tick at “read it”", "what tells you")),
        (Answer(None, "why", ("read it", "checked it")), ("why no label fits",)),
        (Answer(None, "why", ("read it", "checked it"), None, (LABEL_IS_MISSING,)), ("the name of the missing label",)),
        (Answer(None, "", request=Request.ESCALATE), ("the reason in words",)),
        (Answer(None, "why", request=Request.ESCALATE), ()),
    ],
)
def test_what_an_answer_lacks_is_named(answer: Answer, missing: tuple[str, ...]) -> None:
    assert lacking(answer, ASKS) == missing
    assert lacking(answer, Demands()) == tuple(each for each in missing if "missing label" in each)


def test_an_answer_that_lacks_something_is_asked_again_with_a_note_and_counts_once_it_is_whole() -> None:
    policy = replace(ONE, demands=Demands(rationale=True))
    settled = settle(an_item(), Given((an_annotation(),)), None, policy, KIND.same, NOW)
    assert (settled.decision, settled.asked_again) == (None, True)
    assert settled.next_round is not None
    assert settled.next_round.route.note == "Asked again, because an answer came without the reason in words."
    whole = an_annotation(rationale="They ask for it.")
    assert settle(settled.next_round, Given((), (whole,)), None, policy, KIND.same, NOW).decision is not None


def test_one_reviewer_s_plea_is_enough_for_an_adjudicator_who_is_someone_else() -> None:
    two = replace(ONE, needed=2, rule=ConsensusRule.UNANIMOUS, eligible=frozenset({"ana", "ben"}))
    plea = asked("ana", Request.ESCALATE)
    settled = settle(an_item(), Given((plea,)), None, two, KIND.same, NOW)
    assert settled.escalated
    assert settled.next_round is not None
    assert settled.next_round.route.reason.startswith(ESCALATED)
    one = replace(ONE, eligible=frozenset({"ana", "ben"}))
    hers = settle(settled.next_round, Given((an_annotation("ana"),), (), (plea,)), None, one, KIND.same, NOW)
    assert hers.decision is None
    his = settle(settled.next_round, Given((an_annotation("ben"),), (), (plea,)), None, one, KIND.same, NOW)
    assert his.decision is not None
    alone = replace(ONE, eligible=frozenset({"ana"}))  # there is nobody else
    assert settle(settled.next_round, Given((an_annotation("ana"),), (), (plea,)), None, alone, KIND.same, NOW).decision


def test_an_adjudicator_returns_an_item_to_the_tier_that_it_came_from() -> None:
    policy = replace(ONE, returns_to=ReviewTerms("comprehensive", 2, timedelta(hours=8)))
    returned = asked("dee", Request.RETURN, "Read the second page, too.")
    settled = settle(adjudicated(), Given((returned,)), None, policy, KIND.same, NOW)
    assert settled.next_round is not None
    route = settled.next_round.route
    assert (settled.next_round.round, route.tier, route.reviewers, route.due_at) == (
        3,
        "comprehensive",
        2,
        NOW + timedelta(hours=8),
    )
    assert route.note == "Returned for correction: Read the second page, too."
    # The answers of before are answers to an earlier question.
    again = settle(settled.next_round, Given((), (), (an_annotation("ana"), returned)), None, ONE, KIND.same, NOW)
    assert (again.decision, again.next_round) == (None, None)


def test_what_can_be_returned_to_no_tier_waits_and_is_no_rejection() -> None:
    settled = settle(adjudicated(), Given((asked("dee", Request.RETURN),)), None, ONE, KIND.same, NOW)
    assert settled.decision is None


def test_a_decision_of_an_adjudicator_can_be_challenged_and_holds_until_another_has_spoken() -> None:
    policy = replace(ONE, eligible=frozenset({"dee", "eva"}))
    first = settle(adjudicated(), Given((an_annotation("dee"),)), None, policy, KIND.same, NOW).decision
    assert first is not None
    plea = asked("ana", Request.ESCALATE, "Look again.", at="2026-11-22T11:00:00.000000Z", number=9)
    present = (an_annotation("dee"),)
    challenged = settle(
        replace(adjudicated(), state=ItemState.COMMITTED), Given(present, (), (plea,)), first, policy, KIND.same, NOW
    )
    assert (challenged.decision, challenged.escalated) == (None, True)
    assert challenged.next_round is not None
    assert challenged.next_round.route.reason.startswith(CHALLENGED)
    waiting = settle(challenged.next_round, Given((), present, (plea,)), first, policy, KIND.same, NOW)
    assert (waiting.decision, waiting.next_round) == (None, None)
    second = Given(
        (replace(an_annotation("eva", "cancel", updated_at="2026-11-22T12:00:00.000000Z"), annotation_id=AnnotationId(12)),),
        (),
        (plea,),
    )
    changed = settle(challenged.next_round, second, first, policy, KIND.same, NOW).decision
    assert changed is not None
    assert (changed.op, changed.output, changed.reviewers) == (Op.CHANGE, {"label": "cancel"}, ("eva",))
    # What was heard is not heard once more.
    after = settle(challenged.next_round, second, changed, policy, KIND.same, NOW)
    assert (after.decision, after.next_round) == (None, None)


def test_a_page_is_read_with_its_reasons_its_requests_and_each_tick() -> None:
    ticked = {"label": ("refund",), "checklist": ("read it",), "checklist_2": ("checked it",), "reasons": ("a word",)}
    assert read_answer(ticked, KIND, LABELS) == Answer(REFUND, "", ("read it", "checked it"), None, ("a word",))
    missing = {"label": ("None of these",), "none_because": (LABEL_IS_MISSING,), "new_label": ("gift",), "reasons": ("a word",)}
    assert read_answer(missing, KIND, LABELS) == Answer(None, reason_codes=(LABEL_IS_MISSING,), missing_label="gift")
    # Who hands an item on judges nothing, whatever the page held before.
    assert read_answer({**ticked, "request": (ESCALATE,)}, KIND, LABELS) == Answer(None, request=Request.ESCALATE)
    assert read_answer({"request": (RETURN,)}, KIND, LABELS) == Answer(None, request=Request.RETURN)
