"""Label configs, read to know what an answer may be. `pages` makes them."""

from __future__ import annotations

import hashlib
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from hitl_bridge.core.model import JSON
from hitl_bridge.core.task_types.controls import (
    LABEL,
)
from hitl_bridge.errors import UsageError

FIELDS: Final[Mapping[str, JSON]] = {
    "why": "",
    "model_says": "",
    "criteria": "",
    "answers": (),
    "prior": (),
    "candidates": (),
}
"""What every task carries beside its input, with the value sent where nothing is given: Label Studio prints "undefined"
for a variable that is missing. `why`, `model_says`, `criteria` are texts; `answers` and `prior` are tables (lists of rows, each
a mapping of heading to text); `candidates` are made from `TaskContent.candidates`."""

MOST_BYTES: Final = 1_000_000
MOST_JUDGED: Final = 10_000
_VALUE_KEYS: Final = {"choices": "choices", "textarea": "text", "rating": "rating", "taxonomy": "taxonomy"}
_MARKS: Final = "labels"
"""The type of a region that marks a piece of a text."""


class LabelConfigProblem(UsageError):
    """A label config, or what should go into it, is not usable."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("label config: " + "; ".join(problems), remedy="Mend the file in label_configs/ or hitl.yaml.")


class LabelConfig:
    """A label config as Label Studio's own library reads it, and what that library does not check."""

    def __init__(self, xml: str) -> None:
        self.xml = xml
        self._root = parse_xml(xml)
        self._above = parents(self._root)
        self._controls = {tag.get("name", ""): tag for tag in self._root.iter() if tag.get("name") and tag.get("toName")}
        self._interface = interface(xml)
        self._judged: dict[bytes, list[str]] = {}
        values = (tag.get("value", "") for tag in self._root.iter())
        self._variables = frozenset(value[1:] for value in values if re.fullmatch(r"\$\w+", value))
        if LABEL not in self._controls:
            raise LabelConfigProblem([f"there is no control named {LABEL!r}"])

    @property
    def sha256(self) -> str:
        return fingerprint(self.xml)

    def variables(self) -> frozenset[str]:
        """The fields of `task.data` that the page shows; without one of them Label Studio refuses the task."""
        return self._variables

    def region(self, control: str, values: Sequence[JSON]) -> dict[str, JSON]:
        """A control filled with `values`, in Label Studio's form. Raises KeyError for an unknown control."""
        tag = self._controls[control]
        kind = tag.tag.lower()
        filled: JSON = list(values)
        if kind == "taxonomy":
            filled = [[value] for value in values]
        elif kind == "rating":
            filled = values[0]
        value_key = _VALUE_KEYS.get(kind, kind)
        return {
            "id": region_id(control),
            "from_name": control,
            "to_name": tag.get("toName", "").split(",")[0],
            "type": kind,
            "value": {value_key: filled},
        }

    def regions(self, control: str, values: Sequence[JSON]) -> list[dict[str, JSON]]:
        """As `region`; where pieces of a text are marked each is a region of its own. Raises KeyError for an unknown control."""
        if self._controls[control].tag.lower() != _MARKS:
            return [self.region(control, values)]
        return [
            self._marked(control, number, value) for number, value in enumerate(values, start=1) if isinstance(value, Mapping)
        ]

    def _marked(self, control: str, number: int, span: Mapping[str, JSON]) -> dict[str, JSON]:
        """`span` has `start`, `end` (the first character that does not belong to it) and `label`."""
        return {
            "id": f"{region_id(control)}-{number}",
            "from_name": control,
            "to_name": self._controls[control].get("toName", "").split(",")[0],
            "type": _MARKS,
            "value": {"start": span["start"], "end": span["end"], _MARKS: [span["label"]]},
        }

    def marks_beyond(self, result: Sequence[JSON], data: JSON) -> bool:
        """Whether a piece is marked that ends after the text of the task with this `data`."""
        return any(isinstance(region, Mapping) and self._ends_beyond(region, data) for region in result)

    def _ends_beyond(self, region: Mapping[str, JSON], data: JSON) -> bool:
        value, control = region.get("value"), str(region.get("from_name"))
        if region.get("type") != _MARKS or not isinstance(value, Mapping) or control not in self._controls:
            return False
        tag = named(self._root, self._controls[control].get("toName", "").split(",")[0])
        field = "" if tag is None else tag.get("value", "").removeprefix("$")
        text, end = data.get(field) if isinstance(data, Mapping) else None, value.get("end")
        return isinstance(text, str) and isinstance(end, int) and end > len(text)

    def has(self, control: str) -> bool:
        return control in self._controls

    def dynamic(self, control: str) -> bool:
        """Whether the choices of `control` come with each task."""
        return control in self._controls and self._controls[control].get("value", "").startswith("$")

    def problems(self, result: Sequence[JSON]) -> list[str]:
        """What is wrong with a result (predicted or answered), without saying what anybody wrote."""
        told = self._interface.validate_prediction({"result": plain(result)}, return_errors=True)
        return list(dict.fromkeys(in_plain_words(str(text)) for text in told)) or self._double_answers(result)

    def prediction_problems(self, encoded: bytes, result: Sequence[JSON]) -> list[str]:
        """As `problems`, remembered: a push holds thousands of predictions and few different ones."""
        if encoded not in self._judged:
            if len(self._judged) >= MOST_JUDGED:
                self._judged.clear()
            self._judged[encoded] = self.problems(result)
        return self._judged[encoded]

    def missing(self, controls: Mapping[str, Sequence[JSON]]) -> list[str]:
        """The required controls that are visible and not filled in; `required` is the browser's affair otherwise."""
        return [
            name
            for name, tag in self._controls.items()
            if tag.get("required") == "true" and not filled_in(controls.get(name, ())) and self._is_asked(tag, controls)
        ]

    def _double_answers(self, result: Sequence[JSON]) -> list[str]:
        counts: dict[str, int] = {}
        for region in result:
            if isinstance(region, Mapping) and self._is_single(str(region.get("from_name"))):
                name = str(region["from_name"])
                counts[name] = counts.get(name, 0) + len(region_values(region))
        return [f"{count} answers for {name!r}, which takes one" for name, count in counts.items() if count > 1]

    def _is_single(self, control: str) -> bool:
        tag = self._controls.get(control)
        if tag is None or tag.get("perRegion") == "true":
            return False
        return tag.tag == "Rating" or tag.get("maxUsages") == "1" or (tag.tag == "Choices" and tag.get("choice") != "multiple")

    def _is_asked(self, tag: ET.Element, controls: Mapping[str, Sequence[JSON]]) -> bool:
        return tag.get("perRegion") != "true" and all(
            is_shown(element, controls) for element in self._line_up(tag) if element.get("visibleWhen")
        )

    def _line_up(self, tag: ET.Element) -> Iterator[ET.Element]:
        current: ET.Element | None = tag
        while current is not None:
            yield current
            current = self._above.get(current)


