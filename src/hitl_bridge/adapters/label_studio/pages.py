"""Label configs, made from the files in `label_configs/` that people edit.

A template is a plain Label Studio XML file with an empty `<Choices name="label">` (or `<Labels name="label">`, to mark pieces of
a text with). `render_label_config` fills in what `hitl.yaml` says; nothing is ever pasted into XML as text.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Final

from hitl_bridge.adapters.label_studio.label_configs import LabelConfigProblem, named, parents, parse_xml, raise_if
from hitl_bridge.core.model import JSON, NONE_OF_THESE
from hitl_bridge.core.task_types.controls import (
    ANOTHER_LABEL,
    CANT_ANSWER,
    CHECKLIST,
    ESCALATE,
    LABEL,
    MANY_LABELS,
    NONE_BECAUSE,
    OTHER_LABEL,
    RATIONALE,
    REASONS,
    REJECT,
    REJECTIONS,
    REQUEST,
    SCENARIO,
    choice_problem,
)
from hitl_bridge.errors import UsageError

__all__ = ["LabelConfigProblem", "candidate_choices", "find_template", "render_label_config", "text_problems"]

_CANDIDATE_KEYS: Final = {ANOTHER_LABEL: "9", NONE_OF_THESE: "0"}

# The keys of the home row say why nothing fits, those above it what tells, those to the right what was checked. None of them is
# one of Label Studio's own.
_REJECTION_KEYS: Final = "asdfg"
_REASON_KEYS: Final = "qwerty"
_CHECKLIST_KEYS: Final = "jklop"
_REQUEST_KEYS: Final = "x"
_SCENARIO_KEYS: Final = "zcbnmv"
_REJECT_KEYS: Final = "0"

_MARKING: Final = "Labels"
"""The control with which pieces of a text are marked; its labels have colours."""
_COLOURS: Final = ("#4C5FA9", "#2F8F83", "#B0793A", "#8C5AA0", "#5A7D3C", "#A0525F", "#3F7FA6", "#8A6D2F", "#6B6B6B")


def find_template(folder: Path, task_type: str, tier: str, *, otherwise: str) -> str:
    """The text of `<task type>.<tier>.xml`, or of `<task type>.<otherwise>.xml` for a tier without a file of its own."""
    for name in (tier, otherwise):
        path = folder / f"{task_type}.{name}.xml"
        if path.parent == folder and path.is_file():
            return path.read_text(encoding="utf-8")
    raise UsageError(
        f"There is no label config for tier {tier!r} of {task_type} in {folder}.",
        remedy=f"Copy a file there and name it {task_type}.{tier}.xml.",
    )


def render_label_config(
    template: str,
    labels: Sequence[str],
    checklist: Sequence[str] = (),
    rationale_required: bool = False,
    *,
    reasons: Sequence[str] = (),
    request: str = ESCALATE,
    scenarios: Sequence[str] = (),
) -> str:
    """The label config of a project: `template` with the labels, and what the tier asks for.

    Up to `MANY_LABELS` labels become choices, `NONE_OF_THESE` last; with more, the choices are each task's own
    candidates, and a search over all labels opens behind `ANOTHER_LABEL`. Where several labels can fit, all of them stand on the
    page, and what rejects the item is a control apart. What the tier does not ask for disappears. Raises LabelConfigProblem.

    Args:
        scenarios: what reviewers may say that the item is a case of.
        request: what can be asked for on this page, of `ESCALATE` and `RETURN`; on a page without such a control, nothing.
    """
    root = parse_xml(template)
    raise_if([*template_problems(root, labels, checklist, rationale_required), *reason_problems(root, reasons)])
    choices = named(root, LABEL)
    several = takes_several(choices)
    if several:
        offer_several(choices, labels)
        fill(root, REJECT, (CANT_ANSWER,), _REJECT_KEYS, required=False)
    elif len(labels) > MANY_LABELS:
        offer_candidates(root, choices, labels)
    else:
        offer_labels(choices, labels)
    fill_checklist(root, checklist)
    fill(root, REASONS, reasons, _REASON_KEYS, required=bool(reasons))
    # Where several labels can fit, an empty page says that none does.
    fill(root, NONE_BECAUSE, REJECTIONS[several:], _REJECTION_KEYS[several:], required=bool(reasons))
    fill(root, REQUEST, (request,), _REQUEST_KEYS, required=False)
    fill(root, SCENARIO, scenarios, _SCENARIO_KEYS, required=False)
    rationale = named(root, RATIONALE)
    if rationale is not None:
        set_required(rationale, rationale_required)
    return ET.tostring(root, encoding="unicode")


def template_problems(root: ET.Element, labels: Sequence[str], checklist: Sequence[str], rationale_required: bool) -> list[str]:
    """Everything that stands in the way of rendering."""
    problems = []
    choices = named(root, LABEL)
    if choices is None or choices.tag not in ("Choices", _MARKING) or len(choices) or choices.get("value"):
        problems.append(f'it needs one empty <Choices name="{LABEL}" …/>, which the bridge fills with the labels')
    if takes_several(choices) and named(root, REJECT) is None:
        problems.append(f'an empty answer is an answer there, so it needs <Choices name="{REJECT}" choice="multiple" …/>')
    if checklist and named(root, CHECKLIST) is None:
        problems.append(f'the tier has a checklist, so it needs <Choices name="{CHECKLIST}" choice="multiple" …/>')
    if rationale_required and named(root, RATIONALE) is None:
        problems.append(f'the tier requires a rationale, so it needs <TextArea name="{RATIONALE}" …/>')
    if not labels:
        problems.append("there are no labels")
    return problems + text_problems("label", labels) + text_problems("checklist entry", checklist)


def reason_problems(root: ET.Element, reasons: Sequence[str]) -> list[str]:
    if reasons and named(root, REASONS) is None:
        return [f'the tier has reasons, so it needs <Choices name="{REASONS}" …/>']
    return text_problems("reason", reasons)


def text_problems(what: str, texts: Sequence[str]) -> list[str]:
    problems = [f"{what} {text!r} is given twice" for text in sorted({text for text in texts if texts.count(text) > 1})]
    return problems + [f"{what} {problem}" for problem in map(choice_problem, texts) if problem is not None]


def offer_labels(choices: ET.Element | None, labels: Sequence[str]) -> None:
    assert choices is not None  # noqa: S101  (checked by template_problems)
    for number, label in enumerate(labels, start=1):
        hotkey = {"hotkey": str(number)} if number <= 9 else {}
        ET.SubElement(choices, "Choice", {"value": label, **hotkey})
    ET.SubElement(choices, "Choice", {"value": NONE_OF_THESE, "hotkey": "0"})


def takes_several(control: ET.Element | None) -> bool:
    """Whether the page takes as many labels as fit."""
    return control is not None and (control.tag == _MARKING or control.get("choice") == "multiple")


def offer_several(control: ET.Element | None, labels: Sequence[str]) -> None:
    """Each label with its key; where pieces of a text are marked, with a colour of its own too."""
    assert control is not None  # noqa: S101  (checked by template_problems)
    for number, label in enumerate(labels, start=1):
        own = {"value": label} | ({"hotkey": str(number)} if number <= 9 else {})
        if control.tag == _MARKING:
            ET.SubElement(control, "Label", {**own, "background": _COLOURS[(number - 1) % len(_COLOURS)]})
        else:
            ET.SubElement(control, "Choice", own)


def offer_candidates(root: ET.Element, choices: ET.Element | None, labels: Sequence[str]) -> None:
    """Each task's candidates, and the search. Taxonomy is the one control of Label Studio that can be searched."""
    assert choices is not None  # noqa: S101  (checked by template_problems)
    choices.set("value", "$candidates")
    shown = {"visibleWhen": "choice-selected", "whenTagName": LABEL, "whenChoiceValue": ANOTHER_LABEL}
    search = ET.Element("View", shown)
    control = {
        "name": OTHER_LABEL,
        "toName": choices.get("toName", ""),
        "required": "true",
        "requiredMessage": "Please find the label.",
        "maxUsages": "1",
        "minWidth": "420px",
        "placeholder": "Search all labels",
    }
    taxonomy = ET.SubElement(search, "Taxonomy", control)
    for label in labels:
        ET.SubElement(taxonomy, "Choice", {"value": label})
    parent = parents(root)[choices]
    parent.insert(list(parent).index(choices) + 1, search)


