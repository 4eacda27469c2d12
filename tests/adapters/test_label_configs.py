"""Label configs: filled in from templates, and read to know what an answer may be."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl_bridge.adapters.label_studio.label_configs import (
    FIELDS,
    LabelConfig,
    LabelConfigProblem,
    parse_xml,
)
from hitl_bridge.adapters.label_studio.pages import find_template, render_label_config, text_problems
from hitl_bridge.core.model import NONE_OF_THESE
from hitl_bridge.core.task_types import TASK_TYPE_NAMES, task_type
from hitl_bridge.core.task_types.controls import ANOTHER_LABEL, CANT_ANSWER, ESCALATE, LABEL_IS_MISSING, MANY_LABELS, RETURN
from hitl_bridge.errors import UsageError
from tests.contracts.labeling_service import LABEL_CONFIGS

TIERS = ("quick", "comprehensive", "adjudication")
LABELS = ("refund", "billing")
CHECKS = ("I read it all", "a, b & <c>")
SMALL = '<View><Text name="text" value="$text"/><Choices name="label" toName="text" required="true"/></View>'
BOMB = '<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;&b;&b;">]><View>&c;</View>'


def a_template(task: str = "text-classification", tier: str = "quick") -> str:
    return find_template(LABEL_CONFIGS, task, tier, otherwise="none")


def choices(xml: str, name: str) -> list[str]:
    control = parse_xml(xml).find(f".//*[@name='{name}']")
    assert control is not None
    return [choice.get("value", "") for choice in control]


@pytest.mark.parametrize("task", TASK_TYPE_NAMES)
@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("labels", [LABELS, tuple(f"l{n}" for n in range(77))])
def test_every_template_that_comes_with_the_bridge_can_be_filled_in(task: str, tier: str, labels: tuple[str, ...]) -> None:
    config = LabelConfig(render_label_config(a_template(task, tier), labels, CHECKS, rationale_required=True))
    shown = config.variables()
    assert shown <= FIELDS.keys() | {task_type(task).input_field}
    assert {"why", "model_says", "criteria", task_type(task).input_field} <= shown
    assert ("answers" in shown) == (tier == "adjudication")
    assert "HyperText" not in config.xml
    assert ("max-height: 45vh" in config.xml) == (task_type(task).input_field == "text")
    label = [] if task_type(task).several else ["label"]
    assert config.missing({}) == [*label, "checklist", "checklist_2", "rationale"]


def test_labels_become_choices_with_keys_and_the_way_out_is_last() -> None:
    rendered = render_label_config(a_template(), LABELS)
    assert choices(rendered, "label") == [*LABELS, NONE_OF_THESE]
    keys = [choice.get("hotkey") for choice in parse_xml(rendered).iterfind(".//*[@name='label']/Choice")]
    assert keys == ["1", "2", "0"]


@pytest.mark.parametrize("tier", TIERS)
def test_where_several_labels_fit_all_can_be_ticked_and_rejecting_is_a_control_of_its_own(tier: str) -> None:
    config = LabelConfig(render_label_config(a_template("multi-label-text", tier), LABELS, reasons=("the tone",)))
    assert choices(config.xml, "label") == list(LABELS)
    assert choices(config.xml, "reject") == [CANT_ANSWER]
    assert choices(config.xml, "none_because")[0] == LABEL_IS_MISSING
    assert config.problems([config.region("label", LABELS)]) == []
    assert config.missing({}) == ["reasons"]
    assert config.missing({"reject": [CANT_ANSWER]}) == ["none_because"]
    request = RETURN if tier == "adjudication" else ESCALATE
    assert config.missing({"request": [request]}) == []


def test_with_many_labels_each_task_brings_its_own_and_a_search_covers_all() -> None:
    labels = [f"l{number}" for number in range(MANY_LABELS + 1)]
    rendered = render_label_config(a_template(), labels)
    assert choices(rendered, "label") == []
    assert choices(rendered, "other_label") == labels
    config = LabelConfig(rendered)
    assert config.dynamic("label")
    assert "candidates" in config.variables()
    assert config.missing({"label": (ANOTHER_LABEL,)}) == ["other_label"]
    assert config.missing({"label": ("l3",)}) == []


def test_the_checklist_is_filled_in_or_disappears_with_its_heading() -> None:
    rendered = render_label_config(a_template(), LABELS, CHECKS)
    assert [choices(rendered, name) for name in ("checklist", "checklist_2")] == [[CHECKS[0]], [CHECKS[1]]]
    without = render_label_config(a_template(), LABELS)
    assert "checklist" not in without
    assert "Have you checked" not in without


def test_the_rationale_is_required_only_where_the_tier_says_so() -> None:
    template = a_template(tier="comprehensive")
    given = {"label": ("refund",)}
    assert LabelConfig(render_label_config(template, LABELS)).missing(given) == []
    assert LabelConfig(render_label_config(template, LABELS, (), True)).missing(given) == ["rationale"]


@given(labels=st.lists(st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1), min_size=1, max_size=6, unique=True))
def test_any_label_survives_as_text_or_is_refused_by_name(labels: list[str]) -> None:
    if text_problems("label", labels):
        with pytest.raises(LabelConfigProblem):
            render_label_config(SMALL, labels)
    else:
        assert choices(render_label_config(SMALL, labels), "label") == [*labels, NONE_OF_THESE]


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ((), "no labels"),
        (("a", "a"), "twice"),
        (("a", " "), "empty"),
        (("a", "b\nc"), "can't be shown"),
        (("a", NONE_OF_THESE), "bridge's own"),
        (("a", ANOTHER_LABEL), "bridge's own"),
        (("a", "$refund"), "variable"),
    ],
)
def test_labels_that_would_confuse_the_page_are_refused(labels: tuple[str, ...], told: str) -> None:
    with pytest.raises(LabelConfigProblem, match=told):
        render_label_config(SMALL, labels)


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("<View>", "not well-formed"),
        (BOMB, "DTD"),
        ("<View/>", 'name="label"'),
        (SMALL.replace("/></View>", '><Choice value="mine"/></Choices></View>'), "empty"),
    ],
)
def test_a_template_that_cannot_be_used_says_what_it_needs(template: str, told: str) -> None:
    started = time.perf_counter()
    with pytest.raises(LabelConfigProblem, match=told):
        render_label_config(template, LABELS)
    assert time.perf_counter() - started < 1


def test_every_need_of_the_tier_is_named_at_once() -> None:
    with pytest.raises(LabelConfigProblem) as refused:
        render_label_config(SMALL, (), CHECKS, rationale_required=True)
    assert len(refused.value.problems) == 3


@pytest.mark.parametrize(
    "xml",
    [
        SMALL.replace('toName="text"', 'toName="nowhere"'),
        SMALL.replace('name="label"', 'name="text"'),
        SMALL.replace('name="label"', 'name="other"'),
        BOMB,
    ],
)
def test_a_config_that_label_studio_would_not_take_is_not_taken(xml: str) -> None:
    with pytest.raises(LabelConfigProblem):
        LabelConfig(xml)


def test_a_tier_without_a_file_uses_another_and_no_name_leads_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "text-classification.careful.xml").write_text("<careful/>", encoding="utf-8")
    (tmp_path / "text-classification.secret.xml").write_text("<secret/>", encoding="utf-8")
    folder = tmp_path / "configs"
    assert find_template(folder, "text-classification", "legal", otherwise="careful") == "<careful/>"
    with pytest.raises(UsageError):
        find_template(folder, "../text-classification", "secret", otherwise="secret")


def conditional(condition: str) -> LabelConfig:
    asked = '<TextArea name="t" toName="text" required="true"/>'
    shown = f'<View visibleWhen="{condition}" whenTagName="label" whenChoiceValue="a,b">{asked}</View>'
    label = '<Choices name="label" toName="text"><Choice value="a"/></Choices>'
    return LabelConfig(f'<View><Text name="text" value="$text"/>{label}{shown}</View>')


def test_a_condition_on_a_choice_decides_what_is_required() -> None:
    assert conditional("choice-selected").missing({"label": ("b",)}) == ["t"]
    assert conditional("choice-selected").missing({"label": ("c",)}) == []
    assert conditional("choice-unselected").missing({"label": ("c",)}) == ["t"]
    assert conditional("region-selected").missing({"label": ("b",)}) == []
