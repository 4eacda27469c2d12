"""Checks of single columns: which rows are not sure to be right, for `predictions.columns`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hitl_bridge.adapters.arrow_json import BytesLike, flagged, is_ascii, is_text, plain

Flags = NDArray[np.bool_]

_LONGEST_NAME = 200
_SLICE = 1024
"""Where a whole column can't be judged, this many rows at a time are."""

_CONTROL = BytesLike(below=0x20, equal=(0x7F,))
_NUL = BytesLike(below=1)

_DAY = r"(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|1\d|2[0-8]))"
_INSTANT = (
    rf"^(?:[1-9]\d{{3}})-{_DAY}T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{{3}}|\.\d{{6}})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)?$"
)


def is_float(kind: pa.DataType) -> bool:
    return bool(pa.types.is_float32(kind) or pa.types.is_float64(kind))


def field_names(kind: pa.DataType) -> list[str]:
    return [kind.field(at).name for at in range(kind.num_fields)] if pa.types.is_struct(kind) else []


class Odd:
    """Which rows are not sure to be good."""

    def __init__(self, rows: int) -> None:
        self.flags: Flags = np.zeros(rows, np.bool_)

    def where(self, flags: Any) -> None:
        self.flags |= np.asarray(flags)

    def at(self, places: NDArray[np.int64]) -> None:
        self.flags[places] = True


def not_utf8(batch: Mapping[str, pa.Array], rows: int) -> Flags:
    """Rows among which there is a text that is no UTF-8, `_SLICE` rows at a time."""
    bad = np.zeros(rows, np.bool_)
    for column in batch.values():
        if not _is_sound(column):
            for at in range(0, rows, _SLICE):
                part = column.slice(at, _SLICE)
                bad[at : at + _SLICE] |= not _is_sound(pa.concat_arrays([part]))
    return bad


def _is_sound(column: pa.Array) -> bool:
    if pa.types.is_struct(column.type):
        return all(_is_sound(column.field(at)) for at in range(column.type.num_fields))
    if pa.types.is_string(column.type) and is_ascii(column):
        return True
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def checked_name(column: pa.Array, odd: Odd) -> pa.Array:
    """An id: 1 to 200 characters, none of them a control character."""
    texts = plain(column)
    if texts.null_count:
        odd.where(texts.is_null())
        texts = texts.fill_null("")
    odd.where(~_between(texts, 1, _LONGEST_NAME))
    odd.at(flagged(texts, _CONTROL))
    return texts


def _between(texts: pa.Array, least: int, most: int) -> Flags:
    sizes = np.asarray(pc.binary_length(texts))
    fits: Flags = (sizes >= least) & (sizes <= most)
    if (sizes > most).any():  # bytes; perhaps it has fewer characters
        fits |= (sizes > most) & (np.asarray(pc.utf8_length(texts)) <= most)
    return fits


def as_codes(column: pa.Array) -> pa.DictionaryArray:
    coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    return pa.DictionaryArray.from_arrays(coded.indices.cast(pa.int32()), plain(coded.dictionary))


def flags_of(coded: pa.DictionaryArray, bad: Flags, *, null: bool) -> Flags:
    """For each row what is said of its value; `null` where it has none."""
    codes = np.asarray(coded.indices.fill_null(len(coded.dictionary)))
    flags: Flags = np.append(bad, null)[codes]
    return flags


def coded_name(column: pa.Array, odd: Odd) -> pa.DictionaryArray:
    coded = as_codes(column)
    values = Odd(len(coded.dictionary))
    checked_name(coded.dictionary, values)
    odd.where(flags_of(coded, values.flags, null=True))
    return filled(coded, values.flags)


def filled(coded: pa.DictionaryArray, bad: Flags) -> pa.DictionaryArray:
    """Without nulls: odd rows are left out later, and until then have some value."""
    if not coded.null_count:
        return coded
    if not len(coded.dictionary):
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(coded), np.int32)), pa.array([""]))
    return pa.DictionaryArray.from_arrays(coded.indices.fill_null(0), coded.dictionary)


