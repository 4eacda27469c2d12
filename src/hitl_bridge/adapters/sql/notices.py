"""The outbox on both databases."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from hitl_bridge.adapters.sql.engine import reading
from hitl_bridge.adapters.sql.statements import chunks, insert_new_returning, record_events
from hitl_bridge.adapters.sql.tables import messages, notices
from hitl_bridge.core.model import JSON
from hitl_bridge.core.notices import Notice, Text
from hitl_bridge.ports import Event, Message, WaitingNotice

SENT = "notice.sent"
_AT_ONCE = 10_000
"""Notices that are looked at in one go: the rest comes with the next message."""


def add_notices(connection: Connection, told: Sequence[Notice], at: datetime) -> int:
    """In the transaction of what they tell of."""
    rows = [{"kind": each.kind, "subject": each.subject, "channel": each.channel, "said": each.said, "at": at} for each in told]
    return sum(len(insert_new_returning(connection, notices, some, [notices.c.id])) for some in chunks(rows))


class SqlNotices:
    """Implements `ports.NoticeStore`. Writes go through the store's own fence."""

    def __init__(self, engine: Engine, writing: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._engine = engine
        self._writing = writing

    def add(self, told: Sequence[Notice], at: datetime) -> int:
        if not self._new(told):
            return 0
        with self._writing() as connection:
            return add_notices(connection, told, at)

    def _new(self, told: Sequence[Notice]) -> bool:
        """Asked without a lock: each cycle tells the same again."""
        with reading(self._engine) as connection:
            for some in chunks(told):
                known = sa.select(notices.c.kind, notices.c.subject, notices.c.channel).where(
                    notices.c.subject.in_([each.subject for each in some])
                )
                there = {tuple(row) for row in connection.execute(known)}
                if any((each.kind, each.subject, each.channel) not in there for each in some):
                    return True
        return False

    def waiting(self, channels: Collection[str]) -> list[WaitingNotice]:
        wanted = sa.select(notices).where(notices.c.message.is_(None), notices.c.channel.in_(sorted(channels)))
        wanted = wanted.order_by(notices.c.id).limit(_AT_ONCE)
        with reading(self._engine) as connection:
            rows = connection.execute(wanted).mappings()
            return [WaitingNotice(row["id"], row["kind"], row["channel"], row["said"]) for row in rows]

    def of_kinds(self, kinds: Collection[str]) -> list[Notice]:
        wanted = sa.select(notices).where(notices.c.kind.in_(sorted(kinds))).order_by(notices.c.id)
        with reading(self._engine) as connection:
            rows = connection.execute(wanted).mappings()
            return [Notice(row["kind"], row["subject"], row["channel"], row["said"]) for row in rows]

    def last_messages(self) -> Mapping[str, datetime]:
        newest = sa.select(sa.func.max(messages.c.id)).group_by(messages.c.channel)
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(messages.c.channel, messages.c.at).where(messages.c.id.in_(newest)))
            return {row.channel: row.at for row in rows}

    def compose(self, channel: str, text: Text, numbers: Sequence[int], at: datetime) -> None:
        row = {"channel": channel, "title": text.title, "body": text.body, "notices": len(numbers), "at": at, "tries": 0}
        with self._writing() as connection:
            if not _are_free(connection, numbers):
                return
            number = connection.execute(sa.insert(messages).values(row).returning(messages.c.id)).scalar_one()
            for some in chunks(numbers):
                connection.execute(sa.update(notices).where(notices.c.id.in_(some)).values(message=number))

    def unsent(self) -> list[Message]:
        wanted = sa.select(messages).where(messages.c.sent_at.is_(None)).order_by(messages.c.id)
        with reading(self._engine) as connection:
            return [
                Message(
                    number=row["id"],
                    channel=row["channel"],
                    text=Text(row["title"], row["body"]),
                    notices=row["notices"],
                    at=row["at"],
                    tries=row["tries"],
                    tried_at=row["tried_at"],
                )
                for row in connection.execute(wanted).mappings()
            ]

    def record_try(self, number: int, at: datetime) -> None:
        tried = sa.update(messages).where(messages.c.id == number).values(tries=messages.c.tries + 1, tried_at=at)
        with self._writing() as connection:
            connection.execute(tried)

    def record_sent(self, message: Message, at: datetime) -> None:
        sent = sa.update(messages).where(messages.c.id == message.number, messages.c.sent_at.is_(None)).values(sent_at=at)
        detail: dict[str, JSON] = {"message": message.number, "channel": message.channel, "notices": message.notices}
        with self._writing() as connection:
            if connection.execute(sent).rowcount:
                record_events(connection, [Event(at, SENT, detail=detail)])


def _are_free(connection: Connection, numbers: Sequence[int]) -> bool:
    counted = [
        sa.select(sa.func.count()).select_from(notices).where(notices.c.id.in_(some), notices.c.message.is_(None))
        for some in chunks(numbers)
    ]
    return sum(connection.execute(each).scalar_one() for each in counted) == len(numbers)
