"""Commits beside the user's own work: what must be refused, and what must stay as it was."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hitl_bridge.adapters.git.repository import GitRepository, check_inside, child_environment, without_credentials
from hitl_bridge.errors import RepositoryRefused
from tests.adapters.dvc_workspace import BRANCH, commits, git, new_repository, status


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return new_repository(tmp_path / "repository")


@pytest.fixture
def repository(root: Path) -> GitRepository:
    return GitRepository(root, BRANCH)


def refused(repository: GitRepository) -> RepositoryRefused:
    with pytest.raises(RepositoryRefused) as caught:
        repository.check()
    assert caught.value.remedy
    return caught.value


def test_a_clean_repository_on_the_branch_may_be_committed_to(repository: GitRepository) -> None:
    repository.check()


def test_another_branch_is_refused(root: Path, repository: GitRepository) -> None:
    git(root, "switch", "--quiet", "--create", "mine")
    assert "'mine' is checked out" in str(refused(repository))


def test_a_branch_that_moves_away_between_check_and_commit_is_refused(root: Path, repository: GitRepository) -> None:
    repository.check()
    git(root, "switch", "--quiet", "--create", "mine")
    (root / "new").write_text("new")
    with pytest.raises(RepositoryRefused):
        repository.commit(["new"], "No\n")
    assert status(root) == "?? new\n"


def test_a_detached_head_is_refused(root: Path, repository: GitRepository) -> None:
    git(root, "switch", "--quiet", "--detach")
    assert "detached" in str(refused(repository))


def test_a_folder_without_git_is_refused(tmp_path: Path) -> None:
    assert "git init" in refused(GitRepository(tmp_path, BRANCH)).remedy


def test_a_branch_without_a_commit_is_refused(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", f"--initial-branch={BRANCH}")
    assert "no commit yet" in str(refused(GitRepository(tmp_path, BRANCH)))


def test_a_machine_without_git_is_refused(repository: GitRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert "not installed" in str(refused(repository))


def test_a_merge_under_way_is_refused_before_and_after_its_conflicts_are_settled(root: Path, repository: GitRepository) -> None:
    git(root, "switch", "--quiet", "--create", "other")
    (root / "README.md").write_text("Other\n")
    git(root, "commit", "--quiet", "--all", "--message=Other")
    git(root, "switch", "--quiet", BRANCH)
    (root / "README.md").write_text("Mine\n")
    git(root, "commit", "--quiet", "--all", "--message=Mine")
    assert subprocess.run(["git", "merge", "--quiet", "other"], cwd=root, check=False, capture_output=True).returncode
    assert "merge is under way" in str(refused(repository))
    git(root, "update-ref", "-d", "MERGE_HEAD")
    assert "unmerged paths" in str(refused(repository))


@pytest.mark.parametrize("left", ["CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply"])
def test_whatever_is_under_way_is_refused(root: Path, repository: GitRepository, left: str) -> None:
    (root / ".git" / left).mkdir()
    assert "under way" in str(refused(repository))


def test_an_unknown_author_is_refused(root: Path, repository: GitRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    git(root, "config", "--unset", "user.email")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    assert "user.email" in refused(repository).remedy


def test_a_left_over_index_lock_is_refused_and_left_there(root: Path, repository: GitRepository) -> None:
    (root / ".git" / "index.lock").touch()
    assert "delete that file" in refused(repository).remedy
    assert (root / ".git" / "index.lock").exists()


def test_only_our_paths_are_committed_and_everything_else_stays_as_it_was(root: Path, repository: GitRepository) -> None:
    (root / "README.md").write_text("staged\n")
    (root / "staged-new").write_text("staged\n")
    git(root, "add", "--all")
    (root / "README.md").write_text("staged, then edited\n")
    (root / "untracked").write_text("untracked\n")
    (root / ".gitignore").unlink()
    before, staged = status(root), git(root, "diff", "--cached")
    (root / "ours").write_text("ours\n")

    commit = repository.commit(["ours"], "Add ours\n")

    assert git(root, "show", "--name-only", "--format=%an", commit).split() == ["Ana", "ours"]
    assert (status(root), git(root, "diff", "--cached")) == (before, staged)
    assert (root / "README.md").read_text() == "staged, then edited\n"


def test_hooks_are_not_run(root: Path, repository: GitRepository) -> None:
    for name in ("pre-commit", "commit-msg", "reference-transaction"):
        hook = root / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text("#!/bin/sh\nexit 1\n")
        hook.chmod(0o755)
    (root / "ours").write_text("ours\n")
    repository.tag("decisions@v0.1.0", repository.commit(["ours"], "Add ours\n"), "Tag")
    assert commits(root) == 2


def test_a_commit_is_built_on_what_somebody_else_committed_meanwhile(root: Path, repository: GitRepository) -> None:
    base = repository.head()
    git(root, "commit", "--quiet", "--allow-empty", "--message=Theirs")
    (root / "ours").write_text("ours\n")
    repository.commit(["ours"], "Ours\n", base=base)
    assert commits(root) == 3


def test_a_path_that_somebody_else_committed_meanwhile_is_refused(root: Path, repository: GitRepository) -> None:
    base = repository.head()
    (root / "ours").write_text("theirs\n")
    git(root, "add", "ours")
    git(root, "commit", "--quiet", "--message=Theirs")
    with pytest.raises(RepositoryRefused, match="Somebody else"):
        repository.commit(["ours"], "Ours\n", base=base)


def test_nothing_changed_makes_no_commit(root: Path, repository: GitRepository) -> None:
    assert repository.commit_if_changed(["README.md", "absent"], "Nothing\n") is None
    assert commits(root) == 1


def test_a_folder_is_committed_with_its_deletions_and_without_what_git_ignores(root: Path, repository: GitRepository) -> None:
    (root / "reports").mkdir()
    for name in ("old.json", "kept.json"):
        (root / "reports" / name).write_text("1")
    assert repository.commit_if_changed(["reports"], "Two\n")
    (root / "reports" / "old.json").unlink()
    (root / "reports" / "new.json").write_text("2")
    (root / "reports" / "ignored.log").write_text("3")
    (root / ".git" / "info" / "exclude").write_text("*.log\n")
    assert repository.commit_if_changed(["reports"], "Another\n")
    assert git(root, "ls-tree", "--name-only", "HEAD", "reports/").split() == ["reports/kept.json", "reports/new.json"]
    assert status(root) == ""


def test_a_file_that_is_gone_is_committed_as_deleted(root: Path, repository: GitRepository) -> None:
    (root / "README.md").unlink()
    assert repository.commit_if_changed(["README.md"], "Gone\n")
    assert status(root) == ""


def test_a_workspace_in_a_folder_of_a_repository_commits_only_its_own(root: Path) -> None:
    inner = root / "inner"
    inner.mkdir()
    (inner / "README.md").write_text("inner\n")
    repository = GitRepository(inner, BRANCH)
    repository.check()
    assert repository.commit_if_changed(["README.md"], "Inner\n")
    assert repository.content("HEAD", "README.md") == b"inner\n"
    assert repository.edited(["README.md"]) == []
    assert (root / "README.md").read_text() == "A workspace\n"


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "--force", ".git/config", ".hitl/bridge.db", "", ".", "a\nb"])
def test_paths_outside_the_workspace_are_refused(root: Path, repository: GitRepository, path: str) -> None:
    with pytest.raises(RepositoryRefused):
        repository.commit_if_changed([path], "No\n")


def test_a_path_through_a_link_that_leads_outside_is_refused(root: Path) -> None:
    (root / "link").symlink_to("/etc")
    with pytest.raises(RepositoryRefused):
        check_inside(root, "link/passwd")


def test_a_commit_is_found_by_the_whole_value_of_its_trailer(root: Path, repository: GitRepository) -> None:
    found = repository.commit([], "Subject\n\nBridge-Batch: batch-10\nManifest-SHA256: 00\n")
    repository.commit([], "Bridge-Batch: batch-2 is only spoken of here\n\nBridge-Batch: batch-2 in a body\n\nand no trailer\n")
    assert repository.find_commit("Bridge-Batch", "batch-10") == found
    assert repository.find_commit("Bridge-Batch", "batch-1") is None
    assert repository.find_commit("Bridge-Batch", "batch-2") is None


def test_edits_are_noticed_in_the_working_tree_and_in_the_index(root: Path, repository: GitRepository) -> None:
    assert repository.edited(["README.md", "absent"]) == []
    (root / "README.md").write_text("edited\n")
    assert repository.edited(["README.md", "absent"]) == ["README.md"]
    git(root, "add", "README.md")
    (root / "README.md").write_text("A workspace\n")
    assert repository.edited(["README.md", "absent"]) == ["README.md"]


def test_variables_of_a_surrounding_hook_and_our_secrets_do_not_reach_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/elsewhere")
    monkeypatch.setenv("HITL_LABEL_STUDIO_TOKEN", "secret")
    assert {"GIT_DIR", "HITL_LABEL_STUDIO_TOKEN"}.isdisjoint(child_environment())


def test_passwords_in_addresses_are_not_repeated_in_messages() -> None:
    assert without_credentials("fatal: https://ana:secret@example.com/x") == "fatal: https://***@example.com/x"
