"""People are told: what is to be known is written into the outbox, gathered into messages, and sent until it was taken.

A notice is written once, in the transaction of what it tells of or found anew from what stands in the store, and goes into one
message. The message is written before it is sent. Who sends mail can't look up whether it arrived: a message during whose sending
the process died is sent again, word for word and under the same number. So a notice is told at least once, and twice only then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from hitl_bridge.core.audits.lots import LotVerdict
from hitl_bridge.core.lasting import ADJUDICATORS, LASTING, PROJECT, Lasting, figures_aside, notices_of
from hitl_bridge.core.model import JSON, Project
from hitl_bridge.core.notices import Notice, NoticeTerms, Text, compose, pause
from hitl_bridge.errors import RefusedForSafety, UnknownName
from hitl_bridge.ports import Clock, LotRow, Message, NoticeStore, Sender, Training, WaitingNotice
from hitl_bridge.services.sync.troubles import Trouble

NEWS_FOR = timedelta(days=7)
"""What is older is no news: who names a channel today is not told of last year's verdicts."""


@dataclass(frozen=True, slots=True)
class NoticePorts:
    """`projects` are those whose links are told, newest last."""

    store: NoticeStore
    sender: Sender
    clock: Clock
    terms: NoticeTerms
    projects: Callable[[], Sequence[Project]]


@dataclass(frozen=True, slots=True)
class NoticesResult:
    """`sent` messages with `told` notices in them; `waiting` notices are in no message that was taken yet; `troubles` say why, by
    channel."""

    sent: int = 0
    told: int = 0
    waiting: int = 0
    troubles: tuple[str, ...] = ()


def deliver(ports: NoticePorts) -> NoticesResult:
    """Gathers what waits into messages, at most one a channel in `terms.every`, and sends those that are due for a try."""
    if not ports.terms.channels:
        return NoticesResult()
    now = ports.clock.now()
    _gather(ports, now)
    due = [each for each in ports.store.unsent() if each.channel in ports.terms.channels]
    failing: dict[str, str] = {}
    sent, told = 0, 0
    for message in due:
        if message.channel in failing or (message.tried_at and _is_within(pause(message.tries), message.tried_at, now)):
            continue
        why = _send(ports, message)
        if why is None:
            sent, told = sent + 1, told + message.notices
        else:
            failing[message.channel] = why
    return NoticesResult(sent, told, waiting(ports.store, ports.terms), tuple(f"{name}: {why}" for name, why in failing.items()))


def waiting(store: NoticeStore, terms: NoticeTerms) -> int:
    """Notices that are to go to a channel that there is, and have not."""
    unsent = sum(each.notices for each in store.unsent() if each.channel in terms.channels)
    return unsent + len(store.waiting(terms.channels))


@dataclass(frozen=True, slots=True)
class Channel:
    """How a channel stands: notices that wait for its next message, when its last one was put together, notices in messages that
    were `not_taken` yet, and how often the oldest of these was tried."""

    channel: str
    waiting: int
    last_message: datetime | None
    not_taken: int
    tries: int
    tried_at: datetime | None


def channels(store: NoticeStore, terms: NoticeTerms) -> list[Channel]:
    """Every channel that the settings name."""
    rows, last, unsent = store.waiting(terms.channels), store.last_messages(), store.unsent()
    return [_channel(name, rows, last, [each for each in unsent if each.channel == name]) for name in terms.channels]


def _channel(name: str, rows: Sequence[WaitingNotice], last: Mapping[str, datetime], unsent: Sequence[Message]) -> Channel:
    oldest = unsent[0] if unsent else None
    return Channel(
        channel=name,
        waiting=sum(each.channel == name for each in rows),
        last_message=last.get(name),
        not_taken=sum(each.notices for each in unsent),
        tries=oldest.tries if oldest else 0,
        tried_at=oldest.tried_at if oldest else None,
    )


def send_test(sender: Sender, terms: NoticeTerms, channel: str | None) -> dict[str, str | None]:
    """By channel, None where a test message was taken, else why not. Raises UnknownName for one that the settings don't name."""
    if channel is not None and channel not in terms.channels:
        raise UnknownName("channel", channel, remedy=f"Channels in hitl.yaml: {', '.join(terms.channels) or 'none'}.")
    text = Text("HITL Bridge: a test", "This is a test. Notices of this workspace go here.")
    return {name: sender.send(name, text) for name in ([channel] if channel else terms.channels)}


