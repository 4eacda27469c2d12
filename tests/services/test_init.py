"""A new workspace, on real git and DVC."""

from __future__ import annotations

import json
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from hitl_bridge.adapters.git.repository import GitRepository
from hitl_bridge.adapters.workspace import WorkspaceTools
from hitl_bridge.adapters.workspace_template import PackagedTemplate
from hitl_bridge.errors import RefusedForSafety, RepositoryRefused, SettingsError, UsageError
from hitl_bridge.services.keeping.init import InitRequest, InitResult, filled_in, init, parse_labels
from hitl_bridge.settings import check_settings, load_settings

PIPELINE = """\
# what a retraining is
stages:
  prepare:
    cmd: python -m hitl_bridge.stages.prepare
    params: [seed, prepare]
    outs: [data/prepared]
  finetune:
    cmd: python -m hitl_bridge.stages.finetune
    params:
      - train
      - params.yaml: [base_model]
plots:
  - reports/calibration.json: {x: risk, y: errors}
"""


class SmallTemplate(PackagedTemplate):
    """The template of this checkout with a pipeline of our own, so that these tests say what becomes of one."""

    def __init__(self, home: Path) -> None:
        (home / "label_configs").mkdir(parents=True)
        for task in ("text-classification", "image-classification"):
            (home / "label_configs" / f"{task}.quick.xml").write_text("<View/>\n")
        (home / "hitl.yaml").write_text(PackagedTemplate().settings())
        (home / "dvc.yaml").write_text(PIPELINE)
        (home / "params.yaml").write_text("seed: 1\n")
        (home / "checks").mkdir()
        (home / "checks" / "must-pass.yaml").write_text("# none yet\n")
        super().__init__(home)


@pytest.fixture
def template(tmp_path: Path) -> SmallTemplate:
    return SmallTemplate(tmp_path / "template")


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout


def repository(root: Path) -> Path:
    """Somebody's repository with one commit, a staged change and an edit."""
    root.mkdir()
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "config", "user.name", "Dee")
    git(root, "config", "user.email", "dee@example.com")
    (root / "train.py").write_text("print(1)\n")
    (root / "README.md").write_text("Theirs\n")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "Theirs")
    (root / "train.py").write_text("print(2)\n")
    git(root, "add", "train.py")
    (root / "README.md").write_text("Theirs, edited\n")
    return root


