"""What a tier asks of an answer, and where an item goes that is handed on."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl_bridge.core.model import ADJUDICATION, Annotation, AnnotationId, Answer, Item, ItemState, Op, Request
from hitl_bridge.core.people import Deciders
from hitl_bridge.core.review.consensus import ConsensusRule
from hitl_bridge.core.review.demands import Demands, lacking
from hitl_bridge.core.review.handed_on import CHALLENGED, ESCALATED, NOT_THEIRS, Aside, ReviewTerms
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
    alone = replace(ONE, eligible=frozenset({"ana"}))  # there is nobody else: it waits, and the lead is told
    waits = settle(settled.next_round, Given((an_annotation("ana"),), (), (plea,)), None, alone, KIND.same, NOW)
    assert (waits.decision, waits.asked_again, waits.reason) == (None, True, NOT_THEIRS)


def settled_by(who: str, elsewhere: Annotation, eligible: Collection[str], item: Item | None = None, needed: int = 1) -> bool:
    policy = replace(ONE, eligible=eligible, needed=needed)
    said = Given((an_annotation(who, "cancel", annotation_id=7),), (), (elsewhere,))
    return settle(item or adjudicated(), said, None, policy, KIND.same, NOW).decision is not None


def test_who_has_judged_an_item_leaves_its_dispute_to_others_where_there_are_any() -> None:
    """A label that is missing, say, on which somebody insists: an answer, and no request."""
    judged, both, everybody = an_annotation("ana", None), frozenset({"ana", "dee"}), frozenset[str]()
    assert [settled_by(who, judged, both) for who in ("ana", "dee")] == [False, True]
    assert settled_by("ana", judged, frozenset({"ana"}))
    assert settled_by("ana", judged, everybody)
    assert not settled_by("ana", asked("ana", Request.ESCALATE), everybody)


def test_who_returns_an_item_does_not_answer_it_in_the_reviewers_place() -> None:
    returned, item = asked("dee", Request.RETURN), replace(an_item(), round=3)
    assert [settled_by(who, returned, frozenset({"ana", "dee"}), item) for who in ("dee", "ana")] == [False, True]
    assert settled_by("dee", returned, frozenset({"dee"}), item)
    mine = Given((an_annotation("dee"),), (), (), (returned,))  # deleted since
    two = replace(ONE, eligible=frozenset({"ana", "dee"}))
    assert settle(item, mine, None, two, KIND.same, NOW).decision is None
    assert settle(replace(adjudicated(), round=4), mine, None, two, KIND.same, NOW).decision is not None
    # Nor is the adjudication of what comes back anything that they have asked for.
    assert settled_by("dee", returned, frozenset({"eva", "dee"}))


def test_who_becomes_an_adjudicator_later_undoes_no_decision() -> None:
    judged, own = an_annotation("dee"), an_annotation("dee", "cancel", annotation_id=7)
    alone, joined = (replace(ONE, eligible=frozenset(people)) for people in ({"dee"}, {"dee", "eva"}))
    first = settle(adjudicated(), Given((own,), (), (judged,)), None, alone, KIND.same, NOW).decision
    assert first is not None
    after = settle(replace(adjudicated(), state=ItemState.DECIDED), Given((own,), (), (judged,)), first, joined, KIND.same, NOW)
    assert (after.decision, after.next_round, after.state) == (None, None, ItemState.DECIDED)


@given(
    people=st.sets(st.sampled_from("abcdef")),
    asked_it=st.sets(st.sampled_from("abcdef")),
    judged=st.sets(st.sampled_from("abcdef")),
)
def test_nobody_settles_what_they_asked_for_and_somebody_may_unless_all_have(
    people: set[str], asked_it: set[str], judged: set[str]
) -> None:
    eligible = Deciders(frozenset(people))
    theirs = Aside(frozenset(asked_it), frozenset(), frozenset(judged))
    left_out = theirs.left_out(eligible, 1)
    assert asked_it <= left_out
    assert theirs.leaves_nobody(eligible) is (people <= left_out)


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
