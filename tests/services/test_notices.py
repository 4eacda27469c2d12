"""What people are told: once each, gathered into messages, sent until it was taken, and nothing private in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from hitl_bridge.adapters.notices import AppriseSender
from hitl_bridge.adapters.sql.tables import lots
from hitl_bridge.core.audits.lots import Lot, LotVerdict
from hitl_bridge.core.model import JSONObject
from hitl_bridge.core.notices import Notice, NoticeTerms, Text, compose, pause
from hitl_bridge.core.task_types.controls import ESCALATE, REQUEST
from hitl_bridge.errors import ProjectChanged, RefusedForSafety, UnknownName
from hitl_bridge.ports import LotRow, Sender, Training
from hitl_bridge.services.desk.notices import NoticePorts, deliver, of_reviewers
from hitl_bridge.services.sync.troubles import Trouble, trouble
from hitl_bridge.settings import Secret
from tests.faults.receiver import Receiver
from tests.services.bench import ANA, DEE, POLICY, Bench, row, without_git

HOUR = 3600
NOTICES = "notices: {every: 15m, lead: [boss], approvers: [yes], pools: {general: [chat]}}\n"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def bench(receiver: Receiver, tmp_path: Path) -> Iterator[Bench]:
    root = without_git(tmp_path / "workspace", POLICY + NOTICES)
    file = root / ".hitl" / "notices"
    file.touch(mode=0o600)
    file.write_text("\n".join(map(receiver.address, ("boss", "yes", "chat"))))
    bench = Bench(root)
    yield bench
    bench.bridge.close()


def test_what_is_late_is_told_in_one_message_with_the_link_and_never_again(bench: Bench, receiver: Receiver) -> None:
    bench.pushed(*(row(f"q-{number}") for number in range(3)))
    bench.clock.turn(4.5 * HOUR)
    bench.bridge.escalate()
    sent = [bench.bridge.send_notices() for _ in range(3)]
    assert [(each.sent, each.told, each.waiting) for each in sent] == [(1, 3, 0), (0, 0, 0), (0, 0, 0)]
    (message,) = receiver.received
    (project,) = bench.bridge.store.projects()
    assert message.channel == "chat"
    assert (
        message.title == "HITL Bridge, workspace: 3 items are overdue (general, quick); due 2026-11-22 14:00 UTC for the first."
    )
    assert message.body.splitlines() == [
        "3 items are overdue (general, quick); due 2026-11-22 14:00 UTC for the first.",
        project.url,
        "",
        "Message 1 of HITL Bridge.",
    ]
    for private in ("q-1", "the words of", "@example.com", "SECRET"):
        assert private not in message.body


def test_a_channel_gets_no_more_than_one_message_in_so_much_time(bench: Bench, receiver: Receiver) -> None:
    for number in range(3):
        bench.ingest(row(f"q-{number}"))
        bench.bridge.push()
        bench.clock.turn(60)
    bench.clock.turn(4 * HOUR - 150)
    for _ in range(20):
        bench.bridge.escalate()
        bench.bridge.send_notices()
        bench.clock.turn(60)
    assert [each.body.split(" ")[0] for each in receiver.received] == ["1", "2"]


def test_a_message_that_is_not_taken_is_tried_again_and_holds_up_no_other_channel(bench: Bench, receiver: Receiver) -> None:
    bench.pushed(row("q-1"))
    bench.clock.turn(5 * HOUR)
    bench.bridge.escalate()
    receiver.refuses = True
    failed = bench.bridge.send_notices()
    assert (failed.sent, failed.waiting) == (0, 1)
    assert failed.troubles == ("chat: it was not taken: the service is away, or refuses it",)
    assert bench.bridge.status().notices_waiting == 1
    asked = receiver.asked
    bench.bridge.send_notices()
    assert receiver.asked == asked, "the next try has its time"
    receiver.refuses = False
    bench.clock.turn(61)
    assert bench.bridge.send_notices().sent == 1
    (channel,) = (each for each in bench.bridge.channels() if each.channel == "chat")
    assert (channel.waiting, channel.not_taken, channel.tries) == (0, 0, 0)


class _Dies:
    """Killed right after the message was taken, before anything could be written down."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def send(self, channel: str, text: Text) -> str | None:
        self._sender.send(channel, text)
        raise SystemExit


