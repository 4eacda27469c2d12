"""Planning over a small workspace's real record, and receipts computed again from the policy of their time."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from xml.etree import ElementTree

import pytest

from hitl_bridge.core.lifecycle import OPEN
from hitl_bridge.core.model import ItemState
from hitl_bridge.core.planning.plan_chart import plan_chart
from hitl_bridge.core.planning.planned import PlannedPolicy, PlanResult, lines_of
from hitl_bridge.core.triage.replay import NOT_KEPT
from hitl_bridge.errors import RefusedForSafety, UsageError
from hitl_bridge.services.policy.plan import PlanWish
from tests.services.approving import token_of
from tests.services.bench import ANA, AUTO, BEN, COMPREHENSIVE, DEE, POLICY, QUICK, Bench, row, without_git, write_rows

DRAWN = POLICY.replace("rate: 1.0, uniform: 0.0", "rate: 0.5, uniform: 0.2")
WIDER = DRAWN.replace("auto: {max_risk: 0.1}", "auto: {max_risk: 0.35}")


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days of 40 predictions each; of what people look at, every fifth item is wrong. Made once."""
    bench = Bench(without_git(tmp_path_factory.mktemp("record") / "workspace", DRAWN))
    for day in range(2):
        bench.pushed(*(row(f"d{day}-{at}", (AUTO, AUTO, QUICK, COMPREHENSIVE)[at % 4]) for at in range(40)))
        _answer(bench)
        bench.clock.turn(86_400)
    (bench.root / "wider.yaml").write_text(WIDER, encoding="utf-8")
    bench.bridge.close()
    return bench.root


@pytest.fixture
def recorded(record: Path, tmp_path: Path) -> Iterator[Bench]:
    """A copy of it."""
    bench = Bench(shutil.copytree(record, tmp_path / "workspace"))
    bench.clock.turn(2 * 86_400)
    yield bench
    bench.bridge.close()


def _answer(bench: Bench) -> None:
    for item in bench.bridge.store.items_in(*_open()):
        wrong = int(str(item.item_id).split("-")[1]) % 5 == 0
        for person in (ANA, BEN)[: item.route.reviewers]:
            bench.answer(item.item_id, person, "billing" if wrong else "refund")
    bench.brought_back()
    bench.bridge.push()
    for item in bench.bridge.store.items_in(*_open()):
        bench.answer(item.item_id, DEE, "billing", "as it says")
    bench.brought_back()


def _open() -> tuple[ItemState, ...]:
    return tuple(OPEN)


def _shares(policy: PlannedPolicy) -> Mapping[str, float]:
    return {name: round(share, 2) for name, share in policy.tiers.items()}


def test_today_s_policy_stands_beside_the_other_one(recorded: Bench) -> None:
    plan = recorded.bridge.plan(recorded.root / "wider.yaml")
    today, wider = plan.policies
    assert (today.name, wider.name, plan.unit, plan.level) == ("today", "wider.yaml", "a day", 0.9)
    assert _shares(today) == {"auto": 0.5, "quick": 0.25, "comprehensive": 0.25}
    assert _shares(wider) == {"auto": 0.75, "quick": 0.0, "comprehensive": 0.25}
    assert (plan.recorded.predictions, plan.recorded.days, plan.recorded.items_a_day) == (80, 2, 40)
    assert wider.reviews.expected < today.reviews.expected
    assert today.escaped is not None
    assert wider.escaped is not None
    assert wider.escaped.high > today.escaped.high
    assert today.policy_version != wider.policy_version


def test_what_is_planned_is_near_what_came(recorded: Bench) -> None:
    [today] = recorded.bridge.plan(wish=PlanWish(items=40)).policies
    asked = len(list(recorded.bridge.store.record().answers())) / 2
    assert today.reviews.low <= asked <= today.reviews.high


def test_planning_writes_nothing(recorded: Bench) -> None:
    before = recorded.database()
    recorded.bridge.plan(recorded.root / "wider.yaml")
    assert recorded.database() == before


