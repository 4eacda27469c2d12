"""What pydantic says of a document, in the words of someone who edits `hitl.yaml`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from hitl_bridge.errors import SettingsProblem
from hitl_bridge.settings.document import UNREADABLE, Document, Path
from hitl_bridge.settings.schema import HitlYaml, unknown_word

_KINDS = {
    "string_type": "a text",
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "list_type": "a list like [a, b]",
    "dict_type": "a group of settings like `name: value`",
    "model_type": "a group of settings like `name: value`",
    "model_attributes_type": "a group of settings like `name: value`",
}
_BOUNDS = {"greater_than_equal": "at least", "greater_than": "more than", "less_than_equal": "at most", "less_than": "less than"}
_BOUND_KEYS = {"greater_than_equal": "ge", "greater_than": "gt", "less_than_equal": "le", "less_than": "lt"}
_SECRET_WORDS = ("token", "password", "secret", "key")


def shape_problems(document: Document, error: ValidationError) -> list[SettingsProblem]:
    """One problem for each thing that pydantic found, less what the reader of the YAML has told already."""
    return [
        document.problem(_path(details), _sentence(details, document))
        for details in error.errors(include_url=False)
        if details["input"] is not UNREADABLE
    ]


def _path(details: ErrorDetails) -> Path:
    """Pydantic marks a mapping's key with '[key]', which is no part of the way there."""
    return tuple(part for part in details["loc"] if part != "[key]")


def _sentence(details: ErrorDetails, document: Document) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind == "value_error":
        return str(context.get("error", details["msg"]))
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return _unknown_setting(_path(details))
    if kind in _BOUNDS:
        return f"must be {_BOUNDS[kind]} {context[_BOUND_KEYS[kind]]:g}, not {_shown(details['input'])}"
    if kind in _KINDS:
        return f"must be {_KINDS[kind]}, not {_shown(details['input'])}{_quotes_hint(kind, details['input'])}"
    if kind in ("literal_error", "enum"):
        return f"must be {context['expected']}, not {_shown(details['input'])}"
    return _length_sentence(details)


def _length_sentence(details: ErrorDetails) -> str:
    context = details.get("ctx", {})
    unit = "characters" if details["type"].startswith("string") else "entries"
    if "min_length" in context:
        least = context["min_length"]
        return "must not be empty" if least == 1 else f"must have at least {least} {unit}"
    if "max_length" in context:
        return f"may have at most {context['max_length']} {unit}"
    return str(details["msg"])


def _shown(value: object) -> str:
    """What stands there. Never a whole text: it might be a secret in the wrong place."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) else str(value)[:20]
    if isinstance(value, str):
        return f"{value!r}" if len(value) <= 40 else "a text"
    if isinstance(value, list):
        return "a list"
    return "a group of settings" if isinstance(value, dict) else f"a {type(value).__name__}"


def _quotes_hint(kind: str, value: object) -> str:
    return "; put it in quotes" if kind == "string_type" and value is not None and not isinstance(value, list | dict) else ""


def _unknown_setting(path: Path) -> str:
    name = str(path[-1])
    known = tuple(known_settings(path[:-1]))
    said = unknown_word("setting", name, known)
    if any(word in name.casefold() for word in _SECRET_WORDS):
        return f"{said}; secrets don't belong in this file (set HITL_LABEL_STUDIO_TOKEN for Label Studio's token)"
    return said


def known_settings(path: Path) -> Iterator[str]:
    """The settings that may stand at `path`."""
    model: object = HitlYaml
    for part in path:
        model = _below(model, part)
    if isinstance(model, type) and issubclass(model, BaseModel):
        yield from (field.alias or name for name, field in model.model_fields.items())


def _below(model: object, part: str | int) -> object:
    """The type one step down: a field of a model, or what a list or mapping holds."""
    if isinstance(model, type) and issubclass(model, BaseModel):
        field = model.model_fields.get(str(part))
        return _unwrapped(field.annotation) if field is not None else None
    origin, arguments = get_origin(model), get_args(model)
    if origin in (list, dict):
        return _unwrapped(arguments[-1])
    return None


def _unwrapped(annotation: Any) -> object:
    """The type within `Annotated[…]`."""
    return annotation.__origin__ if hasattr(annotation, "__metadata__") else annotation