def test_a_message_during_whose_sending_the_process_died_goes_out_again_under_the_same_number(
    bench: Bench, receiver: Receiver
) -> None:
    bench.pushed(row("q-1"))
    bench.clock.turn(5 * HOUR)
    bench.bridge.escalate()
    settings, store = bench.bridge.settings, bench.bridge.store
    sender = _Dies(AppriseSender(settings.notice_addresses))
    ports = NoticePorts(store.notices(), sender, bench.clock, settings.notices, store.projects)
    with pytest.raises(SystemExit):
        deliver(ports)
    assert bench.bridge.notices_waiting() == 1
    bench.clock.turn(61)
    assert [bench.bridge.send_notices().sent for _ in range(2)] == [1, 0]
    first, again = receiver.received
    assert (first.number, first.body) == (again.number, again.body)
    assert sum(receiver.counts().values()) == 1


def test_a_clock_that_ran_ahead_and_was_set_back_silences_nobody(bench: Bench, receiver: Receiver) -> None:
    bench.clock.turn(400 * 24 * HOUR)
    bench.pushed(row("q-1"))
    bench.clock.turn(5 * HOUR)
    bench.bridge.escalate()
    receiver.refuses = True
    assert bench.bridge.send_notices().sent == 0
    receiver.refuses = False
    bench.clock.turn(-400 * 24 * HOUR)
    assert bench.bridge.send_notices().sent == 1
    bench.pushed(row("q-2"))
    bench.clock.turn(5 * HOUR)
    bench.bridge.escalate()
    assert bench.bridge.send_notices().sent == 1


def test_a_channel_without_an_address_waits_and_says_so_and_gets_all_of_it_later(bench: Bench, receiver: Receiver) -> None:
    known = bench.bridge.settings
    bench.bridge.settings = replace(known, notice_addresses={})
    bench.pushed(row("q-1"))
    bench.clock.turn(5 * HOUR)
    bench.bridge.escalate()
    (why,) = bench.bridge.send_notices().troubles
    assert why.startswith("chat: nobody has said at which address")
    bench.bridge.settings = known
    bench.clock.turn(120)
    assert bench.bridge.send_notices().told == 1


def test_without_channels_nothing_is_written(tmp_path: Path) -> None:
    bench = Bench(without_git(tmp_path / "quiet"))
    bench.pushed(row("q-1"))
    bench.clock.turn(5 * HOUR)
    assert bench.bridge.escalate().overdue == 1
    assert bench.bridge.send_notices().sent == 0
    assert bench.bridge.store.notices().waiting(["chat", "boss", "yes"]) == []
    bench.bridge.close()


def test_a_verdict_goes_to_approvers_a_held_lot_and_a_stopped_project_to_the_lead(bench: Bench, receiver: Receiver) -> None:
    store, now = bench.bridge.store, bench.clock.now()
    store.sign_offs().record_training(Training("m-2", "promote", "Ana", None, now))
    lot = Lot("lot-1", "m1", "p1", now - timedelta(days=7), now)
    with store.engine.begin() as connection:
        connection.execute(sa.insert(lots).values({name: getattr(lot, name) for name in Lot.__slots__}))
    store.lots().record_verdict(LotRow(lot, LotVerdict.HELD, {}, now), recall=False)
    stopped = trouble("general · quick", RefusedForSafety("Its label config was changed.", remedy="Put it back."))
    away = Trouble("general · other", "It does not answer.", "", 3)
    for _ in range(3):
        bench.bridge.send_notices([stopped, away])
        bench.clock.turn(HOUR)
    told = {each.channel: each.body for each in receiver.received}
    assert len(receiver.received) == 2
    assert "Model m-2 may go into production" in told["yes"]
    assert "Audit lot lot-1 is held" in told["boss"]
    assert "Project general · quick is stopped: Its label config was changed.\nPut it back." in told["boss"]
    assert "does not answer" not in told["boss"]
    bench.clock.turn(24 * HOUR)
    bench.bridge.send_notices([stopped])
    assert len(receiver.received) == 2, "nothing new"
    bench.bridge.send_notices([Trouble("general · quick", "It does not answer.", "", 3)])
    assert len(receiver.received) == 2, "whether it is over nobody knows"
    bench.bridge.send_notices()
    assert receiver.received[-1].body.startswith("Project general · quick is stopped no longer.")
    assert len(receiver.received) == 3


def test_a_trouble_whose_text_counts_is_told_when_it_begins_and_when_it_is_twice_as_bad(bench: Bench, receiver: Receiver) -> None:
    for gone in range(11, 45):
        emptied = ProjectChanged(f"It lists only {50 - gone} of 50 tasks.", remedy="Look.", much=gone)
        bench.bridge.send_notices([trouble("general · quick", emptied)])
        bench.clock.turn(HOUR)
    said = [each.body.partition("\n")[0] for each in receiver.received]
    assert said == [
        "Project general · quick is stopped: It lists only 39 of 50 tasks.",
        "Project general · quick is stopped still, and worse: It lists only 28 of 50 tasks.",
        "Project general · quick is stopped still, and worse: It lists only 6 of 50 tasks.",
    ]


