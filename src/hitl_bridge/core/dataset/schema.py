"""What a dataset file holds, and its one canonical form: the same records always give the same bytes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from hitl_bridge.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 2
"""Goes up when columns come, go or change their meaning. Files of older versions are read, with nulls in columns that they do
not have; a file of a newer version is refused, never guessed at. `docs/dataset.md` says what each column means."""

_VERSION_KEY = b"hitl_bridge.schema_version"
_KIND_KEY = b"hitl_bridge.kind"
_DECISIONS = b"decisions"
_PAYLOADS = b"payloads"
_FIRST_OF_2 = "confidence_band"


def decision_schema() -> pa.Schema:
    """One row a decision; its key is (`item_id`, `revision`, `seq`). Nothing in it can be personal text.

    `prediction`, `scores`, `attributes` and `decision` are canonical JSON; `decision` is null for a rejected or removed
    one. `confidence`, `risk`, `agreement`, the rates and probabilities lie in [0, 1]. `reviewers` are pseudonyms,
    `annotations` the keys of the answers behind the decision. Times are ISO 8601 text in UTC. Columns from
    `confidence_band` on came with version 2.
    """
    import pyarrow as pa

    text, number, texts = pa.string(), pa.float64(), pa.list_(pa.string())
    return pa.schema(
        [
            pa.field("op", text, nullable=False),
            pa.field("item_id", text, nullable=False),
            pa.field("revision", pa.int32(), nullable=False),
            pa.field("seq", pa.int32(), nullable=False),
            pa.field("model_version", text),
            pa.field("prediction", text),
            pa.field("scores", text),
            pa.field("confidence", number),
            pa.field("risk", number),
            pa.field("tier", text),
            pa.field("purpose", text),
            pa.field("split", text),
            pa.field("edge", pa.bool_()),
            pa.field("scenario", text),
            pa.field("attributes", text),
            pa.field("outcome", text),
            pa.field("decision", text),
            pa.field("agreement", number),
            pa.field("reviewers", texts),
            pa.field("annotations", texts),
            pa.field("round", pa.int32()),
            pa.field("policy_version", text),
            pa.field("audit_rate", number),
            pa.field("uniform_rate", number),
            pa.field("received_at", text),
            pa.field("answered_at", text),
            pa.field("decided_at", text),
            pa.field("confidence_band", text),
            pa.field("probability", number),
            pa.field("reason_codes", texts),
            pa.field("asked_at", text),
            pa.field("label_configs", texts),
            pa.field("annotations_sha256", text),
            pa.field("batch_id", text),
            pa.field("receipt_sha256", text),
            pa.field("rule", text),
            pa.field("blind_rate", number),
            pa.field("selected_by", text),
            pa.field("selection_probability", number),
            pa.field("used_for", text),
            pa.field("consent", text),
            pa.field("cause", text),
            pa.field("cause_reason", text),
            pa.field("cause_by", text),
            pa.field("taken_back", texts),
        ],
        metadata=_metadata(_DECISIONS),
    )


def payload_schema() -> pa.Schema:
    """One row an item's revision: its `input` as canonical JSON and the reviewers' `rationale`. Key: (`item_id`, `revision`)."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("item_id", pa.string(), nullable=False),
            pa.field("revision", pa.int32(), nullable=False),
            pa.field("input", pa.string()),
            pa.field("rationale", pa.string()),
        ],
        metadata=_metadata(_PAYLOADS),
    )


def _metadata(kind: bytes) -> dict[bytes, bytes]:
    return {_VERSION_KEY: str(SCHEMA_VERSION).encode(), _KIND_KEY: kind}


def to_parquet(table: pa.Table) -> bytes:
    """The canonical bytes of a table of decisions or payloads, whatever the order and chunking of its rows.

    The bytes depend on the records and on the version of the Parquet writer (named in the file), and on nothing else:
    no time, no path. Keys must be unique. Raises UsageError if columns are missing or of another kind.
    """
    return canonical_bytes(_conform(table, decision_schema() if "op" in table.column_names else payload_schema()))


def canonical_bytes(table: pa.Table) -> bytes:
    """Parquet bytes of rows sorted by `item_id` (and `revision` and `seq` where there are such columns)."""
    import pyarrow.parquet as pq

    keys = [(name, "ascending") for name in ("item_id", "revision", "seq") if name in table.column_names]
    ordered = table.combine_chunks().sort_by(keys).combine_chunks()
    sink = io.BytesIO()
    pq.write_table(
        ordered,
        sink,
        version="2.6",
        data_page_version="1.0",
        compression="zstd",
        compression_level=3,
        use_dictionary=True,
        write_statistics=True,
        row_group_size=131_072,
    )
    return sink.getvalue()


def from_parquet(data: bytes) -> pa.Table:
    """The table in a dataset file, with today's columns. Raises UsageError for a file of a newer version, or of none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(data))
    except pa.ArrowInvalid as error:
        raise UsageError(f"Not a Parquet file: {error}", remedy="Fetch the file again: dvc pull --force.") from error
    metadata = table.schema.metadata or {}
    written_as = _check_version(metadata.get(_VERSION_KEY))
    schema = decision_schema() if metadata.get(_KIND_KEY) == _DECISIONS else payload_schema()
    return _conform(_brought_up(table, schema, written_as), schema)


def _check_version(mark: bytes | None) -> int:
    if mark is None or not mark.isdigit():
        raise UsageError(
            "The Parquet file carries no schema version: it is no dataset file of HITL Bridge.",
            remedy="Keep other files out of data/decisions and data/payloads.",
        )
    if int(mark) > SCHEMA_VERSION:
        raise UsageError(
            f"The dataset file has schema version {int(mark)}; this program knows versions up to {SCHEMA_VERSION}.",
            remedy="Update hitl-bridge to the version that wrote the file, or a later one.",
        )
    return int(mark)


def _brought_up(table: pa.Table, schema: pa.Schema, written_as: int) -> pa.Table:
    """The table with nulls in the columns that a file of its version did not have."""
    import pyarrow as pa

    names = schema.names
    since = names.index(_FIRST_OF_2) if _FIRST_OF_2 in names and written_as < 2 else len(names)
    for field in [schema.field(name) for name in names[since:] if name not in table.column_names]:
        table = table.append_column(field.name, pa.nulls(table.num_rows, field.type))
    return table


def _conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with exactly the schema's columns and types."""
    import pyarrow as pa

    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise UsageError(f"Dataset columns are missing: {', '.join(missing)}.", remedy="Build the table with the schema.")
    try:
        return table.select(schema.names).cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise UsageError(f"Dataset columns are of the wrong type: {error}", remedy="Build the table with the schema.") from error
