from __future__ import annotations

import subprocess
import sys

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from hitl_bridge.core.dataset.columns import table_of
from hitl_bridge.core.dataset.schema import decision_schema

VALUES = {
    pa.string(): st.none() | st.text(st.characters(exclude_categories=["Cs"])),
    pa.float64(): st.none() | st.floats(allow_nan=False),
    pa.int32(): st.none() | st.integers(-(2**31), 2**31 - 1),
    pa.bool_(): st.none() | st.booleans(),
    pa.list_(pa.string()): st.none() | st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=3),
}
SCHEMA = pa.schema([pa.field(str(number), kind) for number, kind in enumerate(VALUES)])
ROWS = st.lists(st.fixed_dictionaries({}, optional={str(number): values for number, values in enumerate(VALUES.values())}))


@settings(deadline=None)  # the first comparison loads pandas
@given(ROWS)
def test_a_table_from_buffers_is_the_one_that_arrow_makes(rows: list[dict[str, object]]) -> None:
    table = table_of(rows, SCHEMA)
    table.validate(full=True)
    assert table.equals(pa.Table.from_pylist(rows, schema=SCHEMA))


def test_every_kind_of_column_of_the_dataset_is_known() -> None:
    assert {field.type for field in decision_schema()} <= VALUES.keys()


def test_no_pandas_is_loaded_for_it() -> None:
    program = (
        "import sys; from hitl_bridge.core.dataset import columns, schema as s\n"
        "s.to_parquet(columns.table_of([{'op': 'add', 'item_id': 'a', 'revision': 0, 'seq': 0}], s.decision_schema()))\n"
        "assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
