"""Decisions become dataset versions, on real git and DVC: each decision once, whatever happens on the way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from hitl_bridge import load_decisions
from hitl_bridge.adapters.dvc.dataset import DvcDatasetStore
from hitl_bridge.core.draws import pseudonym
from hitl_bridge.core.model import AnnotationId, ItemId
from hitl_bridge.errors import OutsideUnavailable, RepositoryRefused, UnknownName
from hitl_bridge.ports import NewFile, Published, UncommittedDecision
from hitl_bridge.services.dataset.commit import CommitPorts, CommitResult, commit
from tests.services.bench import ANA, BEN, Bench, git, row


class DiesAfterPublishing(DvcDatasetStore):
    """In a process that dies once the version is in git."""

    def publish(
        self, tag: str, files: Sequence[NewFile], message: str, batch_id: str, trailers: Mapping[str, str] | None = None
    ) -> Published:
        super().publish(tag, files, message, batch_id, trailers)
        raise Died


class Died(Exception):
    """The process is gone."""


def decided(bench: Bench, **labels: str) -> dict[str, AnnotationId]:
    """Items with these answers of Ana's, decided."""
    bench.pushed(*(row(item_id) for item_id in labels))
    given = {item_id: bench.answer(item_id, ANA, label) for item_id, label in labels.items()}
    bench.brought_back()
    return given


def commit_and_die(bench: Bench) -> None:
    bridge, settings = bench.bridge, bench.bridge.settings
    dataset = DiesAfterPublishing(settings.root, settings.git_branch)
    ports = CommitPorts(bridge.store, bridge.store.insights(), dataset, bench.clock, settings.workspace_key)
    with pytest.raises(Died):
        commit(ports, settings.labels)


def test_a_dataset_s_whole_life_new_corrected_and_taken_back(whole_bench: Bench) -> None:
    bench, bridge = whole_bench, whole_bench.bridge
    given = decided(bench, one="refund", two="billing")

    foretold = bridge.commit(dry_run=True)
    assert (foretold.version, foretold.added, foretold.git_commit) == ("v0.1.0", 2, None)
    assert git(bench.root, "tag") == ""

    first = bridge.commit()
    assert (first.version, first.tag, first.added, first.changed, first.removed) == ("v0.1.0", "decisions@v0.1.0", 2, 0, 0)
    assert first.git_commit == git(bench.root, "rev-parse", "HEAD") == git(bench.root, "rev-parse", "decisions@v0.1.0^{commit}")
    assert git(bench.root, "status", "--porcelain") == ""
    assert (bench.state("one"), bridge.status().dataset_version) == ("committed", "v0.1.0")

    before = bench.database()
    assert bridge.commit() == CommitResult()
    assert (bench.database(), git(bench.root, "rev-parse", "HEAD")) == (before, first.git_commit)

    decided(bench, three="cancel")
    second = bridge.commit()
    assert (second.version, second.added) == ("v0.2.0", 1)

    bench.revise(given["two"], ANA, "cancel")
    bench.labeling.delete_annotation(given["one"])
    bench.brought_back()
    third = bridge.commit()
    assert (third.version, third.added, third.changed, third.removed) == ("v0.2.1", 0, 1, 1)
    assert git(bench.root, "status", "--porcelain") == ""

    held = bridge.load_decisions()
    assert dict(zip(held["item_id"], held["decision"].map(json.loads), strict=True)) == {
        "three": {"label": "cancel"},
        "two": {"label": "cancel"},
    }
    at_first = load_decisions("v0.1.0", bench.root)
    assert dict(zip(at_first["item_id"], at_first["outcome"], strict=True)) == {"one": "accepted", "two": "corrected"}
    assert json.loads(at_first["input"][0]) == {"text": "the words of one"}
    with pytest.raises(UnknownName, match=r"v9\.9\.9") as unknown:
        bridge.load_decisions("v9.9.9")
    assert "v0.1.0, v0.2.0, v0.2.1" in unknown.value.remedy
    assert bridge.trace("two")["versions"] == ["v0.1.0", "v0.2.1"]


