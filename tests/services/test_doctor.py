"""Each thing that can be wrong with a workspace is a line with its remedy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hitl_bridge.adapters.notices import trouble_with
from hitl_bridge.adapters.workspace import WorkspaceTools
from hitl_bridge.core.people import Role, Seat, Term
from hitl_bridge.errors import BridgeError, LabelingUnavailable, RepositoryRefused, StoreUnavailable
from hitl_bridge.ports import ServiceStatus
from hitl_bridge.services.desk.gold import GoldStock
from hitl_bridge.services.keeping.doctor import Check, Probes, doctor
from hitl_bridge.settings import Settings, load_settings

KEY = "ab" * 32
NAMES = ("boss", "chat", "nobody")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HITL_WORKSPACE_KEY", KEY)
    (tmp_path / "hitl.yaml").write_text("task: text-classification\nlabels: [a, b]\ntiers: {quick: {}}\n")
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("")
    return tmp_path


def tree(root: Path, *, has_token: bool = True) -> Settings:
    return load_settings(root, {"HITL_WORKSPACE_KEY": KEY, "HITL_LABEL_STUDIO_TOKEN": "t0ken" if has_token else ""})


def healthy() -> Probes:
    return Probes(
        git_version=lambda: "2.39.5",
        dvc_version=lambda: "3.67.1",
        repository=lambda settings: None,
        ignores=lambda path: True,
        store=lambda settings: "SQLite",
        labeling=lambda settings: ServiceStatus(settings.label_studio_url, "1.23.0", "bridge@example.com"),
        label_configs=lambda settings: ["text-classification.quick.xml"],
    )


def line(checks: Sequence[Check], name: str) -> Check:
    (check,) = (check for check in checks if check.name == name)
    return check


def test_a_healthy_workspace_has_no_fault(workspace: Path) -> None:
    checks = doctor(workspace, tree(workspace), healthy())
    assert [check.name for check in checks if check.ok is not True] == []
    assert "policy p-" in line(checks, "settings").found
    assert line(checks, "Label Studio").found == "1.23.0 at http://127.0.0.1:8080, as bridge@example.com"


def test_items_that_nobody_may_settle_are_told_with_what_to_do(workspace: Path) -> None:
    probes = replace(healthy(), nobody_settles=lambda settings: {"general": 2})
    check = line(doctor(workspace, tree(workspace), probes), "adjudicators")
    assert (check.ok, check.found.partition(":")[0]) == (
        False,
        "2 item(s) of pool general wait for an adjudicator, and nobody may be it",
    )
    assert "adjudicator" in check.remedy


def test_every_fault_is_a_line_with_a_remedy_and_the_others_are_looked_at_all_the_same(workspace: Path) -> None:
    def repository(settings: Settings) -> None:
        raise RepositoryRefused("Branch 'main' is checked out.", remedy="Run `git switch reviews`.")

    def store(settings: Settings) -> str:
        raise StoreUnavailable("locked", remedy="Stop the other process.")

    def labeling(settings: Settings) -> ServiceStatus:
        raise LabelingUnavailable("no answer", remedy="Start it.")

    probes = replace(healthy(), git_version=lambda: "2.11.0", dvc_version=lambda: "4.0.0", ignores=lambda path: False)
    probes = replace(probes, repository=repository, store=store, labeling=labeling, label_configs=lambda settings: [])
    (workspace / ".dvc" / "config").unlink()
    checks = doctor(workspace, tree(workspace), probes)
    wrong = {check.name for check in checks if check.ok is False}
    assert wrong == {
        "git",
        "DVC",
        "private files",
        "DVC in the workspace",
        "repository",
        "store",
        "label configs",
        "Label Studio",
    }
    assert all(check.remedy for check in checks if check.ok is False)
    assert line(checks, "repository").remedy == "Run `git switch reviews`."


def test_broken_settings_are_told_and_what_hangs_on_them_is_not_looked_at(workspace: Path) -> None:
    (workspace / "hitl.yaml").write_text("task: nothing\n")
    with pytest.raises(BridgeError) as caught:
        load_settings(workspace, {})
    checks = doctor(workspace, caught.value, healthy())
    assert (line(checks, "settings").ok, "line 1: task" in line(checks, "settings").found) == (False, True)
    assert line(checks, "git").ok
    later = ["repository", "store", "label configs", "Label Studio", "notices", "gold bank", "pools", "adjudicators"]
    assert [check.name for check in checks if check.ok is None] == later


def test_a_channel_to_which_nothing_could_be_sent_is_told_and_its_address_is_not(workspace: Path) -> None:
    (workspace / "hitl.yaml").write_text((workspace / "hitl.yaml").read_text() + "notices: {lead: [boss, chat, nobody]}\n")
    given = {"HITL_WORKSPACE_KEY": KEY, "HITL_NOTICES": "boss json://SECRET@127.0.0.1\nchat nonsense://SECRET"}
    probes = replace(healthy(), channels=lambda settings: {n: trouble_with(settings.notice_addresses.get(n)) for n in NAMES})
    checks = [check for check in doctor(workspace, load_settings(workspace, given), probes) if "channel" in check.name]
    assert [(check.name, check.ok, bool(check.remedy)) for check in checks] == [
        ("channel boss", True, False),
        ("channel chat", False, True),
        ("channel nobody", False, True),
    ]
    assert "SECRET" not in str(checks)


def of_gold(workspace: Path, terms: str, stock: GoldStock) -> list[tuple[str, bool | None, bool]]:
    (workspace / "hitl.yaml").write_text((workspace / "hitl.yaml").read_text() + f"gold: {terms}\n")
    checks = doctor(workspace, tree(workspace), replace(healthy(), gold=lambda settings: stock))
    return [(check.name, check.ok, "gold add" in check.remedy) for check in checks if check.name in ("gold bank", "newcomers")]


@pytest.mark.parametrize(
    ("terms", "stock", "told"),
    [
        ("{}", GoldStock(), []),
        ("{}", GoldStock(300, 200), [("gold bank", True, False)]),
        ("{}", GoldStock(300, 3), [("gold bank", None, True)]),
        ("{share: 0.1}", GoldStock(), [("gold bank", None, True)]),
        ("{share: 0}", GoldStock(), [("gold bank", True, False)]),
        (
            "{onboarding: 20}",
            GoldStock(0, 0, {"general": 2}),
            [("gold bank", None, True), ("newcomers", None, True)],
        ),
        ("{share: 0, onboarding: 20}", GoldStock(40, 9), [("gold bank", True, False)]),
    ],
)
def test_a_bank_of_known_items_that_runs_out_is_told_where_it_is_asked_for(
    workspace: Path, terms: str, stock: GoldStock, told: list[tuple[str, bool | None, bool]]
) -> None:
    assert of_gold(workspace, terms, stock) == told


def test_a_pool_that_lost_its_last_reviewer_is_told_since_everybody_s_answers_count_there(workspace: Path) -> None:
    loans = "{name: loans, when: \"scenario = 'loans'\", reviewers: [ana@x.org]}"
    pools = f"expertise: [{{name: cards, when: \"scenario = 'cards'\"}}, {loans}, {{name: rest}}]\n"
    (workspace / "hitl.yaml").write_text((workspace / "hitl.yaml").read_text() + pools)
    at = datetime(2026, 3, 1, tzinfo=UTC)
    seats = (
        Seat("cards", Role.REVIEWER, "ben@x.org"),
        Seat("loans", Role.REVIEWER, "eva@x.org"),
        Seat("rest", Role.ADJUDICATOR, "kim@x.org"),
    )
    terms = [Term(seat, at, at) for seat in seats]
    checks = doctor(workspace, tree(workspace), replace(healthy(), terms=lambda settings: terms))
    check = line(checks, "pools")
    assert (check.ok, "pool cards has lost its last reviewer (1 once)" in check.found) == (None, True)
    assert "ben@x.org" not in check.found
    assert [check.name for check in doctor(workspace, tree(workspace), healthy()) if check.name == "pools"] == []


def test_a_missing_key_is_a_line_of_its_own(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HITL_WORKSPACE_KEY")
    check = line(doctor(workspace, tree(workspace), healthy()), "workspace key")
    assert (check.ok, "is missing" in check.found) == (False, True)


def test_no_token_yet_is_no_fault_but_says_what_to_do(workspace: Path) -> None:
    check = line(doctor(workspace, tree(workspace, has_token=False), healthy()), "Label Studio")
    assert (check.ok, "HITL_LABEL_STUDIO_TOKEN" in check.remedy) == (None, True)


def test_a_warning_of_label_studio_is_a_line_beside_the_good_news(workspace: Path) -> None:
    status = ServiceStatus("http://x", "1.10.0", "me", ("version 1.10 is older than what was tested",))
    checks = doctor(workspace, tree(workspace), replace(healthy(), labeling=lambda settings: status))
    assert [check.ok for check in checks if check.name == "Label Studio"] == [None, True]


def test_whatever_a_probe_throws_is_its_finding_without_a_password(workspace: Path) -> None:
    def store(settings: Settings) -> str:
        raise RuntimeError("could not reach postgresql+psycopg://me:s3cret@db/x")

    check = line(doctor(workspace, tree(workspace), replace(healthy(), store=store)), "store")
    assert check.ok is False
    assert check.found == "RuntimeError: could not reach postgresql+psycopg://***@db/x"


def test_a_folder_that_others_can_look_into_is_a_fault(workspace: Path) -> None:
    (workspace / ".hitl").mkdir(mode=0o755)
    check = line(doctor(workspace, tree(workspace), healthy()), "private files")
    assert (check.ok, check.remedy) == (False, f"chmod 700 {workspace / '.hitl'}")


def test_the_git_and_dvc_of_this_machine_are_good_enough() -> None:
    tools = WorkspaceTools()
    assert [int(part) for part in tools.git_version().split(".")[:2]] >= [2, 30]
    assert tools.dvc_version().startswith("3.")
