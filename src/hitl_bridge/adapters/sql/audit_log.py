"""The audit log: events, each chained to the one before it, so that none can be edited, removed or slipped in unseen.

    hash = SHA-256(domain ‖ seq ‖ prev_hash ‖ fingerprint),  fingerprint = SHA-256 of what the event says

There is one writing transaction at a time on both databases, and none of them spans a call to the outside: so the chain is
written in the transaction of the change that it tells of, and nobody waits for it longer than for the change itself.

A chain alone does not stop the database's owner from writing it anew: its head is anchored in each dataset commit, where
they can't write. (Crosby & Wallach, USENIX Security 2009, section 2, on why a head must be published.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping

from hitl_bridge.adapters.sql.column_types import canonical_json, moment_text
from hitl_bridge.adapters.sql.rows import annotation_of, annotation_text, decision_of, decision_text, event_of
from hitl_bridge.adapters.sql.tables import annotation_revisions, decisions, events
from hitl_bridge.core import draws
from hitl_bridge.core.model import JSON, Annotation, Decision
from hitl_bridge.ports import STORE_RESTORED, AuditHead, AuditProblem, AuditReport, Event

ANNOTATION_EVENT = "annotation"
BEGAN = "audit_began"
GENESIS = AuditHead(0, "0" * 64)

_DOMAIN = "hitl-bridge/audit/1"
_ROWS_AT_ONCE = 5_000
_IN_ONE_QUERY = 500


@dataclass(frozen=True, slots=True)
class Seal:
    """The workspace's key, as the audit log uses it: digests of records that can't be guessed back, names that are none."""

    key: bytes

    def person(self, email: str) -> str:
        return draws.pseudonym(self.key, email)

    def annotation(self, annotation: Annotation) -> str:
        return draws.digest(self.key, "audit", annotation_text(annotation))

    def decision(self, decision: Decision) -> str:
        return draws.digest(self.key, "audit", decision_text(decision))


# ---------------------------------------------------------------------------------------------------- writing


def append(connection: Connection, happened: Sequence[Event]) -> None:
    """Adds events to the chain. The same event twice is one."""
    rows = {fingerprint(event): event for event in happened}
    there = _already_there(connection, list(rows))
    last, chained = head(connection), []
    for print_, event in rows.items():
        if print_ not in there:
            following = AuditHead(last.seq + 1, chain_hash(last.seq + 1, last.hash, print_))
            chained.append({**event_row(event), "seq": following.seq, "fingerprint": print_} | _links(last, following))
            last = following
    if chained:
        connection.execute(sa.insert(events), chained)


def head(connection: Connection) -> AuditHead:
    """The newest row's number and hash; number 0 of an empty log."""
    newest = sa.select(sa.func.max(events.c.seq)).scalar_subquery()
    row = connection.execute(sa.select(events.c.seq, events.c.hash).where(events.c.seq == newest)).first()
    return GENESIS if row is None else AuditHead(row.seq, row.hash)


def event_row(event: Event) -> dict[str, object]:
    """What an event says, as columns."""
    return {
        "at": event.at,
        "actor": event.actor,
        "action": event.action,
        "item_id": event.item_id,
        "detail": event.detail,
        "before": event.before,
        "after": event.after,
    }


def fingerprint(event: Event) -> str:
    """SHA-256 of what an event says, in canonical JSON."""
    said: list[JSON] = [moment_text(event.at, "at"), event.actor, event.action, event.item_id, event.detail]
    return hashlib.sha256(canonical_json([*said, event.before, event.after], "detail").encode()).hexdigest()


def chain_hash(seq: int, prev_hash: str, print_: str) -> str:
    """The hash of row `seq`."""
    return hashlib.sha256("\n".join((_DOMAIN, str(seq), prev_hash, print_)).encode()).hexdigest()


def _links(last: AuditHead, following: AuditHead) -> dict[str, object]:
    return {"prev_hash": last.hash, "hash": following.hash}