def is_shown(element: ET.Element, controls: Mapping[str, Sequence[JSON]]) -> bool:
    """Whether a conditional part of the page was visible. Conditions other than on a choice count as hidden."""
    chosen = {str(value) for value in controls.get(element.get("whenTagName", ""), ())}
    wanted = element.get("whenChoiceValue")
    hit = bool(chosen & set(wanted.split(","))) if wanted else bool(chosen)
    match element.get("visibleWhen"):
        case "choice-selected":
            return hit
        case "choice-unselected":
            return not hit
        case _:
            return False


def filled_in(values: Sequence[JSON]) -> bool:
    return any(value.strip() if isinstance(value, str) else value is not None for value in values)


def region_id(control: str) -> str:
    """The bridge's own id of a predicted control; it survives into the annotation, so an untouched one is known."""
    return f"bridge-{control}"


def region_values(region: Mapping[str, JSON]) -> tuple[JSON, ...]:
    """What a region says: choices, texts, a rating, the last step of each taxonomy path, or a marked piece by each label."""
    kind, value = str(region.get("type", "")).lower(), region.get("value")
    if kind == _MARKS:
        return _spans(value) if isinstance(value, Mapping) else ()
    said = value.get(_VALUE_KEYS.get(kind, kind)) if isinstance(value, Mapping) else None
    if said is None:
        return ()
    if isinstance(said, str) or not isinstance(said, Sequence):
        return (said,)
    if kind == "taxonomy":
        return tuple(path[-1] for path in said if isinstance(path, Sequence) and path)
    return tuple(said)


