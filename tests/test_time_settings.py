"""Working hours, ladders and notices in `hitl.yaml`, and what is wrong with them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hitl_bridge.core.deadlines import shift
from hitl_bridge.core.ladder import ADJUDICATOR, Audience, Rung
from hitl_bridge.errors import SettingsError, UsageError
from hitl_bridge.settings import check_settings, load_settings
from hitl_bridge.settings.load import policy_version
from tests.services.bench import without_git

BASE = """\
task: text-classification
labels: [refund, cancel]
tiers:
  quick: {reviewers: 1}
"""
POOLS = """\
expertise:
  - {name: payments, when: "scenario = 'payments'", working_hours: {zone: America/New_York, week: {mon-sun: "08:00-20:00"}}}
  - {name: general}
"""
HOURS = """\
working_hours:
  zone: Europe/Berlin
  week: {mon-thu: ["08:00-12:00", "13:00-17:00"], fri: "08:00-12:00"}
  holidays: DE-BY
  closed: [2026-12-24]
"""
LADDER = """\
    ladder:
      - {give_to: payments, after: 2h}
      - {tell: pool, before: 30m}
      - {tell: pool}
      - {tell: lead, after: 6h}
      - {give_to: adjudicator, after: 4h}
"""
HOUR = timedelta(hours=1)


def test_each_pool_has_its_own_hours_or_those_of_the_workspace(tmp_path: Path) -> None:
    settings = load_settings(without_git(tmp_path / "ws", BASE + POOLS + HOURS))
    here, there = (pool.hours for pool in settings.pools)
    friday = datetime(2026, 10, 30, 10, 30, tzinfo=UTC)  # 11:30 in Berlin; Sunday is All Saints' Day, no holiday of Monday
    assert shift(friday, HOUR, there) == datetime(2026, 11, 2, 7, 30, tzinfo=UTC)
    assert shift(friday, HOUR, here) == datetime(2026, 10, 30, 13, 0, tzinfo=UTC)
    before_christmas = datetime(2026, 12, 23, 15, 30, tzinfo=UTC)  # the 24th is closed, the 25th a holiday, then a weekend
    assert shift(before_christmas, HOUR, there) == datetime(2026, 12, 28, 7, 30, tzinfo=UTC)
    assert str(settings.notices.zone) == "Europe/Berlin"


def test_without_working_hours_time_is_counted_by_the_clock(tmp_path: Path) -> None:
    settings = load_settings(without_git(tmp_path / "ws", BASE))
    assert [pool.hours for pool in settings.pools] == [None]


def test_a_ladder_stands_in_the_order_of_time_and_needs_no_new_policy_where_there_is_none(tmp_path: Path) -> None:
    text = BASE.replace("{reviewers: 1}", "\n    reviewers: 1") + LADDER + POOLS
    settings = load_settings(without_git(tmp_path / "ws", text))
    assert settings.tiers[0].ladder == (
        Rung(-HOUR / 2, Audience.POOL),
        Rung(0 * HOUR, Audience.POOL),
        Rung(2 * HOUR, give_to="payments"),
        Rung(4 * HOUR, give_to=ADJUDICATOR),
        Rung(6 * HOUR, Audience.LEAD),
    )
    assert [rung.name for rung in settings.tiers[0].ladder] == ["at_risk", "overdue", "pool:payments", "adjudicator", "lead"]
    versions = [policy_version(check_settings(each.encode())) for each in (BASE, BASE + HOURS, text)]
    assert versions[0] == versions[1] != versions[2]


def test_the_addresses_of_channels_are_no_part_of_the_file_and_are_never_shown(tmp_path: Path) -> None:
    notices = "notices: {lead: [chat], pools: {general: [chat, mail]}, every: 5m}\n"
    root = without_git(tmp_path / "ws", BASE + notices)
    file = root / ".hitl" / "notices"
    file.write_text("# where notices go\nchat slack://SECRET/TOKEN/HERE\nmail mailtos://me:SECRET@example.com\n")
    with pytest.raises(UsageError, match="Others can read the secret"):
        load_settings(root)
    file.chmod(0o600)
    settings = load_settings(root)
    assert settings.notices.channels == ("chat", "mail")
    assert settings.notice_addresses["chat"].reveal() == "slack://SECRET/TOKEN/HERE"
    assert "SECRET" not in repr(settings)
    assert settings.policy.notices.of_pool("general") == ("chat", "mail")
    known = load_settings(root, {"HITL_NOTICES": "chat json://127.0.0.1:9"})
    assert list(known.notice_addresses) == ["chat"]
    with pytest.raises(UsageError, match="Line 2 of HITL_NOTICES: the channel is there twice") as caught:
        load_settings(root, {"HITL_NOTICES": "chat json://SECRET\nchat json://SECRET"})
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("more", "where", "said"),
    [
        ("working_hours: {zone: Europe/Berln}\n", "working_hours.zone", "is no time zone"),
        ("working_hours: {holidays: XX}\n", "working_hours.holidays", "no country"),
        ("working_hours: {holidays: DE-XX}\n", "working_hours.holidays", "no country"),
        ('working_hours: {week: {mon-fry: "09:00-17:00"}}\n', "working_hours.week", "is no day"),
        ('working_hours: {week: {fri-mon: "09:00-17:00"}}\n', "working_hours.week", "runs backwards"),
        ('working_hours: {week: {mon: "22:00-06:00"}}\n', "working_hours.week", "two, one on each day"),
        ('working_hours: {week: {mon: ["9:00-12:00", "11:00-17:00"]}}\n', "working_hours.week", "overlap"),
        ('working_hours: {week: {mon: "9:00-12:00", mon-fri: "9:00-12:00"}}\n', "working_hours.week", "said twice"),
        ("working_hours: {week: {mon: []}}\n", "working_hours.week", "no hour in which anybody works"),
        ("working_hours: {closed: ['2026-13-01']}\n", "working_hours.closed[1]", "is no date"),
        ("working_hours: {days: 5}\n", "working_hours.days", "no setting"),
        ("notices: {pools: {generl: [chat]}}\n", "notices.pools.generl", "did you mean 'general'"),
        ("notices: {lead: ['slack://token']}\n", "notices.lead[1]", "match pattern"),
        ("adjudication: {ladder: [{give_to: adjudicator}]}\n", "adjudication.ladder[1].give_to", "no pool"),
        ("adjudication: {ladder: [{tell: lead, give_to: general}]}\n", "adjudication.ladder[1]", "must either"),
        ("adjudication: {ladder: [{tell: lead}, {tell: lead, after: 2h}]}\n", "adjudication.ladder[2]", "does what step 1 does"),
        ("adjudication: {ladder: [{tell: lead, after: 1h, before: 1h}]}\n", "adjudication.ladder[1]", "either so long"),
        ("adjudication: {ladder: [{tell: boss}]}\n", "adjudication.ladder[1].tell", "'pool' or 'lead'"),
        ("expertise: [{name: adjudicator}]\n", "expertise[1].name", "choose another name"),
    ],
)
def test_a_mistake_is_named_where_it_stands(more: str, where: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check_settings((BASE + more).encode())
    (problem,) = caught.value.problems
    assert problem.where == where
    assert said in problem.what
