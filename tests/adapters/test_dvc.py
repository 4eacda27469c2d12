"""Dataset versions on real git and DVC: what is published, what is refused, and what a crash leaves."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hitl_bridge.adapters.dvc.command import locked_dvc
from hitl_bridge.adapters.dvc.dataset import DvcDatasetStore, DvcPipeline, PipelineFailed
from hitl_bridge.adapters.dvc.files import MANIFEST, DvcCache
from hitl_bridge.errors import BridgeError, OutsideUnavailable, RepositoryRefused, UnknownName, UsageError
from hitl_bridge.ports import NewFile
from tests.adapters.dvc_workspace import (
    BRANCH,
    commits,
    contents,
    deadly_git,
    dvc,
    git,
    publish,
    publishing,
    status,
    store,
    template,
    version_files,
    workspace,
    workspace_with_remote,
)

__all__ = ["template", "workspace", "workspace_with_remote"]

V1, V2, V3 = "decisions@v0.1.0", "decisions@v0.2.0", "decisions@v0.3.0"


def refused(act: Callable[[], object], *, exit_code: int = 4) -> BridgeError:
    with pytest.raises(BridgeError) as caught:
        act()
    assert caught.value.exit_code == exit_code, caught.value
    assert caught.value.remedy
    return caught.value


def test_a_version_is_one_commit_of_our_paths_one_annotated_tag_and_a_clean_tree(workspace: Path) -> None:
    before = commits(workspace)
    commit = publish(workspace, 1)
    assert commits(workspace) == before + 1
    assert status(workspace) == ""
    assert git(workspace, "show", "--name-only", "--format=", commit).split() == [
        "data/.gitignore",
        "data/decisions.dvc",
        MANIFEST,
        "data/payloads.dvc",
    ]
    assert git(workspace, "cat-file", "-t", V1).strip() == "tag"
    body = git(workspace, "log", "-1", "--format=%B", commit)
    assert "Bridge-Batch: batch-1\nManifest-SHA256: " in body
    checked = subprocess.run(["sha256sum", "--check", "--strict", MANIFEST], cwd=workspace, check=False, capture_output=True)
    assert checked.returncode == 0
    published = store(workspace).published(V1)
    assert published is not None
    assert published.git_commit == commit
    assert store(workspace).published(V2) is None
    assert store(workspace).read(V1) == contents(1)


def test_the_same_batch_again_makes_no_commit_whatever_tag_it_asks_for(workspace: Path) -> None:
    commit = publish(workspace, 1)
    before = commits(workspace)
    assert publish(workspace, 1) == commit
    again = store(workspace).publish(V2, version_files(2), "More", "batch-1")
    assert (again.tag, again.git_commit) == (V1, commit)
    git(workspace, "tag", "--delete", V1)
    assert publish(workspace, 1) == commit
    assert commits(workspace) == before
    assert store(workspace).versions() == [V1]
    refused(lambda: publish(workspace, 1, "another-batch"))


def test_every_version_is_restored_in_a_new_clone_which_can_publish_the_next(workspace_with_remote: Path) -> None:
    publish(workspace_with_remote, 1)
    publish(workspace_with_remote, 2)
    shutil.rmtree(workspace_with_remote / ".dvc" / "cache")
    assert store(workspace_with_remote).read(V1) == contents(1)

    clone = workspace_with_remote.parent / "clone"
    git(workspace_with_remote, "clone", "--quiet", str(workspace_with_remote), str(clone))
    git(clone, "config", "user.name", "Ben")
    git(clone, "config", "user.email", "ben@example.com")
    publish(clone, 3)
    assert [store(clone).read(tag) for tag in (V1, V2, V3)] == [contents(1), contents(1, 2), contents(1, 2, 3)]
    assert {path.read_bytes() for path in (clone / "data").rglob("*.parquet")} == set(contents(1, 2, 3).values())
    assert status(clone) == ""


def test_a_folder_that_lost_an_earlier_file_is_made_whole_or_refused(workspace: Path) -> None:
    publish(workspace, 1)
    lost = workspace / "data" / "decisions" / "v0.1.0.parquet"
    lost.unlink()
    publish(workspace, 2)
    assert store(workspace).read(V2) == contents(1, 2)
    lost.unlink()
    shutil.rmtree(workspace / ".dvc" / "cache")
    before = commits(workspace)
    error = refused(lambda: publish(workspace, 3))
    assert "v0.1.0.parquet of an earlier version is not here" in error.message
    assert "dvc pull" in error.remedy
    assert (commits(workspace), status(workspace)) == (before, "")
    assert not (workspace / "data" / "decisions" / "v0.3.0.parquet").exists()
    assert "no DVC remote" in refused(lambda: store(workspace).read(V1)).message


def test_an_earlier_file_that_was_altered_is_refused_and_nothing_is_committed(workspace: Path) -> None:
    publish(workspace, 1)
    altered = workspace / "data" / "decisions" / "v0.1.0.parquet"
    altered.chmod(0o644)
    altered.write_bytes(b"altered")
    before = commits(workspace)
    assert "not what an earlier version holds" in refused(lambda: publish(workspace, 2)).message
    assert (commits(workspace), status(workspace)) == (before, "")


@pytest.mark.catalogue("D6")
def test_a_damaged_object_in_the_cache_is_noticed_when_publishing_and_when_reading(workspace: Path) -> None:
    publish(workspace, 1)
    pointer = (workspace / "data" / "decisions.dvc").read_bytes()
    cache = DvcCache(workspace)
    ((_, name),) = (cache.listing(pointer, "data/decisions") or {}).items()
    damaged = cache.path(name)
    damaged.chmod(0o644)
    damaged.write_bytes(b"damaged")
    damaged.chmod(0o444)
    assert "not what was published" in refused(lambda: store(workspace).read(V1)).message
    before = commits(workspace)
    same = [NewFile("data/decisions/v0.2.0.parquet", version_files(1)[0].content)]
    error = refused(lambda: store(workspace).publish(V2, same, "More", "batch-2"))
    assert str(damaged) in error.message
    assert (commits(workspace), status(workspace)) == (before, "")


def test_staged_and_unstaged_work_of_the_user_stays_as_it_was(workspace: Path) -> None:
    (workspace / "README.md").write_text("staged\n")
    git(workspace, "add", "README.md")
    (workspace / "README.md").write_text("staged, then edited\n")
    (workspace / "notes").write_text("untracked\n")
    before, staged = status(workspace), git(workspace, "diff", "--cached")
    publish(workspace, 1)
    assert (status(workspace), git(workspace, "diff", "--cached")) == (before, staged)


def test_another_branch_and_a_merge_under_way_are_refused_before_anything_is_written(workspace: Path) -> None:
    git(workspace, "switch", "--quiet", "--create", "mine")
    refused(lambda: publish(workspace, 1))
    refused(lambda: DvcPipeline(workspace, BRANCH).repro())
    git(workspace, "switch", "--quiet", BRANCH)
    (workspace / ".git" / "MERGE_HEAD").write_text(git(workspace, "rev-parse", "HEAD"))
    refused(lambda: publish(workspace, 1))
    assert not (workspace / "data").exists()


def test_what_a_person_did_in_our_paths_is_refused_by_name_and_kept(workspace: Path) -> None:
    (workspace / "data").mkdir()
    by_hand = workspace / "data" / "decisions.dvc"
    by_hand.write_text("by hand\n")
    assert "data/decisions.dvc has changes" in refused(lambda: publish(workspace, 1)).message
    assert by_hand.read_text() == "by hand\n"
    by_hand.unlink()
    stray = workspace / "data" / "payloads" / "mine.csv"
    stray.parent.mkdir()
    stray.write_text("mine\n")
    assert "data/payloads/mine.csv" in refused(lambda: publish(workspace, 1)).message
    assert stray.exists()
    shutil.rmtree(workspace / "data")
    (workspace / "data").symlink_to(workspace.parent)
    assert "symbolic link" in refused(lambda: publish(workspace, 1)).message


def test_a_folder_without_dvc_is_refused(workspace: Path) -> None:
    shutil.rmtree(workspace / ".dvc")
    assert "dvc init" in refused(store(workspace).check).remedy


@pytest.mark.parametrize(
    ("tag", "path", "batch_id"),
    [
        ("v0.1.0", "data/decisions/a.parquet", "batch"),
        (V1, "data/decisions/../../a.parquet", "batch"),
        (V1, "data/decisions/-rf", "batch"),
        (V1, "data/base/a.parquet", "batch"),
        (V1, "data/decisions/a.parquet", "two\nlines"),
    ],
)
def test_names_that_could_mean_something_else_are_wrong_use(workspace: Path, tag: str, path: str, batch_id: str) -> None:
    with pytest.raises(UsageError):
        store(workspace).publish(tag, [NewFile(path, b"")], "No", batch_id)


def test_versions_are_listed_in_the_order_of_their_numbers(workspace: Path) -> None:
    for tag in (V2, "decisions@v0.10.0", V1, "decisions@vnext", "other@v1.0.0"):
        git(workspace, "tag", tag)
    assert store(workspace).versions() == [V1, V2, "decisions@v0.10.0"]
    with pytest.raises(UnknownName):
        store(workspace).read("decisions@v9.0.0")


@pytest.mark.catalogue("D5")
def test_a_remote_that_is_away_leaves_no_commit_and_the_same_call_works_later(workspace_with_remote: Path) -> None:
    remote = workspace_with_remote.parent / "remote"
    remote.rmdir()
    remote.write_text("not a folder")
    before = commits(workspace_with_remote)
    with pytest.raises(OutsideUnavailable):
        publish(workspace_with_remote, 1)
    assert (commits(workspace_with_remote), status(workspace_with_remote)) == (before, "")
    remote.unlink()
    publish(workspace_with_remote, 1)
    assert (commits(workspace_with_remote), status(workspace_with_remote)) == (before + 1, "")
    assert len(list(remote.rglob("*.dir"))) == 2


# ------------------------------------------------------------------------------------------------------ crashes


@pytest.mark.catalogue("D7")
@pytest.mark.parametrize(
    ("step", "when"),
    [("read-tree", "before"), ("update-ref", "before"), ("update-ref", "after"), ("tag", "before"), ("tag", "after")],
)
def test_a_publisher_killed_at_any_step_ends_in_one_commit_and_one_tag(workspace: Path, step: str, when: str) -> None:
    before = commits(workspace)
    killed = publishing(workspace, 1, "batch-1", **deadly_git(workspace.parent, step, when))
    killed.communicate()
    assert killed.returncode == -9
    publish(workspace, 1)
    assert (commits(workspace), status(workspace)) == (before + 1, "")
    assert store(workspace).versions() == [V1]
    assert store(workspace).read(V1) == contents(1)


@pytest.mark.catalogue("D1")
def test_a_publisher_killed_while_dvc_works_is_repeated_once_that_dvc_has_ended(workspace: Path) -> None:
    killed = publishing(workspace, 1, "batch-1")
    last_written = workspace / "data" / "payloads" / "v0.1.0.parquet"
    while not last_written.exists():
        assert killed.poll() is None
    killed.kill()
    killed.communicate()
    before = commits(workspace)
    publish(workspace, 1)
    assert (commits(workspace), status(workspace)) == (before + 1, "")
    assert store(workspace).read(V1) == contents(1)


@pytest.mark.catalogue("D7")
def test_what_a_killed_publisher_left_is_taken_back_before_another_batch(workspace: Path) -> None:
    killed = publishing(workspace, 1, "batch-1", **deadly_git(workspace.parent, "update-ref", "before"))
    killed.communicate()
    assert "data/decisions.dvc" in status(workspace)
    publish(workspace, 2)
    assert store(workspace).versions() == [V2]
    assert store(workspace).read(V2) == contents(2)
    assert status(workspace) == ""


@pytest.mark.catalogue("D7")
def test_a_version_that_only_lacked_its_tag_is_finished_before_another_batch_is_planned_anew(workspace: Path) -> None:
    killed = publishing(workspace, 1, "batch-1", **deadly_git(workspace.parent, "tag", "before"))
    killed.communicate()
    assert "finished first" in refused(lambda: publish(workspace, 2), exit_code=3).message
    assert store(workspace).versions() == [V1]
    publish(workspace, 2)
    assert store(workspace).read(V2) == contents(1, 2)


def test_an_edit_made_after_a_crash_is_not_overwritten(workspace: Path) -> None:
    killed = publishing(workspace, 1, "batch-1", **deadly_git(workspace.parent, "update-ref", "before"))
    killed.communicate()
    (workspace / MANIFEST).write_text("by hand\n")
    assert "was edited since" in refused(lambda: publish(workspace, 1)).message
    assert (workspace / MANIFEST).read_text() == "by hand\n"


@pytest.mark.catalogue("D2")
def test_files_half_written_by_a_crash_are_cleared_away(workspace: Path) -> None:
    intent = {"batch_id": "batch-1", "tag": V1, "files": {file.path: "0" * 64 for file in version_files(1)}}
    (workspace / ".hitl").mkdir(exist_ok=True)
    (workspace / ".hitl" / "publish.json").write_text(json.dumps(intent))
    (workspace / "data" / "decisions").mkdir(parents=True)
    (workspace / "data" / "decisions" / "v0.1.0.parquet").write_bytes(b"other bytes")
    (workspace / "data" / "decisions" / ".v0.1.0.parquet.part").write_bytes(b"half")
    (workspace / "data" / "decisions.dvc").touch()
    (workspace / ".dvc" / "tmp").mkdir(exist_ok=True)
    (workspace / ".dvc" / "tmp" / "rwlock").write_text('{"write": {"/x": {"pi')
    publish(workspace, 1)
    assert store(workspace).read(V1) == contents(1)
    assert status(workspace) == ""


@pytest.mark.catalogue("D4")
def test_two_publishers_at_once_make_two_versions_one_after_the_other(workspace: Path) -> None:
    before = commits(workspace)
    both = [publishing(workspace, number, f"batch-{number}") for number in (1, 2)]
    said = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert commits(workspace) == before + 2
    assert store(workspace).versions() == [V1, V2]
    assert contents(1, 2) in (store(workspace).read(V1), store(workspace).read(V2))
    assert status(workspace) == ""


def test_a_publisher_that_waits_too_long_says_so(workspace: Path) -> None:
    with locked_dvc(workspace, "commit", 0), pytest.raises(OutsideUnavailable, match="Another commit is running"):
        DvcDatasetStore(workspace, BRANCH, patience=0.2).publish(V1, version_files(1), "More", "batch-1")


# ----------------------------------------------------------------------------------------------------- pipeline

_STAGES = """
stages:
  prepare:
    cmd: python -c "import sys; open('reports/python', 'w').write(sys.executable); print('prepared')"
    deps: [input]
    outs: [{reports/python: {cache: false}}]
  gate:
    cmd: python -c "import sys; print('judged'); sys.exit(int(open('input').read()))"
    deps: [input, reports/python]
