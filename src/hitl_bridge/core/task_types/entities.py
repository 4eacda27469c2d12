"""Named entities: pieces of a text, each with a label.

An output reads `{"entities": [{"start": 12, "end": 19, "label": "location"}, …]}`: places in characters (Unicode code points, as
Python and Label Studio count), `end` being the first that does not belong to it. It never holds the words themselves, so that
decisions, which are kept in git and DVC for good, tell nobody's name. No entity at all is an answer like any other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

from hitl_bridge.core.model import JSON, NONE_OF_THESE, JSONObject
from hitl_bridge.core.task_types.controls import LABEL, REJECT, Form
from hitl_bridge.core.task_types.inputs import missing_input
from hitl_bridge.errors import UsageError

ENTITIES: Final = "entities"
START, END = "start", "end"
_KNOWN: Final = frozenset({START, END, LABEL, "score"})
_MOST: Final = 2_000
_SHOWN: Final = 60


class Span(NamedTuple):
    """Characters from `start` up to, and without, `end`."""

    start: int
    end: int
    label: str

    def overlaps(self, other: Span) -> bool:
        return self.start < other.end and other.start < self.end

    def as_json(self) -> JSONObject:
        return {START: self.start, END: self.end, LABEL: self.label}


def spans_of(output: JSONObject | None) -> list[Span]:
    """The entities of an output, in the order in which they stand in the text."""
    listed = (output or {}).get(ENTITIES)
    return sorted({_span(each) for each in listed}) if isinstance(listed, Sequence) else []


def output_of(spans: Iterable[Span]) -> JSONObject:
    """The output with these entities, in its one canonical form."""
    return {ENTITIES: [span.as_json() for span in sorted(set(spans))]}


def _span(entity: JSON) -> Span:
    """Raises ValueError for what is none."""
    problem = _shape_problem(entity)
    if problem is not None or not isinstance(entity, Mapping):
        raise ValueError(problem)
    start, end = entity[START], entity[END]
    assert isinstance(start, int)  # noqa: S101  (looked at above)
    assert isinstance(end, int)  # noqa: S101
    return Span(start, end, str(entity[LABEL]))


def _shape_problem(entity: JSON) -> str | None:
    if not isinstance(entity, Mapping):
        return "an entity must be an object"
    places = [entity.get(name) for name in (START, END)]
    start, end = (place if isinstance(place, int) and not isinstance(place, bool) else None for place in places)
    if start is None or end is None or not 0 <= start < end:
        return "an entity needs whole numbers start and end, 0 ≤ start < end"
    return None if isinstance(entity.get(LABEL), str) else "an entity needs a label"


@dataclass(frozen=True, slots=True)
class TextEntities:
    """Each entity is a part of its own: people agree upon it, or don't, whatever they think of the others."""

    name: str = "entities"
    input_field: str = "text"
    form: Form = Form.MARKS
    several: bool = True
    exclusive: bool = False
    guidance: str = (
        "Mark every entity, whole and without the blanks around it, and nothing if there is none; “This can't be answered” if "
        "the item can't be judged."
    )
    keys: str = (
        "1 to 9 choose a label, to mark words with or for what is marked and selected; Backspace takes away what is selected, "
        "0 says that it can't be answered"
    )

    def input_problem(self, value: JSONObject) -> str | None:
        return missing_input(value, self.input_field)

    def output_problem(self, output: JSONObject, labels: Sequence[str]) -> str | None:
        listed = output.get(ENTITIES)
        if not isinstance(listed, list | tuple):
            return f"prediction.{ENTITIES} must be a list, an empty one where there is nothing"
        if len(listed) > _MOST:
            return f"prediction.{ENTITIES} holds more than {_MOST:,} entities"
        problems = (_entity_problem(each, labels) for each in listed)
        found = next((f"{ENTITIES}[{place}]: {problem}" for place, problem in enumerate(problems) if problem), None)
        if found is None and len(spans_of(output)) < len(listed):
            return f"prediction.{ENTITIES} holds an entity twice"
        return found

    def pair_problem(self, shown: JSONObject, output: JSONObject) -> str | None:
        length = len(str(shown.get(self.input_field, "")))
        last = max((span.end for span in spans_of(output)), default=0)
        return f"an entity ends at {last}, the text at {length}" if last > length else None

    def prefill(self, output: JSONObject) -> Mapping[str, Sequence[JSON]]:
        return {LABEL: tuple(span.as_json() for span in spans_of(output))}

    def read(self, controls: Mapping[str, Sequence[JSON]], labels: Sequence[str]) -> JSONObject | None:
        if controls.get(REJECT):
            return None
        marked = controls.get(LABEL, ())
        if len(marked) > _MOST:
            raise ValueError(f"it marks more than {_MOST:,} entities")
        spans = [_span(each) for each in marked]
        unknown = next((span.label for span in spans if span.label not in labels), None)
        if unknown is not None:
            raise ValueError(f"label {unknown!r} is not one of this workspace's labels")
        return output_of(spans)

    def same(self, one: JSONObject | None, other: JSONObject | None) -> bool:
        if one is None or other is None:
            return one is other
        return self.parts(one) == self.parts(other)

    def text(self, output: JSONObject | None) -> str:
        if output is None:
            return NONE_OF_THESE
        return ", ".join(f"{span.label} {span.start}–{span.end}" for span in spans_of(output)) or "no entity"

    def brief(self, output: JSONObject) -> str:
        """How many of each label: places mean nothing to who reads the text, and the page shows them in it."""
        counts = Counter(span.label for span in spans_of(output))
        return ", ".join(f"{count} × {label}" for label, count in counts.items()) or "no entity"

    def told(self, output: JSONObject | None, shown: JSONObject) -> str:
        """With the words that are marked, for those who have the text before their eyes."""
        if output is None:
            return NONE_OF_THESE
        text = str(shown.get(self.input_field, ""))
        return ", ".join(f"“{_cut(text[span.start : span.end])}” {span.label}" for span in spans_of(output)) or "no entity"

    def parts(self, output: JSONObject | None) -> frozenset[str]:
        return frozenset(f"{span.start}:{span.end}:{span.label}" for span in spans_of(output))

    def whole(self, parts: Iterable[str]) -> JSONObject:
        return output_of(map(_of_part, parts))

    def label_of(self, part: str) -> str:
        return _of_part(part).label

    def sample_part(self, label: str) -> str:
        return f"0:4:{label}"

    def universe(self, labels: Sequence[str]) -> tuple[str, ...] | None:
        return None

    def clashing(self, parts: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Along the text: each is held against those alone that begin before it ends."""
        ordered = sorted((_of_part(part), part) for part in set(parts))
        for at, (span, part) in enumerate(ordered, start=1):
            for other, its in islice(ordered, at, None):
                if not span.overlaps(other):
                    break
                yield part, its

    def answer(self, scores: Mapping[str, float]) -> tuple[JSONObject, float]:
        raise UsageError(
            "Scores of labels say nothing of where an entity stands.", remedy="Set train.trainer to sklearn-entities."
        )

    def confidence(self, output: JSONObject, scores: Mapping[str, float]) -> float | None:
        return None

    def torn_between(self, scores: Mapping[str, float]) -> Mapping[str, float]:
        return {}


def _entity_problem(entity: JSON, labels: Sequence[str]) -> str | None:
    problem = _shape_problem(entity)
    if problem is not None or not isinstance(entity, Mapping):
        return problem
    if entity[LABEL] not in labels:
        return f"unknown label {entity[LABEL]!r}"
    unknown = sorted(str(key)[:40] for key in entity.keys() - _KNOWN)
    if unknown:
        return f"unknown field {unknown[0]!r}; an entity is start, end, label and perhaps score, never its words"
    score = entity.get("score", 0.0)
    good = isinstance(score, int | float) and not isinstance(score, bool) and 0 <= score <= 1
    return None if good else "score must be a number from 0 to 1"


def _of_part(part: str) -> Span:
    start, end, label = part.split(":", 2)
    return Span(int(start), int(end), label)


def _cut(words: str) -> str:
    plain = " ".join(words.split())
    return plain if len(plain) <= _SHOWN else f"{plain[: _SHOWN - 1]}…"
