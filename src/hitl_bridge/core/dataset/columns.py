"""Rows to an Arrow table, without pandas.

`pyarrow.array` and `Table.from_pylist` import pandas, just in case a value is of it: half a second, a fifth of all that a
commit of 1,000 decisions costs. Columns built from their buffers need none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa


def table_of(rows: Sequence[Mapping[str, object]], schema: pa.Schema) -> pa.Table:
    """A table of `schema`; a key that a row lacks is null. Raises TypeError, ValueError or OverflowError for a value that its
    column can't hold."""
    import pyarrow as pa

    columns = [_column([row.get(field.name) for row in rows], field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    import pyarrow as pa

    if pa.types.is_string(kind):
        return _texts(values)
    if pa.types.is_list(kind) and pa.types.is_string(kind.value_type):
        return _lists(values, kind)
    for known, filling, type_of_numbers in ((pa.int32(), 0, np.int32), (pa.float64(), 0.0, np.float64)):
        if kind == known:
            filled = np.array([filling if value is None else value for value in values], dtype=type_of_numbers)
            return pa.Array.from_buffers(kind, len(values), [_validity(values), pa.py_buffer(filled)])
    if pa.types.is_boolean(kind):
        return pa.Array.from_buffers(kind, len(values), [_validity(values), _bits([bool(value) for value in values])])
    return pa.array(values, kind)


def _texts(values: Sequence[str | None]) -> pa.Array:
    import pyarrow as pa

    encoded = [b"" if value is None else value.encode() for value in values]
    return pa.StringArray.from_buffers(len(values), _offsets(encoded), pa.py_buffer(b"".join(encoded)), _validity(values))


def _lists(values: Sequence[Sequence[str] | None], kind: pa.DataType) -> pa.Array:
    import pyarrow as pa

    given = [() if value is None else value for value in values]
    texts = _texts([text for value in given for text in value])
    return pa.Array.from_buffers(kind, len(values), [_validity(values), _offsets(given)], children=[texts])


def _offsets(values: Sequence[Sequence[Any]]) -> pa.Buffer:
    import pyarrow as pa

    return pa.py_buffer(np.array([*accumulate(map(len, values), initial=0)], dtype=np.int32))


def _validity(values: Sequence[object]) -> pa.Buffer | None:
    """None where no value is null."""
    return _bits([value is not None for value in values]) if None in values else None


def _bits(flags: Sequence[bool]) -> pa.Buffer:
    import pyarrow as pa

    packed: npt.NDArray[np.uint8] = np.packbits(np.array(flags, dtype=bool), bitorder="little")
    return pa.py_buffer(packed)
