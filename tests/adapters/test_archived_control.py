"""Which controls of somebody else's page answers can be taken from, and which answers can be believed."""

from __future__ import annotations

from typing import Any

import pytest

from hitl_bridge.adapters.label_studio.archived_control import ELSEWHERE, ArchivedControl, names_of
from hitl_bridge.adapters.label_studio.label_configs import parse_xml
from hitl_bridge.core.model import JSON
from hitl_bridge.core.task_types.controls import Form

PAGE = parse_xml(
    """\
<View>
  <Text name="ticket" value="$body"/><Text name="far" value="$url" valueType="url"/><HyperText name="page" value="$html"/>
  <Choices name="mood" toName="ticket"><Choice value="glad"/></Choices>
  <Choices name="topics" toName="ticket" choice="multiple" required="true"><Choice value="billing"/></Choices>
  <Labels name="people" toName="ticket"><Label value="person"/></Labels>
  <Labels name="far_people" toName="far"><Label value="person"/></Labels>
  <Labels name="page_people" toName="page"><Label value="person"/></Labels>
  <Choices name="sure" toName="ticket" perRegion="true"><Choice value="yes"/></Choices>
  <View visibleWhen="choice-selected" whenTagName="mood" whenChoiceValue="glad">
    <Choices name="why" toName="ticket" choice="multiple"><Choice value="fast"/></Choices>
  </View>
</View>
"""
)
TEXT = {"body": "😀 Ana Silva\nmoved to Lisbon"}


def control(name: str, form: Form) -> ArchivedControl:
    found = ArchivedControl.of(PAGE, name, form)
    assert found is not None
    return found


def chosen(name: str, *values: str) -> dict[str, Any]:
    return {"from_name": name, "to_name": "ticket", "type": "choices", "value": {"choices": list(values)}}


def marked(start: int, end: int, words: str, **changes: JSON) -> dict[str, Any]:
    value = {"start": start, "end": end, "text": words, "labels": ["person"]}
    return {"from_name": "people", "to_name": "ticket", "type": "labels", "value": value, **changes}


def test_controls_are_told_apart_by_what_they_let_people_do() -> None:
    assert names_of(PAGE, Form.ONE_OF) == ["mood"]
    assert names_of(PAGE, Form.SOME_OF) == ["topics", "why"]
    assert names_of(PAGE, Form.MARKS) == ["people"]
    assert ArchivedControl.of(PAGE, "topics", Form.ONE_OF) is None
    assert ArchivedControl.of(PAGE, "nothing", Form.MARKS) is None
    assert control("people", Form.MARKS).shows == "body"


def test_marks_are_read_without_the_blanks_that_a_hand_takes_along() -> None:
    said = control("people", Form.MARKS).said([marked(1, 12, " Ana Silva\n"), chosen("mood", "glad")], TEXT)
    assert said == (({"start": 2, "end": 11, "label": "person"},), "")


@pytest.mark.parametrize("place", [(3, 12), (0, 9), (20, 90)])
def test_words_that_do_not_stand_where_they_were_marked_are_not_believed(place: tuple[int, int]) -> None:
    assert control("people", Form.MARKS).said([marked(*place, "Ana Silva")], TEXT)[1] == ELSEWHERE


def test_nothing_is_an_answer_only_where_the_page_asked_and_took_it() -> None:
    assert control("people", Form.MARKS).said([], TEXT) == ((), "")
    assert control("topics", Form.SOME_OF).said([], TEXT)[1] == "control 'topics' is required and was not filled in"
    assert control("topics", Form.SOME_OF).said([chosen("topics", "billing", "tax")], TEXT) == (("billing", "tax"), "")
    assert control("why", Form.SOME_OF).said([], TEXT)[1] == "control 'why' was not on the page"
    assert control("why", Form.SOME_OF).said([chosen("mood", "glad")], TEXT) == ((), "")