def _gather(ports: NoticePorts, now: datetime) -> None:
    rows = ports.store.waiting(ports.terms.channels)
    if not rows:
        return
    last = ports.store.last_messages()
    links = {(each.key.team, each.key.tier): each.url for each in ports.projects() if not each.key.reviewer}
    for channel in dict.fromkeys(each.channel for each in rows):
        if channel in last and _is_within(ports.terms.every, last[channel], now):
            continue
        some = [each for each in rows if each.channel == channel]
        text = compose([each.said for each in some], [each.kind for each in some], links, ports.terms)
        ports.store.compose(channel, text, [each.number for each in some], now)


def _is_within(span: timedelta, since: datetime, now: datetime) -> bool:
    """Not where the clock was set back: what was written down while it ran ahead would silence the channel until then."""
    return since <= now < since + span


def _send(ports: NoticePorts, message: Message) -> str | None:
    ports.store.record_try(message.number, ports.clock.now())
    why = ports.sender.send(message.channel, _numbered(message))
    if why is None:
        ports.store.record_sent(message, ports.clock.now())
    return why


def _numbered(message: Message) -> Text:
    """So that a reader knows the same message when it comes twice."""
    return replace(message.text, body=f"{message.text.body}\n\nMessage {message.number} of HITL Bridge.")


# -------------------------------------------------------------------------------------------- what there is to be told


def of_verdict(training: Training | None, terms: NoticeTerms, now: datetime) -> Iterator[Notice]:
    """What the gate said of the last candidate, to those who approve."""
    if training is None or training.verdict is None or training.at < now - NEWS_FOR:
        return
    said: dict[str, JSON] = {"candidate": training.candidate, "verdict": training.verdict}
    for channel in terms.approvers or terms.lead:
        yield Notice("verdict", f"{training.candidate}\n{training.verdict}", channel, said)


def of_lots(rows: Sequence[LotRow], terms: NoticeTerms, now: datetime) -> Iterator[Notice]:
    """Lots that are held."""
    for row in rows:
        if row.verdict is LotVerdict.HELD and row.at >= now - NEWS_FOR:
            for channel in terms.lead:
                yield Notice("lot", row.lot.lot_id, channel, {"lot_id": row.lot.lot_id})


@dataclass(frozen=True, slots=True)
class Amiss:
    """What lasts until a person acts: `troubles` of the last cycle; by pool, how many items nobody there may settle."""

    troubles: Sequence[Trouble] = ()
    nobody_settles: Mapping[str, int] = field(default_factory=dict)


def of_what_lasts(store: NoticeStore, amiss: Amiss, terms: NoticeTerms, now: datetime) -> Iterator[Notice]:
    """That projects are stopped, that nobody may adjudicate: when it begins, when it is much worse, when it is over."""
    stopped = [_stopped(each) for each in amiss.troubles if each.exit_code == RefusedForSafety.exit_code]
    waiting = [_nobody_settles(pool, items) for pool, items in amiss.nobody_settles.items()]
    away = {(PROJECT, each.project) for each in amiss.troubles}  # what could not be read may be stopped still
    yield from notices_of([*stopped, *waiting], away, store.of_kinds(LASTING), terms.lead, now)


def _stopped(each: Trouble) -> Lasting:
    said: Mapping[str, JSON] = {"project": each.project, "reason": each.reason, "remedy": each.remedy}
    return Lasting(PROJECT, each.project, figures_aside(each.reason), each.much, said)


def _nobody_settles(pool: str, items: int) -> Lasting:
    return Lasting(ADJUDICATORS, pool, "", items, {"pool": pool, "items": items})


def of_reviewers(notices: Mapping[str, int], terms: NoticeTerms, now: datetime) -> Iterator[Notice]:
    """People who may keep what is filled in without reading it, by pseudonym; once a month each. It is not told who."""
    for person, how_many in notices.items():
        for channel in terms.lead:
            yield Notice("reviewers", f"{person}\n{now:%Y-%m}", channel, {"notices": how_many})
