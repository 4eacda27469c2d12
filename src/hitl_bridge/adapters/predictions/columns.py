"""The checks of `predictions.rows`, over whole columns of Parquet instead of row by row.

What is certain to be a good prediction is taken here; a row with anything out of the ordinary about it is handed to
`predictions.rows`, which alone decides what is wrong with it and in which words. So both give the same verdicts: this lane only
has to be right about rows that are right. Columns of kinds that it does not know make the whole file go the other way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hitl_bridge.adapters import arrow_json
from hitl_bridge.adapters.arrow_json import is_number, is_scalar, is_text, is_whole, perhaps_coded, plain
from hitl_bridge.adapters.predictions.checks import (
    Odd,
    as_codes,
    as_plain,
    checked_name,
    checked_scenario,
    coded_name,
    field_names,
    filled,
    flags_of,
    instants_as_text,
    is_float,
    look_at_values,
    look_through,
    not_utf8,
    parts_of,
    perhaps_blank,
)
from hitl_bridge.adapters.predictions.scores import Outputs, Scores, confidences, digests, or_null
from hitl_bridge.core import macs
from hitl_bridge.core.task_types.classification import ImageClassification, TextClassification
from hitl_bridge.core.triage import normalise
from hitl_bridge.core.triage.uncertainty import entropy, margin

if TYPE_CHECKING:
    from hitl_bridge.adapters.predictions.rows import RowRules

_LONGEST_NAME = 200
_LARGE = 1 << 20
"""Texts of a megabyte and more go the other way, where the cap on a row's size is kept."""

_TYPED = "attribute:"
_KNOWN = ("item_id", "input", "prediction", "model_version", "scores", "confidence", "scenario", "attributes", "predicted_at")
_OPTIONAL = ("scores", "confidence", "scenario", "attributes", "predicted_at")


def takes(schema: pa.Schema, rules: RowRules) -> bool:
    """Whether files with these columns can be read column by column."""
    kinds = {field.name: field.type for field in schema if not _is_empty(field)}
    if len(set(schema.names)) != len(schema) or not isinstance(rules.task, TextClassification | ImageClassification):
        return False
    if {"energy", "logits"} & set(kinds):
        return False
    if not {"item_id", "input", "prediction", "model_version"} <= set(kinds) or not {"scores", "confidence"} & set(kinds):
        return False
    known = all(_KINDS.get(name, _is_extra)(kind) for name, kind in kinds.items())
    return known and rules.task.input_field in field_names(kinds["input"]) and "label" in field_names(kinds["prediction"])


def _is_empty(field: pa.Field) -> bool:
    """A column that says nothing, as a writer makes it who has seen no value."""
    return field.name in _OPTIONAL and bool(pa.types.is_null(field.type))


def _is_object(kind: pa.DataType) -> bool:
    names = field_names(kind)
    return bool(names) and len(set(names)) == len(names) and all(is_scalar(kind.field(at).type) for at in range(len(names)))


def _is_scores(kind: pa.DataType) -> bool:
    return _is_object(kind) and all(is_float(kind.field(at).type) for at in range(kind.num_fields))


def _is_instant(kind: pa.DataType) -> bool:
    plain_clock = pa.types.is_timestamp(kind) and kind.unit in ("s", "ms", "us") and kind.tz in (None, "UTC")
    return is_text(kind) or bool(plain_clock)


def _is_extra(kind: pa.DataType) -> bool:
    """What stands beside a prediction is looked through for what no database keeps, and otherwise left alone."""
    if pa.types.is_list(kind) and is_float(kind.value_type):
        return True
    return is_scalar(kind) or bool(pa.types.is_date32(kind)) or (_is_instant(kind))


_KINDS: Mapping[str, Callable[[pa.DataType], bool]] = {
    "item_id": is_text,
    "model_version": is_text,
    "scenario": is_text,
    "input": _is_object,
    "prediction": _is_object,
    "attributes": _is_object,
    "scores": _is_scores,
    "confidence": is_float,
    "predicted_at": _is_instant,
}