def test_neither_texts_nor_addresses_get_into_git(whole_bench: Bench) -> None:
    bench = whole_bench
    decided(bench, one="billing")
    bench.bridge.commit()
    written = git(bench.root, "show", "--text", "--format=%B", "decisions@v0.1.0^{commit}")
    assert "data/decisions.dvc" in written
    assert "the words of one" not in written
    assert "@example.com" not in written
    held = bench.bridge.load_decisions()
    assert list(held["reviewers"][0]) == [pseudonym(bench.bridge.settings.workspace_key, ANA)]


def test_after_a_crash_between_publishing_and_recording_the_version_is_taken_in_and_nothing_is_committed_again(
    whole_bench: Bench,
) -> None:
    bench, bridge = whole_bench, whole_bench.bridge
    decided(bench, one="refund", two="billing")
    commit_and_die(bench)
    assert bridge.status().dataset_version is None
    head = git(bench.root, "rev-parse", "HEAD")

    assert bridge.commit() == CommitResult()
    assert (bridge.status().dataset_version, bench.state("one")) == ("v0.1.0", "committed")
    (taken_in,) = bridge.store.dataset_versions()
    assert (taken_in.git_commit, taken_in.added) == (head, 2)
    assert git(bench.root, "rev-parse", "HEAD") == head


def copied(bench: Bench, place: Path) -> None:
    """The store's files, as a backup of the stopped bridge has them."""
    bench.bridge.close()
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for file in (bench.root / ".hitl").glob("bridge.db*"):
        shutil.copy2(file, place)
    bench.bridge = bench.opened()


def restored(bench: Bench, place: Path) -> None:
    bench.bridge.close()
    for file in (bench.root / ".hitl").glob("bridge.db*"):
        file.unlink()
    for file in place.iterdir():
        shutil.copy2(file, bench.root / ".hitl")
    bench.bridge = bench.opened()
    assert bench.bridge.accept_restored_store(by="Ana")


@pytest.mark.catalogue("C8", "D7")
def test_after_a_restore_of_the_store_what_a_version_holds_is_not_committed_a_second_time(
    whole_bench: Bench, tmp_path: Path
) -> None:
    bench = whole_bench
    bench.pushed(*(row(item_id) for item_id in ("one", "two", "three")))
    copied(bench, tmp_path / "yesterday")
    given = {item_id: bench.answer(item_id, ANA, "refund") for item_id in ("one", "two")}
    bench.brought_back()
    bench.bridge.commit()
    bench.revise(given["two"], ANA, "cancel")
    bench.brought_back()
    assert bench.bridge.commit().version == "v0.1.1"
    head = git(bench.root, "rev-parse", "HEAD")
    was = bench.bridge.load_decisions()

    restored(bench, tmp_path / "yesterday")
    bench.brought_back()
    assert set(bench.decided()) == {"one", "two"}
    assert bench.bridge.commit(dry_run=True) == CommitResult()
    assert bench.bridge.commit() == CommitResult()
    assert git(bench.root, "rev-parse", "HEAD") == head
    assert (bench.state("one"), bench.state("two"), bench.decided()) == ("committed", "committed", {})
    assert [version.added + version.changed for version in bench.bridge.store.dataset_versions()] == [2, 1]
    assert bench.bridge.verify_audit().anchors == 2

    bench.revise(given["one"], ANA, "billing")
    bench.answer("three", ANA, "refund")
    bench.brought_back()
    result = bench.bridge.commit()
    assert (result.version, result.added, result.changed) == ("v0.2.0", 1, 1)
    held = bench.bridge.load_decisions()
    assert len(held) == len(was) + 1
    assert bench.bridge.commit() == CommitResult()


@pytest.mark.catalogue("C8")
def test_decisions_that_are_made_again_one_by_one_are_each_found_in_their_version(whole_bench: Bench, tmp_path: Path) -> None:
    bench = whole_bench
    bench.pushed(row("one"), row("two"))
    copied(bench, tmp_path / "yesterday")
    given = {item_id: bench.answer(item_id, ANA, "refund") for item_id in ("one", "two")}
    bench.brought_back()
    bench.bridge.commit()
    restored(bench, tmp_path / "yesterday")
    bench.brought_back()

    bridge, settings = bench.bridge, bench.bridge.settings
    slow: Any = SeesOnly(bridge.store, "two")
    ports = CommitPorts(slow, bridge.store.insights(), bridge.dataset, bench.clock, settings.workspace_key)
    assert commit(ports, settings.labels) == CommitResult()
    assert (bench.state("one"), bench.state("two")) == ("decided", "committed")
    assert bridge.commit() == CommitResult()
    assert (bench.state("one"), bridge.store.insights().life_of(ItemId("one"))["versions"]) == ("committed", ["decisions@v0.1.0"])
    bench.revise(given["one"], ANA, "cancel")
    bench.brought_back()
    assert bridge.commit().version == "v0.1.1"


