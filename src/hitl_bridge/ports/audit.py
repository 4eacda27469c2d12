"""What happened, and whether the log of it is whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from hitl_bridge.core.model import JSON, ItemId

STORE_RESTORED = "restored_store_accepted"
"""The event of somebody believing a store that was restored; `not_ours` in it are the versions made after the backup."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, for `trace` and the audit log: when, what, to which item, by whom (a reviewer by pseudonym,
    a person who decided something by the name they gave). `before` and `after` are digests of the record that it changed."""

    at: datetime
    action: str
    item_id: ItemId | None = None
    detail: Mapping[str, JSON] = field(default_factory=dict)
    actor: str = "bridge"
    before: str | None = None
    after: str | None = None


@dataclass(frozen=True, slots=True)
class AuditHead:
    """The newest row of the audit log: its number (0: none yet) and its hash, which stands for all before it."""

    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class AuditProblem:
    """Something that does not fit in the audit log. `seq` is the row, 0 where it is a record that the log tells of."""

    seq: int
    what: str


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What verifying found: the log's head, how many anchors and records it was held against, and all that does not fit.

    `excused` says which anchors do not fit because the store was restored from a backup, and who believed it when: somebody
    who wrote the log anew could have written that, too, so it is for a person to know whether it is true.
    """

    head: AuditHead
    anchors: int
    records: int
    problems: tuple[AuditProblem, ...] = ()
    excused: tuple[str, ...] = ()
