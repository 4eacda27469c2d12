"""Makes a workspace, or adds what is missing to one; what is there already stays as it is."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hitl_bridge.core.task_types import TASK_TYPE_NAMES, TaskType, task_type
from hitl_bridge.errors import RepositoryRefused, SettingsError, UsageError
from hitl_bridge.ports import NewFile, WorkspacePaths
from hitl_bridge.settings import KEY_BYTES, PIPELINE_APART, HitlYaml, check_settings, key_file

_MESSAGE = "Start a review workspace"
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_-]*(?: [A-Za-z0-9_-]+)*")
_YAML_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
_IGNORES = {
    ".gitignore": "/.hitl/\n/dvc_plots/\n",
    # The very lines that DVC would write, so that it finds its own work done; and the snapshot, which it leaves out.
    "data/.gitignore": "/decisions\n/payloads\n/snapshot\n",
    "models/.gitignore": "/candidate\n/champion\n",
}
_CHAMPION = json.dumps({"model_version": None}) + "\n"
_KEY_REMEDY = "copy it from where the workspace was made, or set HITL_WORKSPACE_KEY."
_BASE = """\
# data/base: what the model started from

    train.jsonl      labelled items to train on (or train.csv, train.parquet)
    holdout.jsonl    labelled items to measure on; without it `prepare.holdout_share` of train is held out (`{params}`)

A row is one item: {{"item_id": "b-0001", "{input}": "…", {example}}}. Labels are spelled as in `hitl.yaml`. An item
in both files would make every figure too good: keep them apart.

The files hold texts of people and belong into DVC, not into git. `hitl-bridge retrain` sees to it; by hand it is

    dvc add data/base/train.jsonl
    git add data/base/train.jsonl.dvc data/base/.gitignore
"""
_EMPTY_FOLDERS = ("data/decisions", "data/payloads")
"""The pipeline depends on both, also before there is a decision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InitRequest:
    """What is wanted. `task` and `labels` may be None for a workspace that is there already; `here` adds to a folder in use."""

    target: Path
    task: str | None = None
    labels: Sequence[str] | None = None
    here: bool = False
    label_studio_url: str | None = None


@dataclass(frozen=True, slots=True)
class InitResult:
    """Paths from the workspace's root. `commit` is None where the new files were left uncommitted; `notes` say what is to do."""

    root: Path
    created: tuple[str, ...]
    already: tuple[str, ...]
    commit: str | None
    notes: tuple[str, ...]

    @property
    def changed(self) -> bool:
        return bool(self.created or self.commit)


class Template(Protocol):
    """The files of a new workspace."""

    def settings(self) -> str: ...
    def label_configs(self, task: str) -> list[NewFile]: ...
    def pipeline(self, task: str, folder: str | None = None) -> list[NewFile]: ...


class Versioning(Protocol):
    """git and DVC. Raises RepositoryRefused."""

    def repository_top(self, folder: Path) -> Path | None: ...
    def has_commits(self, root: Path) -> bool: ...
    def start_repository(self, root: Path, branch: str) -> None: ...
    def start_dvc(self, root: Path) -> None: ...
    def commit(self, root: Path, paths: Sequence[str], message: str) -> str: ...


def parse_labels(text: str) -> tuple[str, ...]:
    """`a,b,c`, or `@file` with a JSON list or one label per line (`#` begins a comment line). Raises UsageError."""
    if not text.startswith("@"):
        return _some_labels([label.strip() for label in text.split(",")], "--labels")
    path = Path(text[1:])
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"The labels in {path} can't be read: {reason}.", remedy="Name a file after the @.") from None
    return _some_labels(_listed(content, path), str(path))


