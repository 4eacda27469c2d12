"""Label configs with which pieces of a text are marked, and what comes back from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from hitl_bridge.adapters.label_studio.label_configs import LabelConfig, LabelConfigProblem
from hitl_bridge.adapters.label_studio.pages import find_template, render_label_config
from hitl_bridge.adapters.label_studio.remote import controls_of, is_untouched
from hitl_bridge.core.model import JSON
from hitl_bridge.core.task_types.controls import CANT_ANSWER, LABEL, NONE_BECAUSE, REJECT, REJECTIONS

FOLDER = Path(__file__).parents[2] / "label_configs"
LABELS = [f"kind {number}" for number in range(11)]
SPANS: list[JSON] = [{"start": 0, "end": 3, "label": "kind 0"}, {"start": 4, "end": 9, "label": "kind 10"}]


def rendered(tier: str) -> str:
    return render_label_config(
        find_template(FOLDER, "entities", tier, otherwise=tier), LABELS, ["I read it"], True, reasons=["a"]
    )


def choices(xml: str, name: str) -> list[str]:
    root = ET.fromstring(xml)  # noqa: S314
    control = next(each for each in root.iter() if each.get("name") == name)
    return [str(each.get("value")) for each in control]


@pytest.mark.parametrize("tier", ["quick", "comprehensive", "adjudication"])
def test_every_page_takes_all_labels_and_can_be_refused(tier: str) -> None:
    xml = rendered(tier)
    assert choices(xml, LABEL) == LABELS
    assert choices(xml, REJECT) == [CANT_ANSWER]
    assert choices(xml, NONE_BECAUSE) == list(REJECTIONS[1:])
    config = LabelConfig(xml)
    assert config.problems(config.regions(LABEL, SPANS)) == []
    assert LABEL not in config.missing({})


def test_what_is_marked_comes_back_as_it_was_filled_in_and_is_known_to_be_untouched() -> None:
    regions = LabelConfig(rendered("quick")).regions(LABEL, SPANS)
    assert len({region["id"] for region in regions}) == 2
    assert controls_of(regions) == {LABEL: tuple(SPANS)}
    assert is_untouched(regions)
    assert not is_untouched([{**regions[0], "id": "Xy3k"}, regions[1]])


def test_the_blanks_that_a_hand_takes_along_are_left_out_and_a_piece_with_two_labels_is_two() -> None:
    value: dict[str, Any] = {"start": 3, "end": 11, "text": " Lisbon\n", "labels": ["kind 1", "kind 2"]}
    region: dict[str, JSON] = {"id": "x", "from_name": LABEL, "to_name": "text", "type": "labels", "value": value}
    assert controls_of([region])[LABEL] == tuple({"start": 4, "end": 10, "label": label} for label in ("kind 1", "kind 2"))
    odd = {**region, "value": {**value, "text": "of another length"}}
    assert controls_of([odd])[LABEL][0] == {"start": 3, "end": 11, "label": "kind 1"}


def test_what_is_marked_beyond_the_text_is_known_as_such() -> None:
    config = LabelConfig(rendered("quick"))
    regions = config.regions(LABEL, SPANS)
    assert config.marks_beyond(regions, {"text": "eight ch"})
    assert not config.marks_beyond(regions, {"text": "nine char"})
    assert not config.marks_beyond(regions, {"image": "x"})


def test_a_page_for_marking_without_a_way_to_refuse_is_a_problem() -> None:
    template = find_template(FOLDER, "entities", "quick", otherwise="quick").replace('name="reject"', 'name="refuse"')
    with pytest.raises(LabelConfigProblem, match="reject"):
        render_label_config(template, LABELS)