@dataclass(frozen=True, slots=True)
class Columns:
    """Some rows, checked: `good` are the sure ones, as far as triage needs them; `odd` are places of the others. `sound`: all
    texts are UTF-8."""

    good: pa.Table
    odd: NDArray[np.int64]
    sound: bool = True


def check_columns(rows: pa.Table, rules: RowRules) -> Columns:
    """Checks rows whose columns `takes` allows.

    The columns of `good` are those of `core.triage.columns.PREDICTIONS` but for input and scores, digests as 16 bytes; and
    `place` (in `rows`), `item_hash`, and declared attributes in their own type (`attribute:NAME`).
    """
    whole = rows.select([field.name for field in rows.schema if not _is_empty(field)]).combine_chunks()
    batch = {name: _one(whole[name]) for name in whole.column_names}
    batch = {name: as_plain(column) for name, column in batch.items()}
    odd = Odd(whole.num_rows)
    odd.where(not_utf8(batch, whole.num_rows))
    if odd.flags.any():
        return _without(whole, batch, odd, rules)
    return _checked(batch, odd, rules)


def _without(whole: pa.Table, batch: Mapping[str, pa.Array], odd: Odd, rules: RowRules) -> Columns:
    """Rows that are no UTF-8 must not reach Arrow's functions."""
    kept = np.flatnonzero(~odd.flags)
    some = {name: column.take(pa.array(kept)) for name, column in batch.items()}
    checked = _checked(some, Odd(len(kept)), rules)
    good = checked.good.set_column(
        checked.good.column_names.index("place"), "place", pa.array(kept[np.asarray(checked.good["place"])])
    )
    return Columns(good, np.union1d(np.flatnonzero(odd.flags), kept[checked.odd]), sound=False)


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def _checked(batch: Mapping[str, pa.Array], odd: Odd, rules: RowRules) -> Columns:
    rows = len(odd.flags)
    columns: dict[str, Any] = {
        "item_id": checked_name(batch["item_id"], odd),
        "model_version": coded_name(batch["model_version"], odd),
    }
    columns["scenario"] = checked_scenario(batch.get("scenario"), rows, odd)
    outputs = _outputs(batch["prediction"], rules, odd)
    scores = Scores.of(batch.get("scores"), rows, rules, odd)
    columns |= {"output": outputs.texts, "label": outputs.labels, "confidence": confidences(batch, scores, outputs, odd)}
    attributes = _attribute_parts(batch.get("attributes"))
    columns |= {"attributes": _attributes(attributes, rows, rules, odd)}
    columns |= {"predicted_at": instants_as_text(batch.get("predicted_at"), rows, odd)}
    inputs = _inputs(batch["input"], rules, odd)
    for name, column in batch.items():
        if name not in _KNOWN:
            look_through(column, odd)
    columns |= {"margin": or_null(margin(scores.matrix)), "entropy": or_null(entropy(scores.matrix))}
    columns |= _typed_attributes(attributes, rules)
    if rules.with_scores:
        columns |= scores.as_lists(outputs)
    columns |= digests(columns, inputs, scores, rules)
    good = np.flatnonzero(~odd.flags)
    table = pa.table({**columns, "place": pa.array(np.arange(rows, dtype=np.int64))})
    return Columns(table if len(good) == rows else table.take(pa.array(good)), np.flatnonzero(odd.flags))


# ----------------------------------------------------------------------------------------------------- the objects


def _attribute_parts(column: pa.Array | None) -> dict[str, pa.Array]:
    """The same, texts of which there are few different ones as codes: they are looked at and quoted once each."""
    parts = {} if column is None else parts_of(column)
    return {name: perhaps_coded(part) if pa.types.is_string(part.type) else part for name, part in parts.items()}


