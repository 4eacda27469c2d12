"""One row of an input, checked: every rule that a prediction has to keep, whatever format it came in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Required, TypeAlias

import pyarrow as pa
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from hitl_bridge.core.model import JSON, Problem
from hitl_bridge.core.task_types.outputs import headline
from hitl_bridge.core.triage import normalise
from hitl_bridge.core.triage.columns import PREDICTIONS
from hitl_bridge.core.triage.uncertainty import doubts, energy
from hitl_bridge.errors import UsageError
from hitl_bridge.ports import PredictionChunk

if TYPE_CHECKING:
    from hitl_bridge.core.task_types import TaskType

MAX_ROW_BYTES = 10 * 1024 * 1024
"""A row larger than this is a problem row: no reviewer's page could show it, and a few of them would fill the memory."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ARROW = {"VARCHAR": pa.string(), "DOUBLE": pa.float64(), "BIGINT": pa.int64()}
_SCHEMA = pa.schema([(name, _ARROW[kind]) for name, kind in PREDICTIONS.items()])

_Name: TypeAlias = Annotated[str, Field(min_length=1, max_length=200)]
_Share: TypeAlias = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Finite: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]


class _Row(TypedDict, total=False):
    """A prediction as PRODUCT describes it. Fields that are not named here are left alone."""

    __pydantic_config__ = ConfigDict(strict=True)  # type: ignore[misc]

    item_id: Required[_Name]
    input: Required[dict[str, Any]]
    prediction: Required[dict[str, Any]]
    model_version: Required[_Name]
    scores: dict[str, _Share] | None
    confidence: _Share | None
    energy: _Finite | None
    logits: dict[str, _Finite] | None
    scenario: _Name | None
    attributes: dict[str, Any] | None
    predicted_at: str | None


_validate = TypeAdapter(_Row).validate_python


class RowProblem(ValueError):
    """Why a row can't be taken, without any of its text. Becomes a `Problem`."""


@dataclass(frozen=True, slots=True)
class RowRules:
    """What a workspace asks of its predictions. Raises UsageError for an attribute type that does not exist.

    `with_scores`: whether triage looks at all scores (calibrations do) and not only at what was made of them.
    """

    task: TaskType
    labels: Sequence[str]
    key: bytes
    attributes: Mapping[str, str]
    with_scores: bool = False
    kinds: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        kinds = {name: normalise.attribute_kind(kind) for name, kind in self.attributes.items()}
        for name, kind in kinds.items():
            if kind is None:
                known = ", ".join(normalise.ATTRIBUTE_TYPES)
                raise UsageError(
                    f"attributes.{name}: there is no type {self.attributes[name]!r}.", remedy=f"Use one of: {known}."
                )
        object.__setattr__(self, "kinds", kinds)


class CheckedRow(NamedTuple):
    """A good row; texts are canonical JSON where they are JSON. `score_values` exclude each other: margin and entropy are made of
    them."""

    item_id: str
    input: str
    output: str
    scores: str
    confidence: float
    energy: float | None
    label: str | None
    model_version: str
    scenario: str | None
    attributes: str
    predicted_at: str | None
    input_digest: str
    content_digest: str
    score_values: Mapping[str, float]


def check_row(raw: JSON, rules: RowRules, *, suspect: bool = True) -> CheckedRow:
    """The row in the form that triage takes.

    Args:
        suspect: whether the values still have to be searched for what no database keeps (NUL, lone surrogates, huge
            whole numbers, deep nesting). A reader that has seen the text knows more cheaply when there is no need.

    Raises:
        RowProblem: for the first thing that is wrong.
    """
    if not isinstance(raw, Mapping):
        raise RowProblem("not a JSON object")
    if suspect and (found := normalise.value_problem(raw)):
        raise RowProblem(f"holds {found}")
    try:
        row = _validate(raw)
    except ValidationError as invalid:
        raise RowProblem(_first_error(invalid)) from None
    return _checked(row, rules)


def _first_error(invalid: ValidationError) -> str:
    error = invalid.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in error["loc"])
    return f"{where[:100]}: {error['msg'][0].lower()}{error['msg'][1:]}"


