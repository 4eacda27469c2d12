"""Dataset versions committed in a clone of the bridge's own and pushed: others work there too, and anything may die."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hitl_bridge.adapters.dvc.dataset import DvcDatasetStore, DvcPipeline
from hitl_bridge.errors import BridgeError, OutsideUnavailable, RepositoryRefused
from tests.adapters.dvc_workspace import (
    BRANCH,
    commits,
    contents,
    deadly_git,
    dvc,
    git,
    origin,
    publishing,
    status,
    template,
    version_files,
    workspace,
    workspace_with_remote,
)

__all__ = ["origin", "template", "workspace", "workspace_with_remote"]

V1, V2, V3 = "decisions@v0.1.0", "decisions@v0.2.0", "decisions@v0.3.0"


@pytest.fixture
def root(workspace_with_remote: Path, origin: Path) -> Path:
    return workspace_with_remote


def store(root: Path, remote: str = "origin") -> DvcDatasetStore:
    return DvcDatasetStore(root, BRANCH, remote=remote, patience=120)


def publish(root: Path, number: int) -> str:
    return store(root).publish(f"decisions@v0.{number}.0", version_files(number), "More", f"batch-{number}").git_commit


def tags(origin: Path) -> list[str]:
    return git(origin, "tag").split()


def somebody(origin: Path, path: Path, name: str = "notes") -> Path:
    """Somebody else's clone, with a commit that is not pushed yet."""
    git(origin, "clone", "--quiet", str(origin), str(path))
    git(path, "config", "user.name", "Ben")
    git(path, "config", "user.email", "ben@example.com")
    (path / name).write_text("by Ben\n")
    git(path, "add", "--all")
    git(path, "commit", "--quiet", "--message=Notes")
    return path


def refused(act: Callable[[], object], kind: type[BridgeError] = RepositoryRefused) -> BridgeError:
    with pytest.raises(kind) as caught:
        act()
    assert caught.value.remedy
    return caught.value


def test_a_version_is_pushed_with_its_tag_and_the_user_s_working_tree_stays_as_it_was(root: Path, origin: Path) -> None:
    git(root, "switch", "--quiet", "--create", "mine")
    (root / "data").mkdir()
    (root / "data" / "decisions.dvc").write_text("by hand\n")
    before, head = status(root), git(root, "rev-parse", "HEAD")
    commit = publish(root, 1)
    assert (status(root), git(root, "rev-parse", "HEAD"), git(root, "tag")) == (before, head, "")
    assert (git(origin, "rev-parse", BRANCH).strip(), tags(origin)) == (commit, [V1])
    assert git(origin, "log", "-1", "--format=%an <%ae>", commit).strip() == "Ana <ana@example.com>"
    assert publish(root, 1) == commit
    publish(root, 2)
    assert store(root).versions() == [V1, V2]
    assert [store(root).read(tag) for tag in (V1, V2)] == [contents(1), contents(1, 2)]
    assert store(root).read(V2, ["data/decisions/v0.2.0.parquet"]) == {"data/decisions/v0.2.0.parquet": b"decisions 2"}
    published = store(root).published(V1)
    assert published is not None
    assert published.git_commit == commit
    assert len(list((root.parent / "remote").rglob("*.dir"))) == 4


def test_the_clone_can_be_thrown_away_and_every_version_comes_back_from_the_remotes(root: Path) -> None:
    publish(root, 1)
    shutil.rmtree(root / ".hitl")
    shutil.rmtree(root / ".dvc" / "cache")
    assert store(root).read(V1) == contents(1)
    publish(root, 2)
    assert store(root).read(V2) == contents(1, 2)


@pytest.mark.catalogue("D7")
def test_what_others_pushed_meanwhile_stays_and_the_version_is_made_anew_on_top_of_it(
    root: Path, origin: Path, tmp_path: Path
) -> None:
    publish(root, 1)
    ben = somebody(origin, tmp_path / "ben")
    hook = origin / "hooks" / "pre-receive"
    # Ben's push arrives while our first one is being received: git then finds that the branch has moved under it.
    hook.write_text(
        f"#!/bin/sh\n[ -e {tmp_path}/done ] && exit 0\ntouch {tmp_path}/done\n"
        f"unset $(git rev-parse --local-env-vars) GIT_QUARANTINE_PATH\ngit -C {ben} push --quiet origin {BRANCH}\n"
    )
    hook.chmod(0o755)
    publish(root, 2)
    assert (tmp_path / "done").exists()
    log = git(origin, "log", "--format=%s", BRANCH).split("\n")
    assert log[:3] == ["More", "Notes", "More"]
    assert (tags(origin), commits(origin)) == ([V1, V2], 6)
    assert git(origin, "show", f"{BRANCH}:notes") == "by Ben\n"
    assert store(root).read(V2) == contents(1, 2)