def _spans(value: Mapping[str, JSON]) -> tuple[JSON, ...]:
    """What was marked, without the blanks that a hand takes along at either end."""
    start, end, words, labels = (value.get(name) for name in ("start", "end", "text", _MARKS))
    if isinstance(start, int) and isinstance(end, int) and isinstance(words, str) and len(words) == end - start and words.strip():
        start, end = start + len(words) - len(words.lstrip()), end - len(words) + len(words.rstrip())
    listed = labels if isinstance(labels, Sequence) and not isinstance(labels, str) else ()
    return tuple({"start": start, "end": end, "label": label} for label in listed)


def in_plain_words(told: str) -> str:
    """A complaint of Label Studio's library, for the people who have to decide what becomes of the answer.

    Theirs counts regions, quotes what was sent, and passes on the errors of Python.
    """
    control = re.search(r"Invalid value for control '([^']*)'", told)
    if control is not None:
        return f"{control[1]!r} holds a value that the page does not offer"
    if told.endswith("not found in configuration"):
        return "it answers something that the page does not ask"
    return "the answer is not in the form that the page sends"


def plain(result: Sequence[JSON]) -> list[Any]:
    """A result in which a TextArea's text is always a list: the server holds either."""
    return [_with_text_list(region) if isinstance(region, Mapping) else region for region in result]


def _with_text_list(region: Mapping[str, JSON]) -> Mapping[str, JSON]:
    value = region.get("value")
    if region.get("type") == "textarea" and isinstance(value, Mapping) and isinstance(value.get("text"), str):
        return {**region, "value": {**value, "text": [value["text"]]}}
    return region


def fingerprint(xml: str) -> str:
    return hashlib.sha256(xml.encode("utf-8")).hexdigest()


@lru_cache(maxsize=64)
def interface(xml: str) -> Any:
    """Label Studio's own reading of a label config, once a process: every cycle asks for that of every project.

    Raises LabelConfigProblem.
    """
    # Imported here: it takes about a second, and `hitl-bridge status` has no use for it.
    from label_studio_sdk.label_interface import LabelInterface

    try:
        read = LabelInterface(xml)
        read.validate()
    except Exception as refused:
        raise LabelConfigProblem([str(refused).splitlines()[0] if str(refused) else type(refused).__name__]) from refused
    return read


def parse_xml(text: str) -> ET.Element:
    """XML without a DTD: no entities, no external files. Raises LabelConfigProblem."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise LabelConfigProblem(["a DTD or an entity is not allowed"])
    if len(text) > MOST_BYTES:
        raise LabelConfigProblem([f"it is larger than {MOST_BYTES} characters"])
    try:
        return ET.fromstring(text)  # noqa: S314  (no DTD, so no entities)
    except ET.ParseError as broken:
        raise LabelConfigProblem([f"it is not well-formed XML: {broken}"]) from None


def named(root: ET.Element, name: str) -> ET.Element | None:
    return next((tag for tag in root.iter() if tag.get("name") == name), None)


def parents(root: ET.Element) -> dict[ET.Element, ET.Element]:
    return {child: parent for parent in root.iter() for child in parent}


def raise_if(problems: Sequence[str]) -> None:
    if problems:
        raise LabelConfigProblem(problems)