def test_the_lead_hears_that_nobody_may_adjudicate_and_that_somebody_may(bench: Bench, receiver: Receiver) -> None:
    _adjudicated_by(bench, ANA)
    bench.pushed(row("t-1"))
    bench.labeling.answer(bench.task_id("t-1"), ANA, {REQUEST: (ESCALATE,)})
    bench.brought_back()
    bench.bridge.push()
    for _ in range(2):
        bench.bridge.send_notices()
        bench.clock.turn(HOUR)
    (message,) = receiver.received
    assert message.channel == "boss"
    assert message.body.startswith("Nobody may settle 1 item of pool general: whoever might has asked for an adjudicator there")
    assert "ana" not in message.body
    _adjudicated_by(bench, DEE)
    bench.bridge.send_notices()
    assert "waits in vain for an adjudicator any more" in receiver.received[-1].body


def _adjudicated_by(bench: Bench, person: str) -> None:
    policy = POLICY.replace("adjudicators: [dee@example.com]", f"adjudicators: [{person}]")
    (bench.root / "hitl.yaml").write_text(policy + NOTICES, encoding="utf-8")
    bench.bridge.close()
    bench.bridge = bench.opened()


def test_a_test_message_is_sent_to_a_channel_that_there_is(bench: Bench, receiver: Receiver) -> None:
    assert bench.bridge.test_channels() == {"boss": None, "yes": None, "chat": None}
    receiver.refuses = True
    assert bench.bridge.test_channels("chat") == {"chat": "it was not taken: the service is away, or refuses it"}
    with pytest.raises(UnknownName):
        bench.bridge.test_channels("nobody")


def test_an_address_that_nobody_understands_is_told_without_it(capfd: pytest.CaptureFixture[str]) -> None:
    sender = AppriseSender({"chat": Secret("nonsense://SECRET"), "away": Secret("json://me:SECRET@127.0.0.1:9")})
    text = Text("a", "b")
    said = [sender.send(name, text) for name in ("chat", "away", "nobody")]
    assert said == [
        "its address is none that apprise understands",
        "it was not taken: the service is away, or refuses it",
        "nobody has said at which address it is (HITL_NOTICES, or .hitl/notices)",
    ]
    assert "SECRET" not in "".join(capfd.readouterr())


def test_different_things_are_told_apart_and_alike_ones_counted() -> None:
    late: JSONObject = {"step": "overdue", "pool": "a", "tier": "quick", "due_at": "2026-11-22T10:00:00+00:00"}
    handed: JSONObject = {**late, "step": "pool:b", "pool": "b", "from": "a"}
    lot: JSONObject = {"lot_id": "lot-1"}
    text = compose([late, late, handed, lot], ["late", "late", "late", "lot"], {}, NoticeTerms())
    assert text.title == "HITL Bridge: 2 items are overdue (a, quick); due 2026-11-22 10:00 UTC for the first. (and 2 more)"
    assert [line.partition(" (")[0] for line in text.body.split("\n\n")][:2] == [
        "2 items are overdue",
        "1 item was handed over by a, where nobody finished in time",
    ]


def test_who_may_not_read_is_told_of_once_a_month_and_not_by_name(bench: Bench) -> None:
    now = bench.clock.now()
    terms = bench.bridge.policy.notices
    one, again = ([*of_reviewers({"r_0123": 2}, terms, at)] for at in (now, now + timedelta(days=3)))
    assert one == again
    assert [*of_reviewers({"r_0123": 2}, terms, now + timedelta(days=31))] != one
    text = compose([one[0].said, one[0].said], ["reviewers"] * 2, {}, terms)
    assert ("r_0123" in text.body, "\n\n" in text.body) == (False, False)


def test_the_same_thing_is_one_notice_a_channel(bench: Bench) -> None:
    notice, now = Notice("lot", "x", "boss", {"lot_id": "x"}), bench.clock.now()
    assert [bench.bridge.store.notices().add([notice, notice], now) for _ in range(2)] == [1, 0]


def test_tries_come_less_and_less_often_and_never_end() -> None:
    assert [pause(tries) for tries in (1, 2, 3)] == [timedelta(minutes=each) for each in (1, 2, 4)]
    assert pause(50) == timedelta(hours=1)