def candidate_choices(candidates: Sequence[str]) -> list[JSON]:
    """`data.candidates`: what a task offers first where there are many labels, with the keys that choose it."""
    offered = [(label, str(number)) for number, label in enumerate(candidates, start=1)]
    return [{"value": label, "hotkey": key} for label, key in (*offered, *_CANDIDATE_KEYS.items())]


def fill(root: ET.Element, name: str, entries: Sequence[str], keys: str, *, required: bool) -> None:
    """Puts `entries` into the control of that name, each with its key; without any, the control goes, and its heading with it."""
    control = named(root, name)
    if control is None:
        return
    for entry, key in zip_longest(entries, keys[: len(entries)]):
        ET.SubElement(control, "Choice", {"value": entry} | ({"hotkey": key} if key else {}))
    set_required(control, required)
    if entries:
        return
    above = parents(root)
    parent = above[control]
    alone = parent.tag == "View" and parent in above and all(child.tag in ("Header", control.tag) for child in parent)
    if alone:
        above[parent].remove(parent)
    else:
        parent.remove(control)


def fill_checklist(root: ET.Element, checklist: Sequence[str]) -> None:
    """A control for each entry: of one with all of them, a single tick would do."""
    fill(root, CHECKLIST, checklist[:1], _CHECKLIST_KEYS, required=True)
    first = named(root, CHECKLIST)
    if first is None or not checklist:
        return
    first.set("requiredMessage", f"Please tick: {checklist[0]}")
    parent = parents(root)[first]
    place = list(parent).index(first)
    for number, (entry, key) in enumerate(zip_longest(checklist, _CHECKLIST_KEYS[: len(checklist)]), start=1):
        if number > 1:
            own = {**first.attrib, "name": f"{CHECKLIST}_{number}", "requiredMessage": f"Please tick: {entry}"}
            control = ET.Element("Choices", own)
            ET.SubElement(control, "Choice", {"value": str(entry)} | ({"hotkey": key} if key else {}))
            parent.insert(place + number - 1, control)


def set_required(control: ET.Element, required: bool) -> None:
    if required:
        control.set("required", "true")
    else:
        control.attrib.pop("required", None)
