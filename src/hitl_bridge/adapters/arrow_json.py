"""Canonical JSON of whole Arrow columns: the same bytes as `core.triage.normalise.canonical` gives row by row.

What is rare, and where two libraries might write something differently (texts to be escaped, numbers beyond the everyday), is
written by Python's own encoder, row by row; the rest is put together column by column.
"""

from __future__ import annotations

from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Flags = NDArray[np.bool_]

_LOOKED_AT, _FEW = 4096, 256

_WHOLE_UP_TO = 1e9
_SMALLEST = 1e-4
"""Between these two Arrow writes a number that is not whole as Python does: the shortest text that gives it back."""


def is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def is_scalar(kind: pa.DataType) -> bool:
    """Whether JSON has values of this kind, and this module their texts."""
    return bool(is_text(kind) or pa.types.is_boolean(kind) or is_number(kind) or pa.types.is_null(kind))


def is_number(kind: pa.DataType) -> bool:
    return is_whole(kind) or bool(pa.types.is_float32(kind) or pa.types.is_float64(kind))


def is_whole(kind: pa.DataType) -> bool:
    """Whole numbers that fit 64 bits with a sign."""
    return bool(pa.types.is_integer(kind) and not pa.types.is_uint64(kind))


def plain(column: pa.Array) -> pa.Array:
    """Texts as Arrow's ordinary strings, whatever they came as."""
    return column.cast(pa.string()) if column.type != pa.string() else column


def perhaps_coded(texts: pa.Array) -> pa.Array:
    """Texts with codes for their values, where there are few different ones."""
    few = len(texts) and len(texts.slice(0, _LOOKED_AT).unique()) <= _FEW
    return texts.dictionary_encode() if few else texts


@dataclass(frozen=True, slots=True)
class BytesLike:
    """Bytes below a number, and some others."""

    below: int
    equal: tuple[int, ...] = ()

    def among(self, data: NDArray[np.uint8]) -> Flags:
        found: Flags = data < self.below
        for each in self.equal:
            found |= data == each
        return found


_ESCAPED = BytesLike(below=0x20, equal=(ord('"'), ord("\\")))


def flagged(texts: pa.Array, wanted: BytesLike) -> NDArray[np.int64]:
    """Places of the texts that hold one of these bytes."""
    data, bounds = _data(texts)
    hits = np.flatnonzero(wanted.among(data))
    if not len(hits):
        return np.zeros(0, np.int64)
    places: NDArray[np.int64] = np.unique(np.searchsorted(bounds, hits, side="right") - 1)
    return places[~np.asarray(texts.is_null())[places]] if texts.null_count else places


def is_ascii(texts: pa.Array) -> bool:
    data, _ = _data(texts)
    return not len(data) or int(data.max()) < 0x80


def _data(texts: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """The bytes of all texts, and where in them each begins (one more: where the last one ends)."""
    _, offsets, values = texts.buffers()
    if values is None or not len(texts):
        return np.zeros(0, np.uint8), np.zeros(len(texts) + 1, np.int32)
    bounds = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return np.frombuffer(values, np.uint8)[bounds[0] : bounds[-1]], bounds - bounds[0]


def values_as_json(column: pa.Array) -> pa.Array:
    """The JSON text of each value; null for null. NaN and infinities have none: whoever asks has sorted them out.

    Args:
        column: of a kind for which `is_scalar` is true.
    """
    if pa.types.is_null(column.type):
        return pa.nulls(len(column), pa.string())
    if pa.types.is_dictionary(column.type):
        return values_as_json(column.dictionary).take(column.indices)
    if is_text(column.type):
        escaped = _escaped(plain(column))
        return pc.binary_join_element_wise('"', escaped, '"', "")
    if pa.types.is_boolean(column.type) or is_whole(column.type):
        return column.cast(pa.string())
    return _float_texts(column)


def _escaped(texts: pa.Array) -> pa.Array:
    places = flagged(texts, _ESCAPED)
    if not len(places):
        return texts
    written = [encode_basestring(text)[1:-1] for text in texts.take(pa.array(places)).to_pylist()]
    return pc.replace_with_mask(texts, _mask(len(texts), places), pa.array(written, pa.string()))


def _float_texts(column: pa.Array) -> pa.Array:
    """As Python's repr: the shortest text that gives the number back, with a point or an exponent in it."""
    column = column.cast(pa.float64())
    numbers = np.asarray(column.fill_null(0.5))
    size = np.abs(numbers)
    whole = (numbers == np.trunc(numbers)) & (size < _WHOLE_UP_TO)
    odd = ~whole & ~((size >= _SMALLEST) & (size < _WHOLE_UP_TO))
    texts = column.cast(pa.string())
    if whole.any():
        mask = pa.array(whole)
        texts = pc.replace_with_mask(texts, mask, pc.binary_join_element_wise(texts.filter(mask), "0", "."))
    odd |= whole & (numbers == 0) & np.signbit(numbers)
    if odd.any():
        written = [repr(number) for number in numbers[odd].tolist()]
        texts = pc.replace_with_mask(texts, pa.array(odd), pa.array(written, pa.string()))
    return pc.if_else(column.is_null(), pa.scalar(None, pa.string()), texts) if column.null_count else texts


def objects_as_json(names: list[str], columns: list[pa.Array], rows: int) -> pa.Array:
    """An object of each row, keys sorted; a null value is left out with its key."""
    pairs = sorted(zip(names, columns, strict=True), key=lambda pair: pair[0])
    if not pairs:
        return pa.array(["{}"] * rows, pa.string())
    members = [_member(name, column) for name, column in pairs]
    if any(text.null_count for _, text, _ in members):
        texts = [pc.fill_null(pc.binary_join_element_wise("," + before, text, after, ""), "") for before, text, after in members]
        return pc.replace_substring(pc.binary_join_element_wise("{", *texts, "}", ""), "{,", "{", max_replacements=1)
    pieces: list[Any] = ["{"]
    for before, text, after in members:
        pieces[-1] += before
        pieces += [text, after + ","]
    return pc.binary_join_element_wise(*pieces[:-1], pieces[-1][:-1] + "}", "")


def _member(name: str, column: pa.Array) -> tuple[str, pa.Array, str]:
    """What stands before the values of a key, the values, and what stands behind them: quotes are put round texts only when all
    is put together."""
    key = f"{encode_basestring(name)}:"
    if pa.types.is_string(column.type):
        return key + '"', _escaped(column), '"'
    return key, values_as_json(column), ""


def _mask(rows: int, places: NDArray[np.int64]) -> pa.Array:
    mask = np.zeros(rows, np.bool_)
    mask[places] = True
    return pa.array(mask)
