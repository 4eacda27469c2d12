"""The support inbox of an invented lamp shop: messages written one by one for this demo, with what they mean.

Some are labelled from the start (the model's base), some are held out, the rest arrive on two days. `report_fraud` comes
only on the second day: the model has never seen one, and is confident about many of them.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files

from hitl_bridge.core.model import JSON

FIELDS = ("payments", "delivery", "account")
"""The fields of expertise; also the topic that a customer picked in the contact form."""

UNSEEN = "report_fraud"

_TRAIN_EACH = 15
_HOLDOUT_EACH = 24


@dataclass(frozen=True, slots=True)
class Message:
    item_id: str
    text: str
    label: str
    topic: str
    amount: float | None
    language: str
    traits: tuple[str, ...]

    def as_input(self) -> dict[str, JSON]:
        """A row for `predict`: what the shop's pipeline knows of a message, not what it means."""
        attributes: dict[str, JSON] = {"language": self.language}
        if self.amount is not None:
            attributes["amount"] = float(self.amount)
        return {"item_id": self.item_id, "input": {"text": self.text}, "scenario": self.topic, "attributes": attributes}

    def as_example(self) -> dict[str, JSON]:
        """A row of labelled base data. Messages with a difficulty that was named when they were written are edge cases."""
        return {
            "item_id": self.item_id,
            "input": {"text": self.text},
            "output": {"label": self.label},
            "scenario": self.topic,
            "edge": bool(self.traits),
        }


@dataclass(frozen=True, slots=True)
class Inbox:
    train: tuple[Message, ...]
    holdout: tuple[Message, ...]
    first_day: tuple[Message, ...]
    second_day: tuple[Message, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """All the intents, by field of expertise."""
        seen: dict[str, None] = {}
        for message in (*self.train, *self.second_day):
            seen.setdefault(message.label)
        return tuple(seen)

    def meanings(self) -> dict[str, str]:
        """What each message means, by its text: what a reviewer who never errs would answer."""
        return {each.text: each.label for each in (*self.train, *self.holdout, *self.first_day, *self.second_day)}


def read_inbox() -> Inbox:
    """Deals the messages out, always in the same way: by intent, in an order that depends on their text alone."""
    by_label: dict[str, list[Message]] = defaultdict(list)
    for message in _messages():
        by_label[message.label].append(message)
    parts: tuple[list[Message], ...] = ([], [], [], [])
    for label, messages in by_label.items():
        for part, share in zip(parts, _deal(label, sorted(messages, key=_mixed)), strict=True):
            part.extend(share)
    train, holdout, first, second = parts
    return Inbox(tuple(train), tuple(holdout), tuple(sorted(first, key=_mixed)), tuple(sorted(second, key=_mixed)))


def _deal(label: str, messages: list[Message]) -> tuple[list[Message], list[Message], list[Message], list[Message]]:
    if label == UNSEEN:
        return [], [], [], messages
    known = _TRAIN_EACH + _HOLDOUT_EACH
    half = known + (len(messages) - known) // 2
    return messages[:_TRAIN_EACH], messages[_TRAIN_EACH:known], messages[known:half], messages[half:]


def _mixed(message: Message) -> str:
    return hashlib.sha256(b"deal\x1f" + message.text.encode("utf-8")).hexdigest()


def _messages() -> Iterator[Message]:
    for topic in FIELDS:
        lines = (files("hitl_bridge.demo") / "messages" / f"{topic}.jsonl").read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, start=1):
            yield _message(f"{topic}-{number:03}", topic, json.loads(line))


def _message(item_id: str, topic: str, row: Mapping[str, JSON]) -> Message:
    amount = row["amount"]
    return Message(
        item_id=item_id,
        text=str(row["text"]),
        label=str(row["label"]),
        topic=topic,
        amount=float(amount) if isinstance(amount, int | float) else None,
        language=str(row["language"]),
        traits=tuple(str(trait) for trait in row["traits"]) if isinstance(row["traits"], list) else (),
    )