def _checked(row: _Row, rules: RowRules) -> CheckedRow:
    for name in (row["item_id"], row["model_version"]):
        if _CONTROL.search(name):
            raise RowProblem("item_id and model_version must hold no control characters")
    output, scores = row["prediction"], row.get("scores") or {}
    _check_values(row, scores, rules)
    confidence, scenario = _confidence(row, scores, rules), row.get("scenario")
    doubt = _energy(row, rules)
    attributes = _attributes(row.get("attributes") or {}, rules)
    try:
        texts = [normalise.canonical(each) for each in (row["input"], output, scores, attributes, scenario)]
    except (TypeError, ValueError) as unfit:
        raise RowProblem(f"holds what JSON can't say: {type(unfit).__name__}") from None
    if len(texts[0]) > MAX_ROW_BYTES:
        raise RowProblem(f"input is larger than {MAX_ROW_BYTES:,} bytes")
    return CheckedRow(
        item_id=row["item_id"],
        input=texts[0],
        output=texts[1],
        scores=texts[2],
        confidence=confidence,
        energy=doubt,
        label=headline(output),
        model_version=row["model_version"],
        scenario=scenario,
        attributes=texts[3],
        predicted_at=_instant(row.get("predicted_at")),
        input_digest=normalise.input_digest(rules.key, row["input"], texts[0]),
        content_digest=normalise.content_digest(rules.key, (texts[1], texts[4], texts[3]), confidence, scores, doubt),
        score_values=rules.task.torn_between(scores),
    )


def _check_values(row: _Row, scores: Mapping[str, float], rules: RowRules) -> None:
    shown, output, kind = row["input"], row["prediction"], rules.task
    reason = kind.input_problem(shown) or kind.output_problem(output, rules.labels) or kind.pair_problem(shown, output)
    if reason:
        raise RowProblem(reason)
    for label in scores:
        if label not in rules.labels:
            raise RowProblem(f"scores: unknown label {label[:80]!r}")


def _energy(row: _Row, rules: RowRules) -> float | None:
    """As given, or else that of the logits; None without either."""
    logits = row.get("logits") or {}
    for label in logits:
        if label not in rules.labels:
            raise RowProblem(f"logits: unknown label {label[:80]!r}")
    given = row.get("energy")
    return energy(logits) if given is None else given + 0.0


def _confidence(row: _Row, scores: Mapping[str, float], rules: RowRules) -> float:
    """As given, or else what the scores say of the prediction."""
    given = row.get("confidence")
    if given is None:
        given = rules.task.confidence(row["prediction"], scores)
    if given is None:
        raise RowProblem("scores: the predicted label has none" if scores else "scores or confidence is required")
    return given + 0.0  # −0.0 is written as 0.0


def _attributes(attributes: dict[str, JSON], rules: RowRules) -> dict[str, JSON]:
    typed = dict(attributes)
    for name, kind in rules.kinds.items():
        if name in typed:
            try:
                typed[name] = normalise.as_attribute(typed[name], kind)
            except ValueError as wrong:
                raise RowProblem(f"attributes.{name}: {wrong}") from None
    return typed


def _instant(text: str | None) -> str | None:
    if text is not None:
        try:
            datetime.fromisoformat(text)
        except ValueError:
            raise RowProblem("predicted_at: must be a time as in 2026-11-22T10:00:00Z") from None
    return text


class ChunkBuilder:
    """Collects rows into a chunk: the good ones as columns, the bad ones as problems."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._rows: list[CheckedRow] = []
        self._numbers: list[int] = []
        self._problems: list[Problem] = []
        self.read = 0

    def take(self, number: int, row: CheckedRow) -> None:
        self._rows.append(row)
        self._numbers.append(number)
        self.read += 1

    def refuse(self, number: int, reason: str) -> None:
        self._problems.append(Problem(row=number, reason=reason, file=self._file))
        self.read += 1

    def chunk(self) -> PredictionChunk:
        return PredictionChunk(table_of(self._rows, self._numbers), tuple(self._problems), self.read, self._file)


def table_of(rows: Sequence[CheckedRow], numbers: Sequence[int]) -> pa.Table:
    """Rows with their numbers as a table (columns: `core.triage.columns.PREDICTIONS`)."""
    columns: dict[str, Any] = dict(zip(CheckedRow._fields, zip(*rows, strict=True), strict=True)) if rows else {}
    margins, entropies = doubts(columns.get("score_values", ()))
    columns |= {"margin": margins, "entropy": entropies, "row": numbers}
    arrays = [pa.array(columns.get(name, ()), type=_SCHEMA.field(name).type, from_pandas=True) for name in PREDICTIONS]
    return pa.Table.from_arrays(arrays, schema=_SCHEMA)


def check_predictions(rows: Sequence[JSON], rules: RowRules) -> PredictionChunk:
    """Rows that are already in memory (REST, a DataFrame's records), as one chunk. Row numbers count from 1."""
    building = ChunkBuilder("")
    for number, raw in enumerate(rows, start=1):
        try:
            building.take(number, check_row(raw, rules))
        except RowProblem as wrong:
            building.refuse(number, str(wrong))
    return building.chunk()
