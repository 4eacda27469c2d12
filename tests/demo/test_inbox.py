from __future__ import annotations

from collections import Counter

import pytest

from hitl_bridge.core.model import NONE_OF_THESE
from hitl_bridge.demo.inbox import UNSEEN, read_inbox
from hitl_bridge.demo.subjects import Subject, handwritten_digits, support_inbox
from hitl_bridge.settings import check_settings

INBOX = read_inbox()
EVERYTHING = (*INBOX.train, *INBOX.holdout, *INBOX.first_day, *INBOX.second_day)


def test_the_messages_are_dealt_out_in_the_same_way_every_time() -> None:
    assert read_inbox() == INBOX


def test_no_message_stands_in_two_places() -> None:
    assert max(Counter(message.text for message in EVERYTHING).values()) == 1
    assert max(Counter(message.item_id for message in EVERYTHING).values()) == 1


def test_there_are_about_eight_hundred_messages_of_a_dozen_intents_in_two_languages() -> None:
    assert len(EVERYTHING) > 800
    assert len({message.label for message in EVERYTHING}) == 12
    assert {message.language for message in EVERYTHING} == {"en", "de"}


def test_the_unseen_intent_comes_on_the_second_day_only() -> None:
    earlier = (*INBOX.train, *INBOX.holdout, *INBOX.first_day)
    assert UNSEEN not in {message.label for message in earlier}
    assert sum(message.label == UNSEEN for message in INBOX.second_day) > 40


def test_hostile_markup_double_intents_and_personal_data_are_among_the_messages() -> None:
    traits = Counter(trait for message in EVERYTHING for trait in message.traits)
    assert min(traits["hostile_html"], traits["double_intent"], traits["personal_data"]) >= 10


def test_no_message_is_called_what_the_page_calls_a_rejection() -> None:
    assert NONE_OF_THESE not in {message.label for message in EVERYTHING}


@pytest.fixture(scope="module", params=[support_inbox, handwritten_digits], ids=["inbox", "digits"])
def subject(request: pytest.FixtureRequest) -> Subject:
    made: Subject = request.param()
    return made


def test_the_policies_of_the_demo_are_sound_and_name_every_label(subject: Subject) -> None:
    checked = check_settings(subject.policy.encode())
    assert set(checked.labels) == set(subject.meanings.values())


def test_nothing_that_arrives_was_in_the_base(subject: Subject) -> None:
    base = {row["item_id"] for row in (*subject.train, *subject.holdout)}
    arriving = [row["item_id"] for day in subject.days for row in day.inputs]
    assert not base & set(arriving)
    assert len(arriving) == len(set(arriving))
