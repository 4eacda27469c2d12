"""The outbox: what people are to be told, the messages that it goes into, and who carries them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from hitl_bridge.core.model import JSONObject
from hitl_bridge.core.notices import Notice, Text


@dataclass(frozen=True, slots=True)
class WaitingNotice:
    """A notice that is in no message yet."""

    number: int
    kind: str
    channel: str
    said: JSONObject


@dataclass(frozen=True, slots=True)
class Message:
    """What was put together for a channel and was not taken yet: tried so often, the last time then."""

    number: int
    channel: str
    text: Text
    notices: int
    at: datetime
    tries: int = 0
    tried_at: datetime | None = None


class NoticeStore(Protocol):
    """What is to be told. A notice is written once, goes into one message, and a message is sent until it was taken."""

    def add(self, notices: Sequence[Notice], at: datetime) -> int:
        """How many of them are new: what has the same kind, subject and channel is there already."""

    def waiting(self, channels: Collection[str]) -> list[WaitingNotice]:
        """Those for these channels, oldest first; no more than are put into one message."""

    def of_kinds(self, kinds: Collection[str]) -> list[Notice]:
        """All that was ever told or waits to be, oldest first."""

    def last_messages(self) -> Mapping[str, datetime]:
        """By channel, when its newest message was put together."""

    def compose(self, channel: str, text: Text, notices: Sequence[int], at: datetime) -> None:
        """A message of these notices. Nothing is written where one of them is in a message already."""

    def unsent(self) -> list[Message]:
        """Oldest first."""

    def record_try(self, number: int, at: datetime) -> None:
        """Before it is sent: a message that killed the process has had its try."""

    def record_sent(self, message: Message, at: datetime) -> None:
        """With an event."""


class Sender(Protocol):
    def send(self, channel: str, text: Text) -> str | None:
        """None if everything that stands behind the channel has taken it; else why not, without any address or secret."""