def _inputs(column: pa.Array, rules: RowRules, odd: Odd) -> macs.Bytes:
    """The digest of each input; what reviewers are shown is there and is not blank."""
    parts = parts_of(column)
    if column.null_count:
        odd.where(column.is_null())
    for part in parts.values():
        look_at_values(part, odd)
    shown = plain(parts[rules.task.input_field])
    if shown.null_count:
        odd.where(shown.is_null())
    odd.where(perhaps_blank(shown))
    if len(parts) == 1:
        texts, key = shown, macs.mac_key(rules.key, normalise.INPUT_TEXT, rules.task.input_field)
    else:
        texts, key = _safe_objects(parts, len(column)), macs.mac_key(rules.key, normalise.INPUT)
        several = sum(np.asarray(part.is_valid()).astype(np.int8) for part in parts.values()) > 1
        odd.where(~several)  # one text alone is digested in another way
    odd.where(np.asarray(pc.fill_null(pc.binary_length(texts), 0)) > _LARGE)
    return macs.macs(key, texts.fill_null("") if texts.null_count else texts)


def _safe_objects(parts: Mapping[str, pa.Array], rows: int) -> pa.Array:
    """Objects as JSON; NaN and infinities, whose rows are odd already, as nothing."""
    columns = []
    for part in parts.values():
        if is_float(part.type):
            part = pc.if_else(pc.fill_null(pc.is_finite(part), True), part, pa.scalar(None, part.type))
        columns.append(part)
    return arrow_json.objects_as_json(list(parts), columns, rows)


def _outputs(column: pa.Array, rules: RowRules, odd: Odd) -> Outputs:
    """What was predicted: canonical JSON, and the label. Few different ones, so each is looked at once."""
    parts = parts_of(column)
    if column.null_count:
        odd.where(column.is_null())
    if not is_text(parts["label"].type):
        odd.where(np.ones(len(column), np.bool_))
        parts["label"] = pa.nulls(len(column), pa.string())
    labels = as_codes(parts["label"])
    unknown = np.array([label not in rules.labels for label in labels.dictionary.to_pylist()], np.bool_)
    odd.where(flags_of(labels, unknown, null=True))
    labels = filled(labels, unknown)
    for name, part in parts.items():
        if name != "label":
            look_at_values(part, odd)
    if list(parts) == ["label"]:
        texts = arrow_json.objects_as_json(["label"], [labels.dictionary], len(labels.dictionary))
        return Outputs(pa.DictionaryArray.from_arrays(labels.indices, texts), labels)
    return Outputs(as_codes(_safe_objects(parts | {"label": labels}, len(column))), labels)


def _attributes(given: Mapping[str, pa.Array], rows: int, rules: RowRules, odd: Odd) -> pa.Array:
    """Canonical JSON, each declared attribute in its own kind."""
    parts = dict(given)
    for name, part in given.items():
        look_at_values(part, odd)
        kind = rules.kinds.get(name)
        if kind is not None and not _FITS[kind](part.type):
            odd.where(part.is_valid())
        elif kind == "float":
            parts[name] = part.cast(pa.float64())
    return _safe_objects(parts, rows)


_FITS: Mapping[str, Callable[[pa.DataType], bool]] = {
    "float": is_number,
    "integer": is_whole,
    "string": is_text,
    "boolean": pa.types.is_boolean,
}
_ARROW = {"float": pa.float64(), "integer": pa.int64(), "string": pa.string(), "boolean": pa.bool_()}


def _typed_attributes(parts: Mapping[str, pa.Array], rules: RowRules) -> dict[str, pa.Array]:
    """Declared attributes as rules see them, so that no JSON need be read for it."""
    fitting = {
        name: parts[name] for name, kind in rules.kinds.items() if kind and name in parts and _FITS[kind](parts[name].type)
    }
    return {_TYPED + name: _as_kind(part, str(rules.kinds[name])) for name, part in fitting.items()}


def _as_kind(part: pa.Array, kind: str) -> pa.Array:
    return part if pa.types.is_dictionary(part.type) else part.cast(_ARROW[kind])