def _already_there(connection: Connection, prints: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for start in range(0, len(prints), _IN_ONE_QUERY):
        some = prints[start : start + _IN_ONE_QUERY]
        found |= set(connection.execute(sa.select(events.c.fingerprint).where(events.c.fingerprint.in_(some))).scalars())
    return found


# -------------------------------------------------------------------------------------------------- verifying


def verify(connection: Connection, seal: Seal, anchors: Mapping[str, AuditHead]) -> AuditReport:
    """Computes the whole chain anew and compares it with itself, with the anchors, and with the records that it tells of.

    Args:
        anchors: the heads that were published, by where.
    """
    check = _Check(seal, dict(anchors))
    for row in _all_events(connection):
        check.take(row)
    check.end()
    problems = [*check.problems, *_unlike_their_events(connection, check)]
    records = len(check.annotations) + len(check.decisions)
    return AuditReport(check.last, len(anchors), records, tuple(problems), tuple(check.excused))


class _Check:
    """Goes along the chain; what does not fit is named, and the next row is held against what stands in the table."""

    def __init__(self, seal: Seal, anchors: dict[str, AuditHead]) -> None:
        self.seal = seal
        self.last = GENESIS
        self.problems: list[AuditProblem] = []
        self.annotations: dict[str, str] = {}
        self.decisions: dict[str, str] = {}
        self.began: Mapping[str, JSON] = {}
        self.excused: list[str] = []
        self._anchors = anchors
        self._unlike: dict[str, AuditProblem] = {}

    def take(self, row: RowMapping) -> None:
        seq, event = int(row["seq"]), event_of(row)
        if seq != self.last.seq + 1:
            gone = f"row {self.last.seq + 1}" if seq == self.last.seq + 2 else f"rows {self.last.seq + 1} to {seq - 1}"
            self._tell(seq, f"{gone} before it: removed")
        elif row["prev_hash"] != self.last.hash:
            self._tell(seq, "does not follow the row before it: one of the two was edited or put in")
        if row["fingerprint"] != fingerprint(event):
            self._tell(seq, f"what it says was edited ({event.action})")
        elif row["hash"] != chain_hash(seq, row["prev_hash"], row["fingerprint"]):
            self._tell(seq, "its hash is not that of its contents")
        self.last = AuditHead(seq, row["hash"])
        self._hold_against_anchors()
        self._remember(event)

    def end(self) -> None:
        for place, anchor in self._anchors.items():
            if anchor.seq > self.last.seq:
                said = f"rows up to {anchor.seq} are missing at the end: {place} was made after them"
                self._unlike[place] = AuditProblem(self.last.seq + 1, said)
        self.problems += self._unlike.values()

    def _hold_against_anchors(self) -> None:
        for place, anchor in self._anchors.items():
            if anchor.seq == self.last.seq and anchor.hash != self.last.hash:
                said = f"is not what {place} says it was: the log was written anew up to here"
                self._unlike[place] = AuditProblem(self.last.seq, said)

    def _excuse(self, event: Event) -> None:
        """Versions that were made after the backup, from a store that is no more."""
        named = event.detail.get("not_ours")
        places = [str(place) for place in named] if isinstance(named, Sequence) and not isinstance(named, str) else []
        for place in [place for place in places if place in self._anchors]:
            del self._anchors[place]
            self._unlike.pop(place, None)
            self.excused.append(f"{place} was made after the backup that {event.actor} restored ({event.at:%Y-%m-%d %H:%M})")

    def _remember(self, event: Event) -> None:
        if event.action == BEGAN:
            self.began = event.detail
        elif event.action == STORE_RESTORED:
            self._excuse(event)
        elif event.action == ANNOTATION_EVENT and event.after is not None:
            self.annotations[str(event.detail["row"])] = event.after
        elif event.after is not None and "decision_id" in event.detail:
            self.decisions[str(event.detail["decision_id"])] = event.after

    def _tell(self, seq: int, what: str) -> None:
        self.problems.append(AuditProblem(seq, what))


def _all_events(connection: Connection) -> Iterator[RowMapping]:
    in_order = sa.select(events).order_by(events.c.seq)
    yield from connection.execute(in_order, execution_options={"yield_per": _ROWS_AT_ONCE}).mappings()


def _unlike_their_events(connection: Connection, check: _Check) -> Iterator[AuditProblem]:
    """Annotations and decisions that are not what the log says was written; those older than the log are not in it."""
    known, seal = dict(check.annotations), check.seal
    older = int(str(check.began.get("annotations", 0)))
    wanted = sa.select(annotation_revisions).where(annotation_revisions.c.id > older).order_by(annotation_revisions.c.id)
    for row in connection.execute(wanted).mappings():
        yield from _compared("annotation", str(row["id"]), seal.annotation(annotation_of(row)), known)
    yield from (AuditProblem(0, f"annotation row {name} is in the log and was removed from the table") for name in known)
    known = dict(check.decisions)
    before = str(check.began.get("at", ""))
    for row in connection.execute(sa.select(decisions)).mappings():
        decision = decision_of(row)
        if moment_text(decision.decided_at, "decided_at") > before:
            yield from _compared("decision", decision.decision_id, seal.decision(decision), known)
    yield from (AuditProblem(0, f"decision {name} is in the log and was removed from the table") for name in known)


def _compared(kind: str, name: str, digest: str, known: dict[str, str]) -> Iterator[AuditProblem]:
    logged = known.pop(name, None)
    if logged is None:
        yield AuditProblem(0, f"{kind} {name} is in no event of the log: it was put into the table by hand")
    elif logged != digest:
        yield AuditProblem(0, f"{kind} {name} is not what the log says was written: it was edited")
