"""One form for equal content, so that the same prediction is known again however it was written down."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from struct import pack

from hitl_bridge.core import draws, macs
from hitl_bridge.core.model import JSON, BatchId, JSONObject

MAX_DEPTH = 64
"""Nesting that a row may have. Python's and the databases' own limits differ; this one is below all of them."""

_INT64 = 1 << 63
_SURROGATE = re.compile("[\ud800-\udfff]")

# One encoder for all rows: `json.dumps` with options builds a new one at each call.
_encode = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False
).encode

_TYPE_NAMES = {
    "float": "float",
    "number": "float",
    "integer": "integer",
    "int": "integer",
    "string": "string",
    "str": "string",
    "boolean": "boolean",
    "bool": "boolean",
}
ATTRIBUTE_TYPES: tuple[str, ...] = tuple(_TYPE_NAMES)
"""The types that `attributes:` of the settings may name; the short forms mean the same."""


def attribute_kind(name: str) -> str | None:
    """`float`, `integer`, `string` or `boolean`; None if there is no such type."""
    return _TYPE_NAMES.get(name)


def canonical(value: JSON) -> str:
    """JSON with sorted keys and no spaces. Raises ValueError for NaN and infinities, TypeError for what JSON lacks."""
    return _encode(value)


def input_digest(key: bytes, value: JSONObject, canonical_input: str) -> str:
    """Of a prediction's input: of its canonical JSON, or, where it is an object of one text, of that text under a key of its
    name. That is most inputs, and their texts need not be written as JSON to be digested."""
    if len(value) == 1:
        ((name, text),) = value.items()
        if isinstance(text, str):
            return macs.mac(macs.mac_key(key, INPUT_TEXT, name), text.encode()).hex()
    return macs.mac(macs.mac_key(key, INPUT), canonical_input.encode()).hex()


def content_digest(
    key: bytes, texts: Sequence[str], confidence: float, scores: Mapping[str, float], energy: float | None = None
) -> str:
    """Of a prediction's content.

    What is digested are the digest of `content_head`; confidence, scores in the order of their labels, and the energy, as
    doubles of 8 bytes each, least significant first, filled up with zeros to whole blocks of 16 bytes; and the attributes. The
    head tells how many numbers there are, so no two contents give the same bytes.

    Args:
        texts: output, scenario and attributes as canonical JSON.
        energy: None where none came with the prediction.
    """
    output, scenario, attributes = texts
    labels = sorted(scores)
    head_text = content_head(output, scenario, labels) + ("" if energy is None else _SEPARATOR + "energy")
    head = macs.mac(macs.mac_key(key, CONTENT_HEAD), head_text.encode())
    values = [confidence, *(scores[label] for label in labels), *([] if energy is None else [energy])]
    numbers = pack(f"<{len(values)}d", *values)
    filling = bytes(-len(numbers) % macs.SIZE)
    return macs.mac(macs.mac_key(key, CONTENT), head + numbers + filling + attributes.encode()).hex()


def content_head(output: str, scenario: str, labels: Sequence[str]) -> str:
    """What many predictions have in common: output, scenario and the sorted labels that have scores, as canonical JSON, which
    holds no separator."""
    return _SEPARATOR.join((output, scenario, canonical(labels)))


INPUT, INPUT_TEXT, CONTENT, CONTENT_HEAD = "input", "input text", "content", "content head"
"""What keys of digests are derived for."""

_SEPARATOR = "\x1f"


def first_input_digest(key: bytes, canonical_input: str) -> str:
    """As receipts of the first form have it."""
    return draws.digest(key, "input", canonical_input)


def first_content_digest(key: bytes, *parts: str) -> str:
    """As receipts of the first form have it: of output, scores, confidence, scenario and attributes, each as canonical JSON."""
    return draws.digest(key, "content", *parts)


def batch_id(key: bytes, content: str) -> BatchId:
    """Names a batch by what is in it, so that the same file is the same batch."""
    return BatchId("b_" + draws.digest(key, "batch", content)[:24])


def text_problem(text: str) -> str | None:
    """Why a text can't be kept: databases disagree about NUL, and refuse or choke on lone surrogates."""
    if "\0" in text:
        return "a NUL character"
    return "a lone surrogate" if _SURROGATE.search(text) else None


def value_problem(value: JSON, depth: int = MAX_DEPTH) -> str | None:
    """What in `value`, at any depth, no database would keep as it is; None if nothing."""
    match value:
        case str():
            return text_problem(value)
        case None | bool():
            return None
        case int():
            return None if -_INT64 <= value < _INT64 else "a whole number beyond 64 bits"
        case float():
            return None if isfinite(value) else "NaN or infinity"
        case Mapping():
            inner: Iterable[JSON] = [*value.keys(), *value.values()]
        case list() | tuple():
            inner = value
        case _:  # a date or a decimal, from a format that has them
            return "a value that JSON lacks"
    if depth == 0:
        return f"nesting deeper than {MAX_DEPTH} levels"
    return next((found for each in inner if (found := value_problem(each, depth - 1))), None)


def as_attribute(value: JSON, kind: str) -> JSON:
    """The value as the declared kind keeps it. Raises ValueError if it is not one: nothing is guessed from a text."""
    match kind, value:
        case _, None:
            return None
        case "float", bool():
            pass
        case "float", int() | float() if isfinite(value):
            return float(value)
        case "integer", bool():
            pass
        case "integer", int() if -_INT64 <= value < _INT64:
            return value
        case ("string", str()) | ("boolean", bool()):
            return value
    raise ValueError(f"must be {_ARTICLE[kind]}")


_ARTICLE = {
    "float": "a finite number",
    "integer": "a whole number of at most 64 bits",
    "string": "a text",
    "boolean": "true or false",
}