class SeesOnly:
    """A store in which the decision of one item alone has been made again so far."""

    def __init__(self, store: Any, item_id: str) -> None:
        self._store, self._item_id = store, item_id

    def uncommitted(self) -> list[UncommittedDecision]:
        return [each for each in self._store.uncommitted() if each.item.item_id == self._item_id]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.mark.catalogue("C6")
def test_each_version_carries_the_head_of_the_audit_log_that_it_was_made_under(whole_bench: Bench) -> None:
    bench = whole_bench
    decided(bench, one="refund")
    head = bench.bridge.store.audit_head()
    bench.bridge.commit()
    assert f"Audit-Head: {head.seq}:{head.hash}" in git(bench.root, "log", "-1", "--format=%B")
    assert bench.bridge.dataset.anchors() == [("decisions@v0.1.0", head.seq, head.hash)]
    report = bench.bridge.verify_audit()
    assert report.anchors == 1
    assert [problem for problem in report.problems if problem.seq] == []  # in the chain and its anchors


def test_with_a_git_remote_versions_go_there_and_the_workspace_is_only_read(whole_bench: Bench, tmp_path: Path) -> None:
    bench = whole_bench
    origin = tmp_path / "origin.git"
    settings = bench.root / "hitl.yaml"
    settings.write_text(settings.read_text() + "git: {branch: reviews, remote: origin}\n")
    git(bench.root, "commit", "--quiet", "--all", "--message=A remote")
    git(bench.root, "init", "--quiet", "--bare", str(origin))
    git(bench.root, "remote", "add", "origin", str(origin))
    git(bench.root, "push", "--quiet", "origin", "reviews")
    bench.bridge.close()
    bench.bridge = bench.opened()
    head = git(bench.root, "rev-parse", "HEAD")

    decided(bench, one="refund")
    first = bench.bridge.commit()
    assert first.git_commit == git(origin, "rev-parse", "reviews") == git(origin, "rev-parse", "decisions@v0.1.0^{commit}")
    assert (git(bench.root, "rev-parse", "HEAD"), git(bench.root, "status", "--porcelain")) == (head, "")
    away = origin.rename(tmp_path / "away")
    decided(bench, two="billing")
    with pytest.raises(OutsideUnavailable):
        bench.bridge.commit()
    assert list(bench.bridge.load_decisions("v0.1.0")["item_id"]) == ["one"]
    away.rename(origin)
    assert bench.bridge.commit().version == "v0.2.0"
    assert list(bench.bridge.load_decisions()["item_id"]) == ["one", "two"]
    assert bench.bridge.commit() == CommitResult()
    git(bench.root, "pull", "--quiet", "origin", "reviews")
    assert git(bench.root, "status", "--porcelain") == ""


def test_what_was_decided_after_the_crash_becomes_the_next_version(whole_bench: Bench) -> None:
    bench, bridge = whole_bench, whole_bench.bridge
    given = decided(bench, one="refund", two="billing")
    commit_and_die(bench)
    bench.revise(given["two"], ANA, "cancel")
    bench.brought_back()
    decided(bench, three="cancel")
    result = bridge.commit()
    assert (result.version, result.added + result.changed) == ("v0.2.0", 2)
    held = bridge.load_decisions()
    assert dict(zip(held["item_id"], held["decision"].map(json.loads).map(lambda said: said["label"]), strict=True)) == {
        "one": "refund",
        "three": "cancel",
        "two": "cancel",
    }
    assert bridge.commit() == CommitResult()