def checked_scenario(column: pa.Array | None, rows: int, odd: Odd) -> pa.DictionaryArray:
    if column is None:
        return pa.DictionaryArray.from_arrays(pa.nulls(rows, pa.int32()), pa.array([], pa.string()))
    coded = as_codes(column)
    bad = ~_between(coded.dictionary, 1, _LONGEST_NAME)
    bad[flagged(coded.dictionary, _NUL)] = True
    odd.where(flags_of(coded, bad, null=False))
    return coded


def instants_as_text(column: pa.Array | None, rows: int, odd: Odd) -> pa.Array:
    if column is None:
        return pa.nulls(rows, pa.string())
    if is_text(column.type):
        texts = plain(column)
        odd.where(~np.asarray(pc.fill_null(pc.match_substring_regex(texts, _INSTANT), True)))
        return texts
    _look_at_years(column, odd)
    if (
        column.type.unit != "s"
        and not pc.all(pc.equal(pc.cast(pc.cast(column, _seconds(column), safe=False), column.type), column)).as_py()
    ):
        odd.where(column.is_valid())  # parts of seconds are written by the other lane
        return pa.nulls(rows, pa.string())
    clock = pc.cast(pc.cast(column, _seconds(column), safe=False), pa.timestamp("s")).cast(pa.string())
    return pc.binary_join_element_wise(pc.replace_substring(clock, " ", "T"), "" if column.type.tz is None else "+00:00", "")


def _seconds(column: pa.Array) -> pa.DataType:
    return pa.timestamp("s", column.type.tz)


def _look_at_years(column: pa.Array, odd: Odd) -> None:
    years = np.asarray(pc.fill_null(pc.year(column), 2000))
    odd.where((years < 1) | (years > 9999))


def look_through(column: pa.Array, odd: Odd) -> None:
    """A column that is no part of a prediction: a row is odd if it holds there what makes a row a bad one."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if is_text(column.type):
        odd.at(flagged(plain(column), _NUL))
    elif is_float(column.type):
        odd.where(np.asarray(pc.fill_null(pc.invert(pc.is_finite(column)), False)))
    elif pa.types.is_list(column.type):
        finite = np.asarray(pc.fill_null(pc.is_finite(column.flatten()), True))
        odd.at(np.asarray(pc.list_parent_indices(column))[~finite])
    elif pa.types.is_timestamp(column.type) or pa.types.is_date32(column.type):
        _look_at_years(column, odd)


def parts_of(column: pa.Array) -> dict[str, pa.Array]:
    """The fields of a struct by name; null where the struct is."""
    return dict(zip(field_names(column.type), (as_plain(part) for part in column.flatten()), strict=True))


def as_plain(column: pa.Array) -> pa.Array:
    """Texts with 32-bit offsets, which is what all checks here look at."""
    return plain(column) if pa.types.is_large_string(column.type) else column


def look_at_values(column: pa.Array, odd: Odd) -> None:
    """Values that JSON or a database can't keep."""
    if pa.types.is_dictionary(column.type):
        values = Odd(len(column.dictionary))
        look_at_values(as_plain(column.dictionary), values)
        odd.where(flags_of(as_codes(column), values.flags, null=False))
    elif is_text(column.type):
        odd.at(flagged(column, _NUL))
    elif is_float(column.type):
        odd.where(np.asarray(pc.fill_null(pc.invert(pc.is_finite(column)), False)))


def perhaps_blank(texts: pa.Array) -> Flags:
    """A text that begins with a printable letter of ASCII is not blank; the others are asked one by one."""
    _, offsets, values = texts.buffers()
    bounds = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    data = np.append(np.frombuffer(values if values is not None else b"", np.uint8), np.uint8(0))
    first = data[np.minimum(bounds[:-1], len(data) - 1)]
    blank: Flags = (first <= 0x20) | (first >= 0x7F) | (bounds[1:] == bounds[:-1])
    places = np.flatnonzero(blank)
    if len(places):
        some = texts.take(pa.array(places)).to_pylist()
        blank[places] = [text is None or not text.strip() for text in some]
    return blank