def test_somebody_else_s_version_of_that_number_is_left_alone_and_the_same_command_can_be_run_again(
    root: Path, origin: Path, tmp_path: Path
) -> None:
    ben = somebody(origin, tmp_path / "ben")
    git(ben, "tag", V1)
    git(ben, "push", "--quiet", "origin", BRANCH, V1)
    assert "meanwhile" in refused(lambda: publish(root, 1), OutsideUnavailable).message
    assert (tags(origin), commits(origin)) == ([V1], commits(ben))
    publish(root, 2)
    assert store(root).versions() == [V1, V2]


def test_a_git_remote_that_is_away_leaves_nothing_half_done_and_the_next_call_finishes(root: Path, origin: Path) -> None:
    publish(root, 1)
    away = origin.rename(origin.with_name("away"))
    assert "could not be reached" in refused(lambda: publish(root, 2), OutsideUnavailable).message
    assert store(root).published(V1) is not None
    assert store(root).anchors() == []
    away.rename(origin)
    publish(root, 2)
    assert (tags(origin), commits(origin)) == ([V1, V2], 5)


def test_a_remote_that_refuses_is_named_with_what_to_allow_and_nothing_is_published(root: Path, origin: Path) -> None:
    hook = origin / "hooks" / "update"
    hook.write_text("#!/bin/sh\necho protected branch >&2\nexit 1\n")
    hook.chmod(0o755)
    before = commits(origin)
    error = refused(lambda: publish(root, 1))
    assert "refuses" in error.message
    assert "Allow the bridge" in error.remedy
    assert (tags(origin), commits(origin)) == ([], before)
    assert store(root).versions() == []
    hook.unlink()
    publish(root, 1)
    assert (tags(origin), commits(origin)) == ([V1], before + 1)


@pytest.mark.catalogue("D7")
@pytest.mark.parametrize(
    ("step", "when"),
    [("init", "after"), ("fetch", "after"), ("update-ref", "after"), ("tag", "after"), ("push", "before"), ("push", "after")],
)
def test_a_publisher_killed_at_any_step_ends_in_one_commit_and_one_tag_on_the_remote(
    root: Path, origin: Path, step: str, when: str
) -> None:
    before = commits(origin)
    killed = publishing(root, 1, "batch-1", "origin", **deadly_git(root.parent, step, when))
    said = killed.communicate()
    assert killed.returncode == -9, said
    publish(root, 1)
    assert (commits(origin), tags(origin)) == (before + 1, [V1])
    assert store(root).read(V1) == contents(1)
    assert status(root) == ""


@pytest.mark.catalogue("D7")
def test_what_a_killed_publisher_did_not_push_is_forgotten_by_the_next_batch(root: Path, origin: Path) -> None:
    killed = publishing(root, 1, "batch-1", "origin", **deadly_git(root.parent, "push", "before"))
    killed.communicate()
    publish(root, 2)
    assert tags(origin) == [V2]
    assert store(root).versions() == [V2]
    assert store(root).read(V2) == contents(2)


@pytest.mark.catalogue("D4")
def test_four_committers_at_once_make_four_versions_one_after_the_other(root: Path, origin: Path) -> None:
    before = commits(origin)
    four = [publishing(root, number, f"batch-{number}", "origin") for number in (1, 2, 3, 4)]
    said = [process.communicate() for process in four]
    assert [process.returncode for process in four] == [0, 0, 0, 0], said
    assert (commits(origin), len(tags(origin))) == (before + 4, 4)
    sizes = sorted(len(store(root).read(tag)) for tag in tags(origin))
    assert sizes == [2, 4, 6, 8]
    assert status(root) == ""


@pytest.mark.catalogue("D3")
def test_locks_that_a_killed_git_left_in_the_clone_are_cleared_away_once_they_are_old(root: Path) -> None:
    publish(root, 1)
    git_dir = root / ".hitl" / "clone" / ".git"
    for name in ("index.lock", "refs/heads/reviews.lock", "HEAD.lock"):
        (git_dir / name).write_bytes(b"")
        os.utime(git_dir / name, (0, 0))
    (root / ".hitl" / "clone" / ".dvc" / "tmp" / "rwlock").write_text('{"write": {"/x": {"pi')
    publish(root, 2)
    assert store(root).read(V2) == contents(1, 2)


