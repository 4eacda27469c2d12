"""Decisions are taken back: they hold no more, stay away when the item is settled again, and old versions stay as they are."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from typing import Any

import pytest

from hitl_bridge.core.dataset import card, croissant
from hitl_bridge.core.dataset.schema import from_parquet
from hitl_bridge.core.draws import pseudonym
from hitl_bridge.core.model import AnnotationId
from hitl_bridge.errors import UnknownName, UsageError
from hitl_bridge.services.dataset.revert import RevertPorts, RevertResult, RevertWish, revert
from tests.services.bench import ANA, BEN, COMPREHENSIVE, DEE, Bench, git, row

WHY = "the guideline was misread"


def decided(bench: Bench, reviewer: str, **labels: str) -> dict[str, AnnotationId]:
    """Items with these answers of one reviewer's, decided."""
    bench.pushed(*(row(item_id) for item_id in labels))
    given = {item_id: bench.answer(item_id, reviewer, label) for item_id, label in labels.items()}
    bench.brought_back()
    return given


def taken_back(bench: Bench, *, dry_run: bool = False, **wish: Any) -> RevertResult:
    """Without the commit, which needs git."""
    store, settings = bench.bridge.store, bench.bridge.settings
    ports = RevertPorts(store.reverts(), store, bench.clock, settings.workspace_key)
    return revert(ports, RevertWish(WHY, DEE, **wish), dry_run=dry_run)


def held(bench: Bench, version: str | None = None) -> set[str]:
    return set(bench.bridge.load_decisions(version)["item_id"])


def label(bench: Bench, item_id: str) -> object:
    decision = bench.decision(item_id)
    return None if decision.output is None else decision.output["label"]


def test_a_reviewer_is_taken_back_in_one_command_and_the_version_before_is_still_there(whole_bench: Bench) -> None:
    bench, bridge = whole_bench, whole_bench.bridge
    decided(bench, ANA, one="refund", two="billing")
    decided(bench, BEN, three="cancel")
    bridge.commit()
    decided(bench, BEN, four="cancel")  # in no version yet
    decided(bench, ANA, five="cancel")

    (first,) = [each for each in _rows(bench, "v0.1.0") if each["item_id"] == "three"]
    assert (first["cause"], first["confidence_band"], first["taken_back"]) == ("settled", "0.70–0.80", [])
    assert [len(first[name]) for name in ("annotations_sha256", "receipt_sha256")] == [64, 64]
    assert (len(first["label_configs"]), first["asked_at"][:10]) == (1, "2026-11-22")
    committed = {path: git(bench.root, "show", f"decisions@v0.1.0:{path}") for path in (card.PATH, croissant.PATH)}
    assert "3 decisions of 2 reviewers" in committed[card.PATH]

    foretold = bridge.revert(RevertWish(WHY, reviewer=BEN), dry_run=True)
    assert (foretold.removed, foretold.answers, foretold.version) == (2, 2, None)
    assert held(bench) == {"one", "two", "three"}

    result = bridge.revert(RevertWish(WHY, reviewer=BEN))
    assert (result.version, result.removed, result.answers) == ("v0.1.1", 2, 2)
    assert {each.item_id for each in result.items} == {"three", "four"}
    assert (held(bench), held(bench, "v0.1.0")) == ({"one", "two"}, {"one", "two", "three"})
    assert git(bench.root, "status", "--porcelain") == ""
    assert bridge.store.verify_audit({}).problems == ()
    told_in_git = git(bench.root, "show", f"HEAD:{card.PATH}")
    assert ("2 decisions of 1 reviewers" in told_in_git, f"1 taken back: {WHY}" in told_in_git) == (True, True)
    known = croissant.read_files(git(bench.root, "show", f"HEAD:{croissant.PATH}"))
    content = bridge.dataset.read("decisions@v0.1.1")
    assert known == {path: hashlib.sha256(data).hexdigest() for path, data in content.items()}
    found = bridge.diff("v0.1.0")
    assert [(each.item_id, each.what, each.cause, each.why) for each in found.items] == [("three", "removed", "reverted", WHY)]

    again = bridge.revert(RevertWish(WHY, reviewer=BEN))
    assert (again.removed, again.answers, again.version) == (0, 0, None)
    assert bridge.commit().version == "v0.2.0"  # what waited beside it
    assert held(bench) == {"one", "two", "five"}

    (told,) = [each for each in _rows(bench, "v0.1.1") if each["item_id"] == "three"]
    who = pseudonym(bridge.settings.workspace_key, bridge.signer(None))
    assert (told["op"], told["cause"], told["cause_reason"], told["cause_by"]) == ("remove", "reverted", WHY, who)
    assert len(told["taken_back"]) == 1


def _rows(bench: Bench, version: str) -> Sequence[dict[str, Any]]:
    path = f"data/decisions/{version}.parquet"
    rows: list[dict[str, Any]] = from_parquet(bench.bridge.dataset.read(f"decisions@{version}", [path])[path]).to_pylist()
    return rows


