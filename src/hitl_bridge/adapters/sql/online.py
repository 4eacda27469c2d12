"""Predictions that are answered one by one, in the store.

Their numbers grow in the order of the commits (there is one writing transaction at a time on both databases), so that "every
row up to this number" is a set that nothing joins later.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, RowMapping

from hitl_bridge.adapters.sql import store_ingest
from hitl_bridge.adapters.sql.column_types import moment_text
from hitl_bridge.adapters.sql.engine import reading, writing
from hitl_bridge.adapters.sql.rows import Row, item_of, item_row, receipt_file_of
from hitl_bridge.adapters.sql.statements import chunks
from hitl_bridge.adapters.sql.tables import online_flushes, online_items, online_keys, online_predictions, receipt_files
from hitl_bridge.core.model import Item, ItemId
from hitl_bridge.core.triage.revisions import Arrival
from hitl_bridge.ports import Batch, ReceiptFile
from hitl_bridge.ports.online import OnlineRow, OnlineView, RequestKey

Writing = Callable[[], AbstractContextManager[Connection]]

_MOMENTS = ("received_at", "due_at")
_AT_ONCE = 2_000
"""Rows that one transaction forgets: an answer waits for no longer than that takes."""

# Made once: this is asked many times a second.
_UP_TO = sa.select(sa.func.coalesce(sa.func.max(online_flushes.c.up_to), 0)).scalar_subquery()
_NEWEST_ROW = sa.select(sa.func.coalesce(sa.func.max(online_predictions.c.seq), 0)).scalar_subquery()
_NEWEST_FILE = sa.select(sa.func.coalesce(sa.func.max(receipt_files.c.id), 0)).scalar_subquery()
_HEADS = sa.select(_NEWEST_ROW.label("row"), _NEWEST_FILE.label("file"), _UP_TO.label("up_to"))
_NEW_FILES = sa.select(receipt_files).where(receipt_files.c.id > sa.bindparam("after")).order_by(receipt_files.c.id)
_SOME: sa.BindParameter[Any] = sa.bindparam("some", expanding=True)
_ROWS = sa.select(online_predictions).where(online_predictions.c.item_id.in_(_SOME)).order_by(online_predictions.c.seq)
_KEYS = sa.select(online_keys).where(online_keys.c.key.in_(_SOME))
_NEWER_ITEMS = sa.select(online_predictions.c.item_id).where(online_predictions.c.seq > sa.bindparam("after"))
_INSERT_ROWS, _INSERT_ITEMS, _INSERT_KEYS = map(sa.insert, (online_predictions, online_items, online_keys))


class SqlOnline:
    """Implements `ports.OnlineStore`. `fenced` is a writing transaction that the holder of a lease may make."""

    def __init__(self, engine: Engine, fenced: Writing) -> None:
        self._engine = engine
        self._fenced = fenced

    def look(self, item_ids: Collection[str], keys: Collection[RequestKey], files_after: int) -> OnlineView:
        with reading(self._engine) as connection:
            heads = connection.execute(_HEADS).one()
            newer = heads.file > files_after
            files = connection.execute(_NEW_FILES, {"after": files_after}).mappings().all() if newer else ()
            return OnlineView(
                rows=list(_rows_of(connection, sorted(item_ids))),
                keys=_used(connection, keys),
                new_files=[receipt_file_of(row) for row in files],
                newest_row=heads.row,
                newest_file=max(heads.file, files_after),
            )

    def record(self, rows: Sequence[OnlineRow], keys: Sequence[RequestKey], seen: OnlineView, at: datetime) -> bool:
        with writing(self._engine) as connection:
            heads = connection.execute(_HEADS).one()
            if heads.file > seen.newest_file or _overtaken(connection, rows, keys, seen, heads.row):
                return False
            # Numbered here: there is one writer at a time, and no number is given twice, also where rows were removed.
            numbered = list(enumerate(rows, max(heads.row, heads.up_to) + 1))
            items = [_item_row(row.item, seq) for seq, row in numbered if row.item is not None]
            if rows:
                connection.execute(_INSERT_ROWS, [_row(row, seq) for seq, row in numbered])
            if items:
                connection.execute(_INSERT_ITEMS, items)
            if keys:
                connection.execute(_INSERT_KEYS, [_key_row(key, at) for key in keys])
        return True

    def waiting(self, most: int) -> list[OnlineRow]:
        joined = online_predictions.outerjoin(online_items, online_items.c.seq == online_predictions.c.seq)
        wanted = sa.select(online_predictions, online_items.c["item"], online_items.c.input).select_from(joined)
        in_order = wanted.where(online_predictions.c.seq > _UP_TO).order_by(online_predictions.c.seq).limit(most)
        with reading(self._engine) as connection:
            return [_online_row(row) for row in connection.execute(in_order).mappings()]

    def waiting_for(self, item_id: ItemId) -> list[str]:
        wanted = sa.select(online_predictions.c.receipt).where(online_predictions.c.item_id == item_id)
        with reading(self._engine) as connection:
            in_order = wanted.where(online_predictions.c.seq > _UP_TO).order_by(online_predictions.c.seq)
            return list(connection.execute(in_order).scalars())

    def record_flush(self, batch: Batch, receipts: ReceiptFile, items: Sequence[Item], up_to: int) -> None:
        with self._fenced() as connection:
            if connection.execute(sa.select(_UP_TO)).scalar_one() >= up_to:
                return  # somebody has done it
            store_ingest.record_batch(connection, batch, receipts, items)
            connection.execute(sa.insert(online_flushes), [{"batch_id": batch.batch_id, "up_to": up_to}])
            connection.execute(sa.delete(online_items).where(online_items.c.seq <= up_to))

    def forget(self, *, keep: int, keys_before: datetime) -> None:
        with reading(self._engine) as connection:
            last = connection.execute(sa.select(_UP_TO)).scalar_one() - keep
            oldest = connection.execute(sa.select(sa.func.min(online_predictions.c.seq))).scalar()
        while oldest is not None and oldest <= last:
            oldest = min(oldest + _AT_ONCE, last + 1)
            with writing(self._engine) as connection:
                connection.execute(sa.delete(online_predictions).where(online_predictions.c.seq < oldest))
        with reading(self._engine) as connection:
            old = connection.execute(sa.select(sa.func.count()).where(online_keys.c.at < keys_before)).scalar_one()
        if old:
            with writing(self._engine) as connection:
                connection.execute(sa.delete(online_keys).where(online_keys.c.at < keys_before))


def waiting_items(connection: Connection) -> list[str]:
    """The items of rows that were not flushed yet."""
    wanted = sa.select(online_predictions.c.item_id).where(online_predictions.c.seq > _UP_TO)
    return list(connection.execute(wanted).scalars())


def _overtaken(
    connection: Connection, rows: Sequence[OnlineRow], keys: Sequence[RequestKey], seen: OnlineView, newest_row: int
) -> bool:
    """Whether somebody has written of one of these items, or used one of these keys, since `seen`."""
    if newest_row > seen.newest_row:
        mine = {row.arrival.item_id for row in rows}
        newer = connection.execute(_NEWER_ITEMS, {"after": seen.newest_row}).scalars()
        if not mine.isdisjoint(newer):
            return True
    return bool(_used(connection, keys))


def _rows_of(connection: Connection, item_ids: Sequence[str]) -> Iterator[OnlineRow]:
    for some in chunks(item_ids):
        yield from map(_online_row, connection.execute(_ROWS, {"some": some}).mappings())


def _used(connection: Connection, keys: Collection[RequestKey]) -> Mapping[tuple[str, str], str]:
    """Those of the keys that are there, with the digest of what was asked under them."""
    found: dict[tuple[str, str], str] = {}
    for some in chunks(sorted({key.key for key in keys})):
        for row in connection.execute(_KEYS, {"some": some}).mappings():
            found[row["caller"], row["key"]] = row["request_digest"]
    return {(key.caller, key.key): found[key.caller, key.key] for key in keys if (key.caller, key.key) in found}


# --------------------------------------------------------------------------------------------------- rows and values


def _row(row: OnlineRow, seq: int) -> Row:
    said = row.arrival._asdict()
    kept = {"revision": row.revision, "asked": row.asked, "receipt": row.receipt, "received_at": row.received_at}
    return {"seq": seq, **said, **kept}


def _key_row(key: RequestKey, at: datetime) -> Row:
    return {"caller": key.caller, "key": key.key, "request_digest": key.request_digest, "at": at}


def _item_row(item: Item, seq: int) -> Row:
    kept = {name: value for name, value in item_row(item).items() if name != "batch_id"}
    return {"seq": seq, "item": kept | {name: moment_text(kept[name], name) for name in _MOMENTS}, "input": item.prediction.input}


def _online_row(row: RowMapping) -> OnlineRow:
    return OnlineRow(
        arrival=Arrival(*(row[name] for name in Arrival._fields)),
        revision=row["revision"],
        receipt=row["receipt"],
        received_at=row["received_at"],
        asked=row["asked"],
        item=_item(row) if row.get("item") is not None else None,
        seq=row["seq"],
    )


def _item(row: RowMapping) -> Item:
    kept: dict[str, Any] = {**row["item"], "input": row["input"], "batch_id": ""}
    return item_of(cast("RowMapping", kept | {name: datetime.fromisoformat(kept[name]) for name in _MOMENTS}))