def _listed(content: str, path: Path) -> list[str]:
    if not content.lstrip().startswith("["):
        return [line.strip() for line in content.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    try:
        listed = json.loads(content)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise UsageError(f"{path} is not valid JSON (line {line}).", remedy='Write it like ["refund", "billing"].') from None
    if not all(isinstance(label, str) for label in listed):
        raise UsageError(f"{path} holds something that is no text.", remedy='Write it like ["refund", "billing"].')
    return list(listed)


def _some_labels(labels: list[str], source: str) -> tuple[str, ...]:
    if not any(labels):
        raise UsageError(f"There are no labels in {source}.", remedy="Name them: --labels refund,billing or --labels @labels.txt")
    return tuple(labels)


def init(request: InitRequest, template: Template, versioning: Versioning) -> InitResult:
    """Makes the workspace, so that `doctor` finds nothing wrong with it.

    With `here` nothing of the user's is touched: no file is changed, their index stays as it is, and the new files are
    left for them to commit. Run again, it adds what is missing and says so.

    Raises UsageError (nothing was done) and RepositoryRefused.
    """
    try:
        return _init(request.target.absolute(), request, template, versioning)
    except OSError as error:
        where = error.filename or request.target
        raise UsageError(f"{where} can't be written: {error.strerror}.", remedy="Mend that and run it again.") from None


def _init(root: Path, request: InitRequest, template: Template, versioning: Versioning) -> InitResult:
    _check_target(root, request, versioning)
    settings = _settings_content(root, request, template)
    checked = check_settings(settings)
    root.mkdir(parents=True, exist_ok=True)
    created, already = _write_all(root, _files(root, settings, checked, template))
    for folder in _EMPTY_FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    secret, notes = _keep_key(root)
    created += _start_versioning(root, checked.git.branch, versioning)
    commit, to_do = _committed(root, created, request.here, versioning)
    note = _kept_note(root, request, already)
    return InitResult(root, (*created, *secret), tuple(already), commit, (*notes, *note, *to_do))


# ------------------------------------------------------------------------------------------- may it be made here?


def _check_target(root: Path, request: InitRequest, versioning: Versioning) -> None:
    if root.exists() and not root.is_dir():
        raise UsageError(f"{root} is a file.", remedy="Name a folder, or a name that is still free.")
    is_ours = WorkspacePaths(root).settings.exists()
    if root.is_dir() and any(root.iterdir()) and not (request.here or is_ours):
        raise UsageError(
            f"{root} is not empty.",
            remedy="Name a new folder, or add the workspace to what is there: hitl-bridge init --here (no file is changed).",
        )
    top = versioning.repository_top(root) if request.here and root.is_dir() else None
    if top is not None and top.resolve() != root.resolve():
        raise UsageError(f"{root} lies inside the repository {top}.", remedy=f"Run it at the repository's top: cd {top}")


# ---------------------------------------------------------------------------------------------- what is written


def _settings_content(root: Path, request: InitRequest, template: Template) -> bytes:
    path = WorkspacePaths(root).settings
    if path.exists():
        return path.read_bytes()
    if request.task is None or request.labels is None:
        missing = "--task" if request.task is None else "--labels"
        remedy = f"Name the task type and the labels: --task {TASK_TYPE_NAMES[0]} --labels refund,billing"
        raise UsageError(f"{missing} is needed to make a workspace.", remedy=remedy)
    task_type(request.task)
    return _checked(
        filled_in(template.settings(), request.task, request.labels, request.label_studio_url).encode("utf-8", "replace")
    )


def filled_in(settings: str, task: str, labels: Sequence[str], label_studio_url: str | None = None) -> str:
    """The template's `hitl.yaml` with these values, its comments kept."""
    listed = "labels:\n" + "".join(f"  - {_scalar(label)}\n" for label in labels)
    settings = _replaced(settings, r"^task: .*\n", f"task: {_scalar(task)}\n")
    settings = _replaced(settings, r"^labels:\n(?:  - .*\n)+", listed)
    if label_studio_url is None:
        return settings
    return _replaced(settings, r"^  url: .*\n", f"  url: {json.dumps(label_studio_url)}\n")


def _replaced(text: str, pattern: str, replacement: str) -> str:
    changed, count = re.subn(pattern, lambda _: replacement, text, count=1, flags=re.MULTILINE)
    if count != 1:
        raise UsageError("This installation's hitl.yaml can't be filled in.", remedy="Install hitl-bridge again.")
    return changed


def _scalar(text: str) -> str:
    """`text` as YAML: bare where nothing can be taken for anything else."""
    is_plain = _PLAIN.fullmatch(text) is not None and text.casefold() not in _YAML_WORDS
    return text if is_plain else json.dumps(text, ensure_ascii=not text.isprintable())


def _checked(settings: bytes) -> bytes:
    try:
        check_settings(settings)
    except SettingsError as error:
        # The file is not there yet: its lines would mean nothing to anybody.
        listed = "\n".join(f"  {problem.where}: {problem.what}" for problem in error.problems)
        raise UsageError(f"The workspace can't be made like this:\n{listed}", remedy="Correct that and run it again.") from None
    return settings


def _files(root: Path, settings: bytes, checked: HitlYaml, template: Template) -> list[NewFile]:
    """In the order of writing, so that a run cut short is known for what it is and taken up again.

    A pipeline apart comes before `hitl.yaml`, which would make the pipeline at the root look like ours.
    """
    folder = _pipeline_folder(root)
    pipeline = template.pipeline(checked.task, folder)
    hitl_yaml = NewFile("hitl.yaml", settings)
    base = _BASE.format(
        params=pipeline[-1].path,
        input=task_type(checked.task).input_field,
        example=_example(task_type(checked.task), checked.labels[0]),
    )
    texts = {**_IGNORES, "data/base/README.md": base, "models/champion.json": _CHAMPION}
    return [
        *([*pipeline, hitl_yaml] if folder else [hitl_yaml, *pipeline]),
        *template.label_configs(checked.task),
        *(NewFile(path, text.encode("utf-8")) for path, text in texts.items()),
    ]


def _example(kind: TaskType, label: str) -> str:
    """What a labelled row says: the label, or an output of several parts."""
    said = {"output": kind.whole([kind.sample_part(label)])} if kind.several else {"label": label}
    return json.dumps(said, ensure_ascii=False)[1:-1]


def _pipeline_folder(root: Path) -> str | None:
    """A folder of its own for our pipeline where the root has a pipeline, or training parameters, of somebody else's."""
    if (root / PIPELINE_APART / "dvc.yaml").exists():
        return PIPELINE_APART
    is_ours = WorkspacePaths(root).settings.exists()
    taken = any((root / name).exists() for name in ("dvc.yaml", "params.yaml"))
    return PIPELINE_APART if taken and not is_ours else None


def _write_all(root: Path, files: Sequence[NewFile]) -> tuple[list[str], list[str]]:
    created: list[str] = []
    already: list[str] = []
    for file in files:
        (created if _write_new(root / file.path, file.content) else already).append(file.path)
    return created, already


def _write_new(path: Path, content: bytes, mode: int = 0o666) -> bool:
    """Writes a file that is not there yet; False if it is (a link that leads nowhere is there, too)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(content)
    return True


def _keep_key(root: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The key of all draws: made once. A second one would draw other audits, and put trained items into the holdout."""
    state = WorkspacePaths(root).state
    state.mkdir(mode=0o700, exist_ok=True)
    # Whatever the user's .gitignore says, and without touching it: nothing in here is ever committed.
    _write_new(state / ".gitignore", b"*\n")
    path = key_file(root)
    place = str(path.relative_to(root))
    if path.exists():
        return (), ()
    if (state / "bridge.db").exists() or (root / "data" / "decisions.dvc").exists():
        return (), (f"{place} is missing, and this workspace has been used, so no new one was made: {_KEY_REMEDY}",)
    state.chmod(0o700)
    _write_new(path, secrets.token_hex(KEY_BYTES).encode("ascii") + b"\n", mode=0o600)
    return (place,), (f"Keep a copy of {place}: draws can't be checked without it.",)


# ------------------------------------------------------------------------------------------------- git and DVC


def _start_versioning(root: Path, branch: str, versioning: Versioning) -> list[str]:
    started = []
    top = versioning.repository_top(root)
    if top is None or top.resolve() != root.resolve():
        versioning.start_repository(root, branch)
        started.append(".git")
    if not (root / ".dvc" / "config").exists():
        before = (root / ".dvcignore").exists()
        versioning.start_dvc(root)
        started += [".dvc/config", ".dvc/.gitignore", *([] if before else [".dvcignore"])]
    return started


def _committed(root: Path, created: Sequence[str], here: bool, versioning: Versioning) -> tuple[str | None, tuple[str, ...]]:
    """Commits a workspace that has no commit yet; in a repository in use that is left to its user."""
    paths = [path for path in created if path != ".git"]
    if here or versioning.has_commits(root):
        return None, (f"Not committed yet; when it suits you: git add {' '.join(paths)}",) if paths else ()
    everything = [path for path in _versioned(root) if (root / path).exists()]
    try:
        return versioning.commit(root, everything, _MESSAGE), ()
    except RepositoryRefused as error:
        told = f"The new files are not committed: {error.message} {error.remedy}"
        return None, (f"{told} Then run `hitl-bridge init {root.name}` again.",)


def _versioned(root: Path) -> list[str]:
    """What belongs into the first commit, whichever run wrote it."""
    fixed = [
        "hitl.yaml",
        "dvc.yaml",
        "params.yaml",
        "checks/must-pass.yaml",
        *_IGNORES,
        "data/base/README.md",
        "models/champion.json",
    ]
    pages = sorted(f"label_configs/{page.name}" for page in WorkspacePaths(root).label_configs.glob("*.xml"))
    return [*fixed, *pages, ".dvc/config", ".dvc/.gitignore", ".dvcignore"]


def _kept_note(root: Path, request: InitRequest, already: Sequence[str]) -> tuple[str, ...]:
    if "hitl.yaml" not in already or (request.task is None and request.labels is None and request.label_studio_url is None):
        return ()
    return (f"{root.name}/hitl.yaml was there already and is as it was; edit it to change task, labels or addresses.",)