def test_on_another_branch_it_refuses_and_loses_nothing(whole_bench: Bench) -> None:
    bench = whole_bench
    decided(bench, one="refund")
    git(bench.root, "switch", "--quiet", "--create", "elsewhere")
    with pytest.raises(RepositoryRefused) as refused:
        bench.bridge.commit()
    assert refused.value.remedy
    assert (bench.decided(), git(bench.root, "tag")) == ({"one": "add"}, "")


def test_while_a_merge_is_under_way_it_refuses(whole_bench: Bench) -> None:
    bench = whole_bench
    decided(bench, one="refund")
    git(bench.root, "switch", "--quiet", "--create", "side")
    git(bench.root, "commit", "--quiet", "--allow-empty", "--message=Side")
    git(bench.root, "switch", "--quiet", "reviews")
    git(bench.root, "commit", "--quiet", "--allow-empty", "--message=Main")
    git(bench.root, "merge", "--no-commit", "--no-ff", "--quiet", "side")
    with pytest.raises(RepositoryRefused) as refused:
        bench.bridge.commit()
    assert refused.value.remedy
    git(bench.root, "merge", "--abort")
    assert bench.decided() == {"one": "add"}


def test_somebody_s_own_changes_in_the_workspace_stay_out_of_the_commit(whole_bench: Bench) -> None:
    bench = whole_bench
    decided(bench, one="refund")
    (bench.root / "notes.txt").write_text("mine\n")
    git(bench.root, "add", "notes.txt")
    (bench.root / "params.yaml").write_text((bench.root / "params.yaml").read_text() + "# mine\n")
    bench.bridge.commit()
    assert set(git(bench.root, "status", "--porcelain", "-z").split("\0")) - {""} == {"A  notes.txt", " M params.yaml"}
    changed = git(bench.root, "show", "--name-only", "--format=", "HEAD").split()
    assert {"data/decisions.dvc", "data/payloads.dvc"} <= set(changed)
    assert all(name.startswith("data/") for name in changed)


def test_another_set_of_labels_makes_a_major_version(whole_bench: Bench) -> None:
    bench = whole_bench
    decided(bench, one="refund")
    bench.bridge.commit()
    settings = bench.root / "hitl.yaml"
    settings.write_text(settings.read_text().replace("[refund, billing, cancel]", "[refund, billing, cancel, technical]"))
    git(bench.root, "commit", "--quiet", "--all", "--message=A new label")
    bench.bridge.close()
    bench.bridge = bench.opened()
    bench.pushed(row("two"))
    bench.answer("two", BEN, "technical")
    bench.brought_back()
    assert bench.bridge.commit(dry_run=True).version == "v1.0.0"


def test_without_git_the_refusal_says_what_to_do(bench: Bench) -> None:
    decided(bench, one="refund")
    with pytest.raises(RepositoryRefused) as refused:
        bench.bridge.commit()
    assert refused.value.remedy


def test_a_card_that_a_crash_left_is_made_anew_one_that_was_edited_is_not_overwritten_and_one_of_yours_is_left_alone(
    whole_bench: Bench,
) -> None:
    bench, bridge = whole_bench, whole_bench.bridge
    readme = bench.root / "data" / "README.md"
    decided(bench, one="refund")
    bridge.commit()
    assert "1 decisions" in readme.read_text(encoding="utf-8")

    left = b"HITL Bridge: of a version that never came"
    readme.write_bytes(left)
    promise = {"batch_id": "b", "tag": "decisions@v0.2.0", "files": {}, "notes": {"data/README.md": sha256(left).hexdigest()}}
    (bench.root / ".hitl" / "publish.json").write_text(json.dumps(promise))
    decided(bench, two="billing")
    assert bridge.commit().version == "v0.2.0"
    assert "2 decisions" in readme.read_text(encoding="utf-8")

    decided(bench, three="billing")
    readme.write_text("My own words about this dataset.\n", encoding="utf-8")
    with pytest.raises(RepositoryRefused, match=r"data/README\.md has changes"):
        bridge.commit()
    git(bench.root, "commit", "--quiet", "--message=My own card", "data/README.md")
    assert bridge.commit().version == "v0.3.0"
    assert readme.read_text(encoding="utf-8") == "My own words about this dataset.\n"
    assert git(bench.root, "status", "--porcelain") == ""
    assert "v0.3.0" in git(bench.root, "show", "HEAD:data/croissant.json")
