"""Scores, confidences and digests of whole columns of predictions, for `predictions.columns`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hitl_bridge.adapters import arrow_json
from hitl_bridge.adapters.predictions.checks import Flags, Odd, parts_of
from hitl_bridge.core import macs
from hitl_bridge.core.triage import normalise
from hitl_bridge.core.triage.verdicts import distinct

if TYPE_CHECKING:
    from hitl_bridge.adapters.predictions.rows import RowRules

Numbers = NDArray[np.float64]

_PATTERNS = 16
"""More ways of leaving scores out than this are not worth columns of their own."""


@dataclass(frozen=True, slots=True)
class Outputs:
    texts: pa.DictionaryArray
    labels: pa.DictionaryArray


@dataclass(frozen=True, slots=True)
class Scores:
    """`matrix`: a column for each label of `labels`, NaN where there is no score."""

    labels: list[str]
    matrix: Numbers

    @classmethod
    def of(cls, column: pa.Array | None, rows: int, rules: RowRules, odd: Odd) -> Scores:
        labels, columns = [], []
        for label, part in ({} if column is None else parts_of(column)).items():
            values = np.asarray(part.cast(pa.float64()).fill_null(np.nan))
            missing = np.asarray(part.is_null()) if part.null_count else np.zeros(1, np.bool_)
            if label not in rules.labels:
                odd.where(~missing)
                continue
            fits = missing | ((values >= 0) & (values <= 1))
            odd.where(~fits)
            labels.append(label)
            columns.append(np.where(fits, values, 0.0))
        matrix = np.stack(columns).T if columns else np.zeros((rows, 0))
        rare = _rarely_so(~np.isnan(matrix))
        matrix[rare] = 0.0
        odd.where(rare)
        return cls(labels, matrix)

    def own(self, outputs: Outputs) -> Numbers:
        """The predicted label's score; NaN where it has none."""
        place = {label: at for at, label in enumerate(self.labels)}
        by_code = np.array([place.get(label, -1) for label in outputs.labels.dictionary.to_pylist()] or [-1])
        places = by_code[np.asarray(outputs.labels.indices)]
        with_none = np.concatenate([self.matrix, np.full((len(self.matrix), 1), np.nan)], axis=1)
        own: Numbers = with_none[np.arange(len(places)), places]
        return own

    def as_lists(self, outputs: Outputs) -> dict[str, Any]:
        """For calibrations: the scores in the order of their labels, as canonical JSON has them."""
        ordered = self.matrix[:, np.argsort(self.labels)] if self.labels else self.matrix
        there = ~np.isnan(ordered)
        offsets = np.append(0, np.cumsum(there.sum(axis=1))).astype(np.int32)
        lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(ordered[there]))
        return {"__score_list": lists, "__own_score": or_null(self.own(outputs))}


def _rarely_so(there: Flags) -> Flags:
    """Rows that leave scores out in a way that few others do: each way costs a call over all of its rows."""
    if there.all():
        return np.zeros(len(there), np.bool_)
    _, rows, counts = np.unique(np.packbits(there, axis=1), axis=0, return_inverse=True, return_counts=True)
    rare = np.ones(len(counts), np.bool_)
    rare[np.argsort(counts)[::-1][:_PATTERNS]] = False
    flags: Flags = rare[rows.reshape(-1)]
    return flags


def confidences(batch: Mapping[str, pa.Array], scores: Scores, outputs: Outputs, odd: Odd) -> pa.Array:
    """As given, or else the score of the predicted label."""
    column = batch.get("confidence")
    if column is None:
        found = scores.own(outputs)
    else:
        found = np.asarray(column.cast(pa.float64()).fill_null(-1.0))
        missing = np.asarray(column.is_null())
        if missing.any():
            found = np.where(missing, scores.own(outputs), found)
    odd.where(~((found >= 0) & (found <= 1)))
    return pa.array(found + 0.0)


def or_null(values: Numbers) -> pa.Array:
    return pa.array(values, mask=np.isnan(values))


def digests(columns: Mapping[str, Any], inputs: macs.Bytes, scores: Scores, rules: RowRules) -> dict[str, Any]:
    return {
        "input_digest": _as_column(inputs),
        "content_digest": _as_column(_content_macs(columns, scores, rules.key)),
        "item_hash": pa.array(macs.item_hashes(columns["item_id"])),
    }


def _as_column(digests: macs.Bytes) -> pa.Array:
    kind = pa.binary(macs.SIZE)
    return pa.Array.from_buffers(kind, len(digests), [None, pa.py_buffer(np.ascontiguousarray(digests))])


def _content_macs(columns: Mapping[str, Any], scores: Scores, key: bytes) -> macs.Bytes:
    """See `normalise.content_digest`; rows that have scores of the same labels together."""
    order = np.argsort(scores.labels) if scores.labels else np.zeros(0, np.int64)
    ordered, confidence = scores.matrix[:, order], np.asarray(columns["confidence"])
    labels = [scores.labels[place] for place in order]
    digests = np.zeros((len(confidence), macs.SIZE), np.uint8)
    for pattern, places in _patterns(ordered):
        names = [label for label, there in zip(labels, pattern, strict=True) if there]
        texts = [columns[name] for name in ("output", "scenario", "attributes")]
        if places is None:
            return _same_labels(texts, names, np.column_stack([confidence, ordered]), key)
        some = [text.take(pa.array(places)) for text in texts]
        numbers = np.column_stack([confidence[places], ordered[places][:, pattern]])
        digests[places] = _same_labels(some, names, numbers, key)
    return digests


def _same_labels(texts: list[Any], names: list[str], numbers: Numbers, key: bytes) -> macs.Bytes:
    """Digests of rows whose scores are of the labels `names`. `texts`: output, scenario, attributes."""
    output, scenario, attributes = texts
    heads, codes = _heads(output, scenario, names, key)
    numbered = np.ascontiguousarray(numbers, "<f8").view(np.uint8)
    filling = np.zeros((len(numbered), -numbered.shape[1] % macs.SIZE), np.uint8)
    front = np.concatenate([np.take(heads, codes, axis=0), numbered, filling], axis=1)
    return macs.macs(macs.mac_key(key, normalise.CONTENT), attributes, front)


def _heads(output: Any, scenario: Any, names: list[str], key: bytes) -> tuple[macs.Bytes, NDArray[np.int64]]:
    """The digest of each different `content_head`, and the place of each row's among them."""
    outputs = output.dictionary.to_pylist()
    scenarios = [*arrow_json.values_as_json(scenario.dictionary).to_pylist(), "null"]
    of_scenario = np.asarray(scenario.indices.fill_null(len(scenario.dictionary)), np.int64)
    codes = np.asarray(output.indices, np.int64) * len(scenarios) + of_scenario
    used, places = distinct(codes)
    pairs = (divmod(int(code), len(scenarios)) for code in used)
    heads = [normalise.content_head(outputs[one], scenarios[other], names) for one, other in pairs]
    return macs.macs(macs.mac_key(key, normalise.CONTENT_HEAD), pa.array(heads, pa.string())), places


def _patterns(scores: Numbers) -> list[tuple[Flags, NDArray[np.int64] | None]]:
    """Which scores are there, with the places of the rows of which that is true; None for all rows."""
    there = ~np.isnan(scores)
    if there.all():
        return [(np.ones(scores.shape[1], np.bool_), None)]
    kinds, rows = np.unique(there, axis=0, return_inverse=True)  # odd rows have ways of their own: their digests are not used
    rows = rows.reshape(-1)
    return [(kind, np.flatnonzero(rows == number)) for number, kind in enumerate(kinds)]