"""


@pytest.fixture
def pipeline(workspace: Path) -> DvcPipeline:
    (workspace / "dvc.yaml").write_text(_STAGES)
    (workspace / "input").write_text("3")
    (workspace / "reports").mkdir()
    git(workspace, "add", "dvc.yaml", "input")
    git(workspace, "commit", "--quiet", "--message=Add a pipeline")
    return DvcPipeline(workspace, BRANCH)


def test_a_pipeline_says_what_it_does_fails_by_stage_and_goes_on_where_it_stopped(workspace: Path, pipeline: DvcPipeline) -> None:
    heard: list[str] = []
    listening = DvcPipeline(workspace, BRANCH, progress=heard.append)
    with pytest.raises(PipelineFailed) as caught:
        listening.repro()
    assert (caught.value.stage, caught.value.exit_code) == ("gate", 1)
    assert "judged" in caught.value.tail
    assert heard.index("prepared") < heard.index("judged")
    assert (workspace / "reports" / "python").read_text().startswith(str(Path(sys.executable).parent))

    (workspace / "input").write_text("0")
    git(workspace, "commit", "--quiet", "--all", "--message=Mend it")
    assert listening.repro()
    assert not [line for line in heard if "git add" in line or "autostage" in line or "track the changes" in line]
    assert pipeline.save("Retrain", ["dvc.lock", "reports"])
    assert status(workspace) == ""
    assert not pipeline.repro()
    assert pipeline.save("Retrain", ["dvc.lock", "reports"]) is None


def test_a_champion_is_tracked_on_the_remote_before_it_is_saved(workspace_with_remote: Path) -> None:
    champion = workspace_with_remote / "models" / "champion"
    champion.mkdir(parents=True)
    (champion / "weights").write_bytes(b"weights")
    pipeline = DvcPipeline(workspace_with_remote, BRANCH)
    written = pipeline.track("models/champion")
    assert written == ("models/champion.dvc", "models/.gitignore")
    assert len(list((workspace_with_remote.parent / "remote").rglob("*.dir"))) == 1
    assert pipeline.save("Promote", written)
    assert status(workspace_with_remote) == ""
    assert pipeline.committer() == "Ana <ana@example.com>"


def test_tracking_a_folder_by_hand_does_not_confuse_a_later_version(workspace: Path) -> None:
    (workspace / "data" / "base").mkdir(parents=True)
    (workspace / "data" / "base" / "train.csv").write_text("text,label\n")
    dvc(workspace, "add", "--quiet", "data/base")
    git(workspace, "add", "data")
    git(workspace, "commit", "--quiet", "--message=Add base data")
    publish(workspace, 1)
    assert status(workspace) == ""


def test_a_refusal_is_of_the_class_that_the_port_promises(workspace: Path) -> None:
    git(workspace, "switch", "--quiet", "--detach")
    with pytest.raises(RepositoryRefused):
        store(workspace).check()