def test_a_store_from_before_the_revert_does_not_bring_back_what_was_taken_back(whole_bench: Bench) -> None:
    bench, bridge = whole_bench, whole_bench.bridge
    decided(bench, ANA, one="refund")
    decided(bench, BEN, two="cancel")
    backup = bench.root.parent / "bridge.db"
    bridge.close()
    shutil.copyfile(bench.root / ".hitl" / "bridge.db", backup)
    bench.bridge = bridge = bench.opened()
    bridge.commit()
    bridge.revert(RevertWish(WHY, reviewer=BEN))
    bridge.close()

    for each in (bench.root / ".hitl").glob("bridge.db*"):
        each.unlink()
    shutil.copyfile(backup, bench.root / ".hitl" / "bridge.db")
    bench.bridge = bridge = bench.opened()
    bridge.accept_restored_store(by=DEE)
    bench.brought_back()
    assert bridge.commit().version is None
    assert held(bench) == {"one"}
    bridge.pull(sweep=True)
    bridge.resolve()
    assert (bridge.commit().version, held(bench)) == (None, {"one"})


def test_a_decision_that_was_taken_back_stays_away_when_its_item_is_settled_again(bench: Bench) -> None:
    decided(bench, ANA, one="billing")
    taken_back(bench, decisions=("one#1.0",))
    assert bench.decided() == {}
    bench.bridge.store.forget_cursor(bench.bridge.store.projects()[0].project_id)
    with bench.bridge.store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE items SET needs_resolve = 1")
    bench.brought_back()
    assert bench.decided() == {}


def test_an_answer_that_is_given_or_edited_after_the_revert_counts_as_ever(bench: Bench) -> None:
    given = decided(bench, ANA, one="billing", two="billing")
    taken_back(bench, decisions=("one", "two"))
    bench.clock.turn(60)
    bench.revise(given["one"], ANA, "cancel")
    bench.brought_back()
    assert (bench.decided(), label(bench, "one")) == ({"one": "add"}, "cancel")


def test_only_the_reviewer_s_own_answers_are_lost_where_others_agreed_with_them(bench: Bench) -> None:
    bench.pushed(row("one", COMPREHENSIVE))
    bench.answer("one", ANA, "billing")
    bench.answer("one", BEN, "billing")
    bench.brought_back()
    result = taken_back(bench, reviewer=BEN, ask_again=True)
    assert (result.removed, result.answers, result.asked_again) == (1, 1, 1)
    assert (bench.state("one"), bench.item("one").round) == ("queued", 2)
    bench.bridge.push()
    bench.answer("one", BEN, "billing")  # having read the guideline
    bench.brought_back()
    assert set(bench.decision("one").reviewers) == {ANA, BEN}


def test_answers_of_the_reviewer_that_nothing_was_decided_on_yet_count_no_more_either(bench: Bench) -> None:
    bench.pushed(row("one", COMPREHENSIVE))
    bench.answer("one", BEN, "cancel")
    bench.brought_back()
    result = taken_back(bench, reviewer=pseudonym(bench.bridge.settings.workspace_key, BEN))
    assert (result.removed, result.answers) == (0, 1)
    bench.answer("one", ANA, "cancel")
    bench.brought_back()
    assert bench.decided() == {}


def test_what_held_before_holds_again_and_a_revert_can_be_taken_back_itself(bench: Bench) -> None:
    given = decided(bench, ANA, one="billing")
    bench.clock.turn(60)
    bench.revise(given["one"], ANA, "cancel")
    bench.brought_back()
    assert label(bench, "one") == "cancel"
    result = taken_back(bench, decisions=("one#1.1",))
    assert (result.removed, result.reinstated, result.items[0].now) == (0, 1, "one#1.2")
    assert label(bench, "one") == "billing"

    taken_back(bench, decisions=("one#1.2",))
    assert label(bench, "one") == "cancel"
    assert bench.bridge.store.verify_audit({}).problems == ()


def test_what_was_decided_since_a_time_is_taken_back(bench: Bench) -> None:
    decided(bench, ANA, one="billing")
    bench.clock.turn(3600)
    decided(bench, ANA, two="billing")
    result = taken_back(bench, since="2026-11-22T10:30:00+00:00")
    assert [each.item_id for each in result.items] == ["two"]
    assert set(bench.decided()) == {"one"}


@pytest.mark.parametrize(
    ("wish", "error", "said"),
    [
        ({}, UsageError, "what to take back"),
        ({"reviewer": "nobody@example.com"}, UnknownName, "reviewer 'r_"),
        ({"since": "2026-11-22"}, UsageError, "no time zone"),
        ({"since": "last week"}, UnknownName, "dataset version"),
        ({"version": "v9.9.9"}, UnknownName, "v9.9.9"),
        ({"decisions": ("one#1.7",)}, UnknownName, "one#1.7"),
        ({"decisions": ("two",)}, UnknownName, "two"),
    ],
)
def test_what_can_not_be_understood_is_refused(bench: Bench, wish: dict[str, Any], error: type[Exception], said: str) -> None:
    decided(bench, ANA, one="billing")
    with pytest.raises(error, match=said):
        taken_back(bench, **wish)
    assert set(bench.decided()) == {"one"}


def test_a_dry_run_of_a_revert_writes_nothing(bench: Bench) -> None:
    decided(bench, ANA, one="billing")
    before = bench.database()
    assert taken_back(bench, decisions=("one",), dry_run=True).removed == 1
    assert bench.database() == before