def test_dvc_in_the_workspace_does_not_see_the_clone_and_takes_the_versions_after_a_pull(root: Path) -> None:
    publish(root, 1)
    (root / "dvc.yaml").write_text(
        "stages:\n  count:\n    cmd: ls data/decisions > out\n    deps: [data/decisions]\n    outs: [out]\n"
    )
    (root / ".hitl" / "clone" / "dvc.yaml").write_text("stages: {broken\n")
    git(root, "pull", "--quiet", "origin", BRANCH)
    dvc(root, "checkout", "--quiet", "data/decisions.dvc", "data/payloads.dvc")
    assert DvcPipeline(root, BRANCH).repro()
    assert (root / "out").read_text() == "v0.1.0.parquet\n"
    publish(root, 2)
    assert len(list((root.parent / "remote").rglob("*.dir"))) == 4


def test_a_branch_that_the_remote_lacks_begins_with_the_workspace_s(root: Path, origin: Path) -> None:
    git(origin, "update-ref", "-d", f"refs/heads/{BRANCH}")
    publish(root, 1)
    assert commits(origin) == commits(root) + 1


def test_a_branch_that_nobody_has_yet_begins_with_what_the_remote_shows_first(root: Path, origin: Path) -> None:
    other = DvcDatasetStore(root, "versions", remote=str(origin), patience=30)
    commit = other.publish(V1, version_files(1), "More", "batch-1").git_commit
    assert git(origin, "rev-parse", "versions").strip() == commit
    assert git(origin, "rev-parse", "versions~1") == git(origin, "rev-parse", BRANCH)


def test_versions_from_before_there_was_a_remote_are_pushed_by_a_person_first(root: Path, origin: Path) -> None:
    DvcDatasetStore(root, BRANCH).publish(V1, version_files(1), "More", "batch-1")
    assert "git push origin" in refused(lambda: publish(root, 2)).remedy
    git(root, "push", "--quiet", "origin", BRANCH, V1)
    publish(root, 2)
    assert store(root).read(V2) == contents(1, 2)


def test_a_workspace_in_a_folder_of_its_repository_has_the_same_folder_in_the_clone(root: Path, origin: Path) -> None:
    inner = root / "models" / "intent"
    inner.mkdir(parents=True)
    git(root, "mv", ".dvc", ".dvcignore", "models/intent/")
    subprocess.run(["cp", "-r", str(root / ".dvc"), str(inner)], check=False)
    (inner / ".dvc" / "config").write_text("[core]\n    remote = store\n['remote \"store\"']\n    url = ../../../../remote\n")
    git(root, "commit", "--quiet", "--all", "--message=Move")
    git(root, "push", "--quiet", "origin", BRANCH)
    inside = DvcDatasetStore(inner, BRANCH, remote="origin", patience=30)
    commit = inside.publish(V1, version_files(1), "More", "batch-1").git_commit
    assert "models/intent/data/decisions.dvc" in git(origin, "show", "--name-only", "--format=", commit).split()
    assert inside.read(V1) == contents(1)
    assert len(list((root.parent / "remote").rglob("*.dir"))) == 2


def test_no_message_and_no_command_line_holds_the_remote_s_password(root: Path, tmp_path: Path) -> None:
    git(root, "remote", "set-url", "origin", "http://ana:hunter2@127.0.0.1:9/reviews.git")
    shim = tmp_path / "bin" / "git"
    shim.parent.mkdir()
    shim.write_text('#!/bin/sh\necho "$@" >> "$SEEN"\nexec "$REAL_GIT" "$@"\n')
    shim.chmod(0o755)
    real = str(shutil.which("git"))
    seen = tmp_path / "seen"
    failed = publishing(root, 1, "batch-1", "origin", PATH=f"{shim.parent}:/usr/bin:/bin", REAL_GIT=real, SEEN=str(seen))
    output = "".join(failed.communicate())
    assert "could not be reached" in output
    assert "fetch" in seen.read_text()
    assert "hunter2" not in output + seen.read_text()
    assert (root / ".hitl" / "clone").stat().st_mode & 0o077 == 0


def test_a_remote_that_the_workspace_does_not_know_is_refused_by_name(root: Path) -> None:
    assert "no git remote named 'upstream'" in refused(lambda: store(root, "upstream").versions()).message


def test_the_audit_head_of_each_version_is_read_back_from_its_commit(root: Path) -> None:
    trailers = {"Audit-Head": "17:" + "ab" * 32}
    store(root).publish(V1, version_files(1), "More", "batch-1", trailers)
    publish(root, 2)
    store(root).publish(V3, version_files(3), "More", "batch-3", {"Audit-Head": "99:" + "cd" * 32})
    assert store(root).anchors() == [(V1, 17, "ab" * 32), (V3, 99, "cd" * 32)]
    assert (
        git(root / ".hitl" / "clone", "log", "-1", "--format=%(trailers:key=Audit-Head,valueonly)", V1).strip()
        == "17:" + "ab" * 32
    )