def test_what_nobody_has_looked_at_can_not_be_known_and_it_is_said_what_would_tell(tmp_path: Path) -> None:
    bench = Bench(without_git(tmp_path / "workspace"))  # every auto-approved item is audited, there is no uniform stream
    bench.pushed(*(row(f"d-{at}", (AUTO, QUICK)[at % 2]) for at in range(20)))
    _answer(bench)
    (bench.root / "wider.yaml").write_text(POLICY.replace("auto: {max_risk: 0.1}", "auto: {max_risk: 0.35}"), encoding="utf-8")
    plan = bench.bridge.plan(bench.root / "wider.yaml")
    today, wider = plan.policies
    assert today.escaped is not None
    assert wider.escaped is None
    assert [(each.share, each.draws) for each in wider.unknown] == [(0.5, 149)]
    [said] = [note for note in plan.notes if "wider.yaml" in note]
    assert "50.0 % of the items would be approved where there was no random look" in said
    assert "149 looks there, all right, would tell" in said
    assert "set a rate for the uniform stream" in said
    bench.bridge.close()


def test_an_error_budget_says_how_many_labels_and_days_are_missing(recorded: Bench) -> None:
    assert recorded.bridge.plan().budget is None
    settings = recorded.root / "hitl.yaml"
    settings.write_text(DRAWN.replace("tiers:", "triage: {error_budget: 0.3}\ntiers:", 1), encoding="utf-8")
    with recorded.opened() as bridge:
        ahead = bridge.plan().budget
    assert ahead is not None
    assert (ahead.share, ahead.confidence) == (0.3, 0.95)
    assert ahead.needed is not None
    assert ahead.more == ahead.needed - ahead.labels > 0
    assert ahead.days == pytest.approx(ahead.more / (40 * 0.2 * 0.5))


def test_a_team_with_less_time_misses_more(recorded: Bench) -> None:
    few, many = (recorded.bridge.plan(wish=PlanWish(hours_a_day=hours)) for hours in (0.01, 1000.0))
    assert few.policies[0].deadlines is not None
    assert many.policies[0].deadlines is not None
    assert few.policies[0].deadlines.load > 1 > many.policies[0].deadlines.load
    assert few.policies[0].deadlines.share.expected > many.policies[0].deadlines.share.expected
    assert few.roster.known == "as you say"


def test_deadlines_are_counted_over_the_calendar_that_follows_and_nobody_works_where_it_says_so(recorded: Bench) -> None:
    today = recorded.clock.now().date()
    away = ", ".join(str(today + timedelta(days=each)) for each in range(-60, 60))
    always = "working_hours: {week: {mon-sun: '00:00-24:00'}%s}\n"
    by_clock, never_closed, closed = (
        _planned(recorded, DRAWN + hours) for hours in ("", always % "", always % f", closed: [{away}]")
    )
    assert by_clock.policies[0].deadlines == never_closed.policies[0].deadlines is not None
    assert closed.policies[0].deadlines is None
    assert closed.policies[0].reviews == by_clock.policies[0].reviews
    [note] = set(never_closed.notes) - set(by_clock.notes)
    assert f"over the days from {by_clock.recorded.until[:8]}" in note


def _planned(recorded: Bench, policy: str) -> PlanResult:
    (recorded.root / "hitl.yaml").write_text(policy, encoding="utf-8")
    with recorded.opened() as bridge:
        return bridge.plan(wish=PlanWish(hours_a_day=0.2))


def test_only_the_model_that_is_asked_for_counts(recorded: Bench) -> None:
    recorded.ingest(row("new", AUTO, model_version="m2"))
    assert (recorded.bridge.plan().recorded.model_version, recorded.bridge.plan().recorded.predictions) == ("m2", 1)
    assert recorded.bridge.plan(wish=PlanWish(model="m1")).recorded.predictions == 80
    with pytest.raises(UsageError, match="No prediction of the model version 'm3'"):
        recorded.bridge.plan(wish=PlanWish(model="m3"))


def test_the_last_days_alone_can_be_looked_at(recorded: Bench) -> None:
    assert recorded.bridge.plan(wish=PlanWish(last=1)).recorded.predictions == 40


def test_nothing_can_be_planned_from_nothing(bench: Bench) -> None:
    with pytest.raises(UsageError, match="Nothing is recorded yet"):
        bench.bridge.plan()


def test_a_lost_file_of_receipts_is_no_smaller_record(recorded: Bench) -> None:
    next(iter((recorded.root / ".hitl" / "receipts").glob("*.parquet"))).unlink()
    with pytest.raises(RefusedForSafety, match="can't be read"):
        recorded.bridge.plan()


