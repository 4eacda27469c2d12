"""The oracles see what they are there to see: each is shown a bridge, or a world, with just one thing wrong."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hitl_bridge.bootstrap import Bridge, open_bridge
from tests.faults import oracles
from tests.faults.fake_label_studio import FakeLabelStudio
from tests.faults.fake_world import Contents, World
from tests.faults.one_cycle import LaterClock, Points, cycle, run
from tests.faults.people import Crowd
from tests.faults.task_filters import Row
from tests.faults.workspaces import TEXT_CANARY, Scenario, make_workspace, write_predictions
from tests.live.command_line import CommandLine


@dataclass(frozen=True, slots=True)
class Quiet:
    """A workspace in which all is decided and quiet, and what its Label Studio held then."""

    root: Path
    fake: FakeLabelStudio
    contents: Contents


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Quiet]:
    """Made once: each test has a copy of it."""
    home = tmp_path_factory.mktemp("quiet")
    with FakeLabelStudio() as fake:
        root = make_workspace(home / "workspace", fake.url, fake.token)
        Scenario(fake.url, (str(write_predictions(home, "a", 6)),), fake.reviewer_tokens).save(root)
        run(root, Points())
        yield Quiet(root, fake, fake.backup())
        assert fake.not_understood == []


@pytest.fixture
def fake(quiet: Quiet) -> FakeLabelStudio:
    quiet.fake.restore(quiet.contents)
    return quiet.fake


@pytest.fixture
def root(quiet: Quiet, fake: FakeLabelStudio, tmp_path: Path) -> Path:
    return shutil.copytree(quiet.root, tmp_path / "workspace", symlinks=True)


@pytest.fixture
def another() -> Iterator[FakeLabelStudio]:
    """A Label Studio in which nothing has happened yet."""
    with FakeLabelStudio() as running:
        yield running
        assert running.not_understood == []


@pytest.fixture
def bridge(root: Path) -> Iterator[Bridge]:
    with open_bridge(root, clock=LaterClock()) as opened:
        yield opened


def sentences(bridge: Bridge, fake: FakeLabelStudio) -> set[str]:
    """Which invariants are broken."""
    crowd = Crowd(fake.url, fake.reviewer_tokens)
    return {sentence.partition(":")[0] for sentence in oracles.of_the_reviews(bridge, crowd.anybody)}


def answered(world: World) -> Row:
    return next(task for task in world.contents.tasks.values() if task["annotations"])


def test_where_nothing_is_wrong_nothing_is_said(bridge: Bridge, root: Path, fake: FakeLabelStudio) -> None:
    assert sentences(bridge, fake) == set()
    assert oracles.audit_integrity(bridge, anchored=False) == []
    assert oracles.termination(bridge, root, lambda: cycle(bridge, commits=False)) == []
    assert oracles.isolation(bridge, ()) == []


@pytest.mark.catalogue("I1")
def test_an_answer_that_was_never_pulled_is_a_loss(bridge: Bridge, fake: FakeLabelStudio) -> None:
    with fake.held() as world:
        one = answered(world)["annotations"][0]
        world.annotate(one["task"], one["completed_by"], {"result": []})
    assert sentences(bridge, fake) == {"I1"}


def test_an_answer_that_says_something_else_now_is_a_loss(bridge: Bridge, fake: FakeLabelStudio) -> None:
    with fake.held() as world:
        answered(world)["annotations"][0]["result"] = []
    assert sentences(bridge, fake) == {"I1"}


@pytest.mark.catalogue("I1")
@pytest.mark.catalogue("I3")
def test_a_change_behind_the_cursor_is_seen(bridge: Bridge, fake: FakeLabelStudio) -> None:
    """As when a row becomes visible later than its time says."""
    with fake.held() as world:
        task = answered(world)
        before = task["updated_at"]
        world.annotate(task["id"], 2, {"result": []})
        task["updated_at"] = before
    assert sentences(bridge, fake) == {"I1", "I3"}


def test_a_deleted_answer_that_we_know_nothing_of_is_a_loss_and_no_ground_to_stand_on(
    bridge: Bridge, fake: FakeLabelStudio
) -> None:
    with fake.held() as world:
        answered(world)["annotations"].clear()
    assert sentences(bridge, fake) == {"I1", "I2"}


@pytest.mark.catalogue("I2")
def test_a_task_that_is_there_twice_is_a_double(bridge: Bridge, fake: FakeLabelStudio) -> None:
    with fake.held() as world:
        task = answered(world)
        world.import_tasks(task["project"], [{"data": task["data"], "predictions": []}])
    assert sentences(bridge, fake) == {"I2"}


def test_a_task_that_is_gone_is_missed(bridge: Bridge, fake: FakeLabelStudio) -> None:
    with fake.held() as world:
        world.delete_task(answered(world)["id"])
    assert "I2" in sentences(bridge, fake)


@pytest.mark.catalogue("I4")
def test_an_edited_row_of_the_audit_log_is_found(bridge: Bridge, root: Path) -> None:
    with closing(sqlite3.connect(root / ".hitl" / "bridge.db")) as store:
        triggers = store.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in triggers:
            store.execute(f"DROP TRIGGER {name}")
        store.execute("UPDATE events SET detail = '{}' WHERE seq = (SELECT max(seq) - 2 FROM events)")
        store.commit()
    assert oracles.audit_integrity(bridge, anchored=False)


@pytest.mark.catalogue("I6")
def test_a_cycle_that_never_ends_is_told(bridge: Bridge, root: Path) -> None:
    assert oracles.termination(bridge, root, lambda: True) == [f"I6: it was not quiet after {oracles.MOST_CYCLES} cycles."]


@pytest.mark.catalogue("I7")
def test_a_secret_or_a_text_in_a_log_is_found(root: Path, tmp_path: Path, fake: FakeLabelStudio) -> None:
    canaries = oracles.Canaries([fake.token], [TEXT_CANARY])
    log = tmp_path / "daemon.log"
    log.write_text("all is well", "utf-8")
    assert oracles.no_leak(root, [log], canaries) == []
    log.write_text(f"asking with {fake.token} about {TEXT_CANARY}", "utf-8")
    assert len(oracles.no_leak(root, [log], canaries)) == 2


@pytest.mark.catalogue("I8")
def test_a_bad_item_is_set_aside_alone_and_one_that_was_not_is_told(another: FakeLabelStudio, tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "workspace", another.url, another.token)
    another.world.refused.add(f"{TEXT_CANARY} a 1")
    Scenario(another.url, (str(write_predictions(tmp_path, "a", 6)),), another.reviewer_tokens).save(root)
    run(root, Points())
    with open_bridge(root, clock=LaterClock()) as bridge:
        assert oracles.isolation(bridge, ["a-1"]) == []
        assert oracles.isolation(bridge, []) == ["I8: item a-1 was set aside with the bad ones."]
        assert oracles.isolation(bridge, ["a-1", "a-2"]) == ["I8: item a-2 was not set aside."]


@pytest.mark.catalogue("I9")
def test_work_that_did_not_happen_is_told() -> None:
    assert oracles.work_happened({"kills": 3}, {"kills": 3}) == []
    assert oracles.work_happened({}, {"kills": 3}) == ["I9: only 0 kills, at least 3 are due."]


@pytest.mark.catalogue("I5")
def test_a_version_whose_data_is_damaged_or_gone_is_found(another: FakeLabelStudio, tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "workspace", another.url, another.token, remote=tmp_path / "remote")
    Scenario(another.url, (str(write_predictions(tmp_path, "a", 6)),), another.reviewer_tokens, commits=True).save(root)
    run(root, Points())
    with open_bridge(root, clock=LaterClock()) as bridge:
        assert judged(bridge, root) == []
        CommandLine(root).git("tag", "decisions@v9.0.0", "HEAD")
        assert "decisions@v9.0.0 is in git alone" in judged(bridge, root)[-1]
        CommandLine(root).git("tag", "--delete", "decisions@v9.0.0")
        damaged = max((path for path in (tmp_path / "remote").rglob("*") if _is_data(path)), key=lambda path: path.stat().st_size)
        damaged.chmod(0o644)
        damaged.write_bytes(b"something else")
        assert judged(bridge, root)


def judged(bridge: Bridge, root: Path) -> list[str]:
    shutil.rmtree(root.parent / "rebuilt", ignore_errors=True)
    try:
        return oracles.version_integrity(bridge, root)
    except AssertionError as failed:  # DVC itself refuses
        return [str(failed)]


def _is_data(path: Any) -> bool:
    return bool(path.is_file() and not path.name.endswith(".dir"))
