"""A control of a page that the bridge did not make: whether answers can be taken from it, and what an annotation says by it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

from hitl_bridge.adapters.label_studio.label_configs import filled_in, is_shown, named, parents
from hitl_bridge.adapters.label_studio.remote import controls_of
from hitl_bridge.core.model import JSON
from hitl_bridge.core.task_types.controls import Form

ELSEWHERE: Final = "what it marks does not stand at that place of the text"
_TAGS: Final = {Form.ONE_OF: "Choices", Form.SOME_OF: "Choices", Form.MARKS: "Labels"}
_FIELD: Final = re.compile(r"\$(\w+)")


@dataclass(frozen=True, slots=True)
class ArchivedControl:
    """`shows` is the field of `task.data` that it is about, empty where it is about none; `conditions` are those parts of the
    page, the control itself among them, that are only there if something else was chosen."""

    name: str
    shows: str
    required: bool
    conditions: tuple[Element, ...]

    @classmethod
    def of(cls, root: Element, name: str, form: Form) -> ArchivedControl | None:
        """The control of that name; None if there is none, or one of another form."""
        tag = named(root, name)
        if tag is None or not _fits(root, tag, form):
            return None
        conditions = tuple(each for each in _line_up(root, tag) if each.get("visibleWhen"))
        return cls(name, _field(_about(root, tag)), tag.get("required") == "true", conditions)

    def said(self, result: Sequence[JSON], data: Mapping[str, JSON]) -> tuple[tuple[JSON, ...], str]:
        """The values chosen or marked, and why they can't be believed (empty if they can).

        Nothing at all may be an answer, but only where the page asked, and let people submit without one.
        """
        controls = controls_of(result)
        values = controls.get(self.name, ())
        if not filled_in(values) and not all(is_shown(each, controls) for each in self.conditions):
            return values, f"control {self.name!r} was not on the page"
        if not filled_in(values) and self.required:
            return values, f"control {self.name!r} is required and was not filled in"
        text = data.get(self.shows)
        marks_elsewhere = isinstance(text, str) and any(self._is_elsewhere(region, text) for region in result)
        return values, ELSEWHERE if marks_elsewhere else ""

    def _is_elsewhere(self, region: JSON, text: str) -> bool:
        """Whether the words kept with a mark are others than those at its place, as where characters were counted otherwise or
        the task was changed since. Blanks don't count: the page shows them in its own way."""
        value = region.get("value") if isinstance(region, Mapping) and region.get("from_name") == self.name else None
        start, end, words = (value.get(each) if isinstance(value, Mapping) else None for each in ("start", "end", "text"))
        if not isinstance(start, int) or not isinstance(end, int) or not isinstance(words, str):
            return False
        return _letters(text[max(0, start) : max(0, end)]) != _letters(words)


def names_of(root: Element, form: Form) -> list[str]:
    """The controls of that form."""
    return [tag.get("name", "") for tag in root.iter() if tag.get("name") and _fits(root, tag, form)]


def _fits(root: Element, tag: Element, form: Form) -> bool:
    """A control that is asked about each region says nothing of the whole item; what is marked in a page of HTML, or in a text
    that lies elsewhere, has no place in a field of the task."""
    if tag.tag != _TAGS[form] or tag.get("perRegion") == "true":
        return False
    if form is Form.MARKS:
        about = _about(root, tag)
        return about is not None and about.tag == "Text" and about.get("valueType") != "url"
    return (tag.get("choice") == "multiple") is (form is Form.SOME_OF)


def _about(root: Element, tag: Element) -> Element | None:
    return named(root, tag.get("toName", "").split(",")[0])


def _field(shown: Element | None) -> str:
    found = _FIELD.fullmatch("" if shown is None else shown.get("value", ""))
    return found[1] if found else ""


def _line_up(root: Element, tag: Element) -> Iterator[Element]:
    above, current = parents(root), tag
    while current is not root:
        yield current
        current = above[current]


def _letters(words: str) -> str:
    return "".join(words.replace("\\n", "").split())