def test_the_chart_is_one_picture_that_loads_nothing_and_escapes_names(recorded: Bench) -> None:
    hostile = recorded.root / "a<script>&.yaml"
    hostile.write_text(WIDER, encoding="utf-8")
    drawn = plan_chart(recorded.bridge.plan(hostile))
    root = ElementTree.fromstring(drawn)  # noqa: S314 (our own)
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "a<script>&.yaml" in texts
    assert "<script" not in drawn
    assert "href" not in drawn


def test_every_figure_has_a_line_for_people(recorded: Bench) -> None:
    lines = {line.says: line.values for line in lines_of(recorded.bridge.plan(recorded.root / "wider.yaml"))}
    assert lines["tiers"] == ("auto 50% · quick 25% · comprehensive 25%", "auto 75% · quick 0% · comprehensive 25%")
    assert "errors let through, a day" in lines
    assert all(len(values) == 2 for values in lines.values())


# ------------------------------------------------------------------------------------------------------ trace --replay


def test_every_receipt_of_the_record_comes_out_the_same(recorded: Bench) -> None:
    found = [each for at in range(8) for each in recorded.bridge.replay(f"d0-{at}")]
    assert len(found) == 8
    assert all(each.same for each in found)


def test_a_receipt_is_computed_by_the_policy_of_its_time(recorded: Bench) -> None:
    (recorded.root / "hitl.yaml").write_text(WIDER, encoding="utf-8")
    with recorded.opened() as bridge:
        assert all(each.same for each in bridge.replay("d0-2"))


def test_a_receipt_that_its_policy_does_not_explain_names_each_column_that_differs(recorded: Bench) -> None:
    with closing(sqlite3.connect(recorded.root / ".hitl" / "bridge.db")) as connection, connection:
        connection.execute("""UPDATE policies SET content = replace(content, '"max_risk":0.1', '"max_risk":0.35')""")
    [found] = recorded.bridge.replay("d0-2")
    assert "tier" in found.differs
    assert set(found.differs) <= {"tier", "purpose", "split", "audit_draw"}


def test_a_policy_that_was_not_kept_is_said_to_be_missing(recorded: Bench) -> None:
    with closing(sqlite3.connect(recorded.root / ".hitl" / "bridge.db")) as connection, connection:
        connection.execute("DELETE FROM policies")
    [found] = recorded.bridge.replay("d0-2")
    assert (found.same, found.problem) == (False, NOT_KEPT)


def test_the_policy_is_kept_before_a_receipt_names_it_and_not_by_a_dry_run(bench: Bench, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "in.jsonl", [row("t-1")])
    version = bench.bridge.policy.plan.policy_version
    bench.bridge.ingest(str(file), dry_run=True)
    assert bench.bridge.store.policies().content(version) is None
    bench.bridge.ingest(str(file))
    assert bench.bridge.store.policies().content(version) is not None


# --------------------------------------------------------------------------------------------------------- calibration


def _calibrate(bench: Bench, *versions: str) -> None:
    """As if the record had been made under a calibration: in the policies that are kept."""
    with closing(sqlite3.connect(bench.root / ".hitl" / "bridge.db")) as connection, connection:
        said = '"calibrations":{"m1":{"method":"temperature","model_version":"m1","parameters":[2.0]}}'
        for version in versions:
            connection.execute(
                "UPDATE policies SET content = replace(content, '\"calibrations\":{}', ?) WHERE policy_version = ?",
                (said, version),
            )


def test_records_of_another_calibration_are_left_out_and_that_is_said(recorded: Bench) -> None:
    before = recorded.bridge.policy.plan.policy_version
    (recorded.root / "hitl.yaml").write_text(WIDER, encoding="utf-8")
    with recorded.opened() as bridge:
        bridge.approve_policy(reason="nothing went wrong", token=token_of(bridge))
        bridge.ingest(str(write_rows(recorded.root / "more.jsonl", [row("d2-0", AUTO), row("d2-1", QUICK)])))
        _calibrate(recorded, before)
        plan = bridge.plan()
    assert plan.recorded.predictions == 2
    assert plan.notes[0] == "80 predictions of the time before the present calibration are left out: their risks differ."


def test_where_nothing_is_recorded_under_the_present_calibration_the_confidence_has_to_do(recorded: Bench) -> None:
    _calibrate(recorded, recorded.bridge.policy.plan.policy_version)
    plan = recorded.bridge.plan()
    assert plan.recorded.predictions == 80
    assert "computed from the confidence alone" in plan.notes[0]