@pytest.fixture
def identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "gitconfig"
    config.write_text("[user]\n\tname = Ana\n\temail = ana@example.com\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


def made(
    root: Path, template: PackagedTemplate, *, here: bool = False, labels: Sequence[str] = ("refund", "billing")
) -> InitResult:
    request = InitRequest(target=root, task="text-classification", labels=labels, here=here)
    return init(request, template, WorkspaceTools())


def contents(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file() and ".git" not in path.relative_to(root).parts)
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


@pytest.mark.usefixtures("identity")
class TestANewWorkspace:
    def test_a_new_folder_is_a_committed_workspace_on_its_branch_and_a_second_run_changes_nothing(
        self, tmp_path: Path, template: SmallTemplate
    ) -> None:
        root = tmp_path / "reviews"
        result = made(root, template)
        assert result.commit == git(root, "rev-parse", "HEAD").strip()
        assert git(root, "branch", "--show-current").strip() == "reviews"
        assert git(root, "status", "--porcelain") == ""
        GitRepository(root, "reviews").check()
        tracked = set(git(root, "ls-files").split())
        assert {"hitl.yaml", "dvc.yaml", "params.yaml", "label_configs/text-classification.quick.xml"} <= tracked
        assert {".dvc/config", ".gitignore", "data/.gitignore", "data/base/README.md", "models/champion.json"} <= tracked
        tools = WorkspaceTools()
        assert all(tools.ignores(root, path) for path in (".hitl/x", "data/payloads/x", "data/snapshot/x"))
        assert not tools.ignores(root, "hitl.yaml")
        assert not any("image" in path or path.startswith(".hitl") for path in tracked)
        assert json.loads((root / "models/champion.json").read_bytes()) == {"model_version": None}

        before = contents(root)
        again = made(root, template)
        assert contents(root) == before
        assert (again.created, again.commit, again.changed) == ((), None, False)
        assert set(result.created) >= set(again.already)
        assert any("hitl.yaml was there already" in note for note in again.notes)

    def test_its_settings_load_and_its_secrets_are_its_owners_alone(self, tmp_path: Path, template: SmallTemplate) -> None:
        root = tmp_path / "reviews"
        made(root, template, labels=("refund", "yes", "a: b", "münzen"))
        settings = load_settings(root, {})
        assert settings.labels == ("refund", "yes", "a: b", "münzen")
        assert len(settings.workspace_key) == 32
        assert stat.S_IMODE((root / ".hitl").stat().st_mode) == 0o700
        assert stat.S_IMODE((root / ".hitl/workspace.key").stat().st_mode) == 0o600
        assert "analytics = false" in (root / ".dvc/config").read_text()

    def test_without_a_git_identity_everything_is_made_but_the_commit_and_a_second_run_makes_that(
        self, tmp_path: Path, template: SmallTemplate
    ) -> None:
        (tmp_path / "gitconfig").write_text("")
        root = tmp_path / "reviews"
        result = made(root, template)
        assert result.commit is None
        assert any("git config user.name" in note for note in result.notes)
        (tmp_path / "gitconfig").write_text("[user]\n\tname = Ana\n\temail = ana@example.com\n")
        again = made(root, template)
        assert again.commit
        assert git(root, "status", "--porcelain") == ""

    def test_a_used_workspace_gets_no_second_key(self, tmp_path: Path, template: SmallTemplate) -> None:
        root = tmp_path / "reviews"
        made(root, template)
        (root / ".hitl/workspace.key").unlink()
        (root / "data/decisions.dvc").write_text("outs: []\n")
        result = made(root, template)
        assert not (root / ".hitl/workspace.key").exists()
        assert any("no new one was made" in note for note in result.notes)

    def test_a_run_cut_short_is_taken_up_again(self, tmp_path: Path, template: SmallTemplate) -> None:
        root = tmp_path / "reviews"

        class CutShort(WorkspaceTools):
            def start_dvc(self, root: Path) -> None:
                raise RepositoryRefused("the disk is full")

        request = InitRequest(target=root, task="text-classification", labels=("a", "b"))
        with pytest.raises(RefusedForSafety):
            init(request, template, CutShort())
        assert init(request, template, WorkspaceTools()).commit
        assert git(root, "status", "--porcelain") == ""


@pytest.mark.usefixtures("identity")
class TestHere:
    def test_nothing_of_a_repository_in_use_is_touched(self, tmp_path: Path, template: SmallTemplate) -> None:
        root = repository(tmp_path / "theirs")
        (root / ".gitignore").write_text("*.pyc\n")
        (root / "dvc.yaml").write_text("stages: {}\n")
        (root / "params.yaml").write_text("theirs: 1\n")
        before, staged, head = contents(root), git(root, "diff", "--cached"), git(root, "rev-parse", "HEAD")

        result = made(root, template, here=True)

        after = contents(root)
        assert {path: after[path] for path in before} == before
        assert git(root, "diff", "--cached") == staged
        assert git(root, "rev-parse", "HEAD") == head
        assert git(root, "branch", "--show-current").strip() == "main"
        assert result.commit is None
        assert any(note.startswith("Not committed yet") and "hitl.yaml" in note for note in result.notes)
        assert ".hitl" not in git(root, "status", "--porcelain", "--untracked-files=all")

        again = made(root, template, here=True)
        assert (again.created, contents(root)) == ((), after)

    def test_a_pipeline_that_is_there_stays_and_ours_stands_apart_and_works_from_the_root(
        self, tmp_path: Path, template: SmallTemplate
    ) -> None:
        root = repository(tmp_path / "theirs")
        (root / "params.yaml").write_text("theirs: 1\n")
        result = made(root, template, here=True)
        assert {"review/dvc.yaml", "review/params.yaml"} <= set(result.created)
        assert not (root / "dvc.yaml").exists()
        pipeline = YAML(typ="safe").load(root / "review/dvc.yaml")
        assert pipeline["stages"]["prepare"]["wdir"] == ".."
        assert pipeline["stages"]["prepare"]["params"] == [{"review/params.yaml": ["seed", "prepare"]}]
        assert pipeline["stages"]["finetune"]["params"] == [
            {"review/params.yaml": ["train"]},
            {"review/params.yaml": ["base_model"]},
        ]
        assert pipeline["plots"] == [{"../reports/calibration.json": {"x": "risk", "y": "errors"}}]
        assert load_settings(root, {}).pipeline_file == "review/dvc.yaml"
        assert "review/params.yaml" in (root / "data/base/README.md").read_text()

    def test_the_top_of_the_repository_is_the_place(self, tmp_path: Path, template: SmallTemplate) -> None:
        root = repository(tmp_path / "theirs")
        (root / "inner").mkdir()
        with pytest.raises(UsageError, match="lies inside the repository"):
            made(root / "inner", template, here=True)
        assert list((root / "inner").iterdir()) == []


class NoTools(WorkspaceTools):
    """What refuses before anything is done needs neither git nor DVC."""

    def repository_top(self, folder: Path) -> Path | None:
        return None

    def start_repository(self, root: Path, branch: str) -> None:
        raise AssertionError(root)


class TestRefusals:
    def refused(self, request: InitRequest) -> UsageError:
        with pytest.raises(UsageError) as caught:
            init(request, PackagedTemplate(), NoTools())
        return caught.value

    def test_a_folder_in_use_is_refused_without_here(self, tmp_path: Path) -> None:
        (tmp_path / "theirs.txt").write_text("x")
        error = self.refused(InitRequest(target=tmp_path, task="text-classification", labels=("a", "b")))
        assert "not empty" in error.message
        assert "--here" in error.remedy
        assert [path.name for path in tmp_path.iterdir()] == ["theirs.txt"]

    def test_a_file_is_no_place_for_a_workspace(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        assert "is a file" in self.refused(InitRequest(target=tmp_path / "file", task="t", labels=("a",))).message
        inside = InitRequest(target=tmp_path / "file" / "w", task="text-classification", labels=("a", "b"))
        assert "can't be written" in self.refused(inside).message

    def test_an_unknown_task_and_missing_labels_are_named(self, tmp_path: Path) -> None:
        target = tmp_path / "w"
        assert "text-classification" in self.refused(InitRequest(target=target, task="texts", labels=("a", "b"))).remedy
        assert "--task" in self.refused(InitRequest(target=target, labels=("a", "b"))).message
        assert "--labels" in self.refused(InitRequest(target=target, task="text-classification")).message
        assert not target.exists()

    def test_every_wrong_label_and_address_is_told_at_once_and_nothing_is_made(self, tmp_path: Path) -> None:
        labels = ("a", "a", "None of these", "x" * 201, "")
        request = InitRequest(target=tmp_path / "w", task="text-classification", labels=labels, label_studio_url="ftp://x")
        message = self.refused(request).message
        for where in ("labels[2]", "labels[3]", "labels[4]", "labels[5]", "label_studio.url"):
            assert where in message
        assert "line" not in message
        assert not (tmp_path / "w").exists()

    def test_a_broken_hitl_yaml_that_is_there_is_reported_with_its_lines(self, tmp_path: Path) -> None:
        (tmp_path / "hitl.yaml").write_text("task: x\n")
        with pytest.raises(SettingsError):
            init(InitRequest(target=tmp_path), PackagedTemplate(), NoTools())


class TestLabels:
    def test_labels_are_listed_or_read_from_a_file(self, tmp_path: Path) -> None:
        assert parse_labels("refund, billing,cancel") == ("refund", "billing", "cancel")
        lines, listed = tmp_path / "labels.txt", tmp_path / "labels.json"
        lines.write_text("# ours\nrefund\n\nbilling, late\n")
        listed.write_text('["refund", "billing, late"]')
        assert parse_labels(f"@{lines}") == parse_labels(f"@{listed}") == ("refund", "billing, late")

    @pytest.mark.parametrize("content", ["", "[", "[1, 2]", "[]", "\n# nothing\n"])
    def test_a_file_without_labels_is_refused(self, tmp_path: Path, content: str) -> None:
        path = tmp_path / "labels"
        path.write_text(content)
        with pytest.raises(UsageError, match="labels") as caught:
            parse_labels(f"@{path}")
        assert caught.value.remedy

    def test_a_file_that_is_not_there_and_an_empty_list_are_refused(self, tmp_path: Path) -> None:
        for text in (f"@{tmp_path / 'none'}", "@", "", " , "):
            with pytest.raises(UsageError):
                parse_labels(text)

    @given(st.lists(st.text(max_size=30), min_size=2, max_size=6))
    def test_whatever_the_labels_they_are_read_back_as_they_were_or_refused(self, labels: list[str]) -> None:
        text = filled_in(PackagedTemplate().settings(), "text-classification", labels, "https://labels.example.com")
        try:
            file = check_settings(text.encode("utf-8", "replace"))
        except SettingsError as error:
            problems = error.problems
        else:
            assert (file.labels, file.label_studio.url, problems := ()) == (labels, "https://labels.example.com", ())
        assert all(problem.where.startswith("labels") for problem in problems)


class TestTheTemplate:
    def test_the_template_of_this_version_is_complete(self) -> None:
        template = PackagedTemplate()
        pages = {file.path for file in template.label_configs("text-classification")}
        assert {"label_configs/text-classification.quick.xml", "label_configs/text-classification.comprehensive.xml"} <= pages
        paths = [file.path for file in template.pipeline("text-classification")]
        assert paths == ["dvc.yaml", "checks/must-pass.yaml", "params.yaml"]
        stages = YAML(typ="safe").load(template.pipeline("text-classification", "review")[0].content)["stages"]
        assert {stage["wdir"] for stage in stages.values()} == {".."}
        assert b"trainer: sklearn-image" in template.pipeline("image-classification")[-1].content
        assert check_settings(template.settings().encode())
