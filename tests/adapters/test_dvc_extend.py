"""Versions after the first are made without starting DVC, and nobody can tell them from DVC's own."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hitl_bridge.adapters.dvc.extend import extendable_folders
from hitl_bridge.adapters.dvc.files import DvcCache, plain_folder, pointed_at
from hitl_bridge.errors import OutsideUnavailable, RepositoryRefused
from tests.adapters.dvc_workspace import (
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
)

__all__ = ["template"]

V1, V2, V3 = "decisions@v0.1.0", "decisions@v0.2.0", "decisions@v0.3.0"
FOLDERS = ("data/decisions", "data/payloads")
POINTERS = tuple(f"{folder}.dvc" for folder in FOLDERS)


@pytest.fixture(scope="session")
def with_a_version(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a remote beside it and one version in both, which DVC has made."""
    home = tmp_path_factory.mktemp("published")
    root = Path(shutil.copytree(template, home / "workspace"))
    (home / "remote").mkdir()
    (root / ".dvc" / "config").write_text("[core]\n    remote = store\n['remote \"store\"']\n    url = ../../remote\n")
    git(root, "commit", "--quiet", "--all", "--message=Configure a remote")
    publish(root, 1)
    return home


@pytest.fixture
def root(with_a_version: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(with_a_version, tmp_path / "home")) / "workspace"


def objects(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and rights of every object, by path."""
    found = (path for path in (folder / "files" / "md5").rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mode & 0o777) for path in found}


def dvc_was_started(root: Path) -> bool:
    """By the bridge, which leaves the last thing that it asked of DVC."""
    return (root / ".hitl" / "remote.json").exists()


def forget(root: Path) -> None:
    (root / ".hitl" / "remote.json").unlink(missing_ok=True)


def test_all_that_is_written_is_byte_for_byte_what_dvc_writes(root: Path, with_a_version: Path, tmp_path: Path) -> None:
    forget(root)
    publish(root, 2)
    assert not dvc_was_started(root)
    by_hand = Path(shutil.copytree(with_a_version, tmp_path / "by-hand")) / "workspace"
    for file in version_files(2):
        (by_hand / file.path).write_bytes(file.content)
    dvc(by_hand, "add", "--quiet", *FOLDERS)
    dvc(by_hand, "push", "--quiet")
    assert [(root / each).read_bytes() for each in POINTERS] == [(by_hand / each).read_bytes() for each in POINTERS]
    assert objects(root / ".dvc" / "cache") == objects(by_hand / ".dvc" / "cache")
    assert objects(root.parent / "remote") == objects(by_hand.parent / "remote")
    dvc(root, "add", "--quiet", *FOLDERS)  # finds nothing to do
    assert status(root) == ""


@pytest.mark.parametrize(
    ("file", "line"),
    [
        (".dvc/config.local", "[cache]\n    type = hardlink\n"),
        (".dvc/config.local", "[cache]\n    shared = group\n"),
        (".dvc/config.local", "[core]\n    hardlink_lock = true\n"),
        ("data/.dvcignore", "# mine\n*.parquet\n"),
        ("data/decisions.dvc", "desc: what people decided\n"),
    ],
)
def test_where_something_is_not_as_dvc_writes_it_by_default_dvc_itself_is_asked(root: Path, file: str, line: str) -> None:
    def pointers() -> dict[str, bytes]:
        return {folder: (root / f"{folder}.dvc").read_bytes() for folder in FOLDERS}

    assert extendable_folders(root, pointers()) is not None
    with (root / file).open("a") as opened:
        opened.write(line)
    assert extendable_folders(root, pointers()) is None


def test_a_damaged_or_missing_listing_is_never_built_upon(root: Path) -> None:
    pointer = (root / POINTERS[0]).read_bytes()
    listing = DvcCache(root).path(pointed_at(pointer) or "")
    listing.chmod(0o644)
    listing.write_bytes(listing.read_bytes().replace(b"v0.1.0", b"v0.7.0"))
    assert extendable_folders(root, {FOLDERS[0]: pointer}) is None
    listing.unlink()
    assert extendable_folders(root, {FOLDERS[0]: pointer}) is None


@pytest.mark.parametrize(
    ("setting", "folder"),
    [
        ("url = ../../remote", ".dvc/../../remote"),
        ("url = /srv/share\n    verify = true\n    jobs = 2", "/srv/share"),
        ("url = s3://bucket/path", None),
        ("url = file:///srv/share", None),
        ("url = ~/share", None),
        ("url = /srv/share\n    shared = group", None),
        ("url = /srv/share\n    version_aware = true", None),
    ],
)
def test_a_remote_is_written_to_directly_only_where_it_is_a_plain_folder(root: Path, setting: str, folder: str | None) -> None:
    (root / ".dvc" / "config").write_text(f"[core]\n    remote = store\n['remote \"store\"']\n    {setting}\n")
    assert plain_folder(root) == (root / folder if folder else None)


def test_a_remote_that_is_no_plain_folder_gets_its_files_by_dvc(root: Path) -> None:
    remote = root.parent / "remote"
    (root / ".dvc" / "config.local").write_text("['remote \"store\"']\n    slow_link_warning = false\n")
    forget(root)
    publish(root, 2)
    assert json.loads((root / ".hitl" / "remote.json").read_text())["task"] == "upload"
    assert store(root).check_remote(deep=True).is_sound
    shutil.rmtree(remote)
    remote.write_text("not a folder")
    before = commits(root)
    with pytest.raises(OutsideUnavailable):
        publish(root, 3)
    assert (commits(root), status(root)) == (before, "")


def test_a_remote_that_lost_an_earlier_version_gets_everything_once_more(root: Path) -> None:
    remote = root.parent / "remote"
    shutil.rmtree(remote)
    publish(root, 2)
    shutil.rmtree(root / ".dvc" / "cache")
    assert store(root).read(V2) == contents(1, 2)


def test_an_object_that_the_remote_holds_half_is_replaced(root: Path) -> None:
    name = hashlib.md5(b"decisions 2", usedforsecurity=False).hexdigest()
    half = root.parent / "remote" / "files" / "md5" / name[:2] / name[2:]
    half.parent.mkdir(exist_ok=True)
    half.write_bytes(b"half")
    publish(root, 2)
    assert half.read_bytes() == b"decisions 2"


@pytest.mark.catalogue("D1")
@pytest.mark.parametrize("place", ["remote", "workspace/.dvc/cache"])
def test_a_disk_that_takes_nothing_is_told_and_nothing_is_committed(root: Path, place: str) -> None:
    name = hashlib.md5(b"payloads 2", usedforsecurity=False).hexdigest()
    in_the_way = root.parent / place / "files" / "md5" / name[:2]
    in_the_way.write_text("a file where a folder has to be")
    before = commits(root)
    with pytest.raises(OutsideUnavailable, match="could not be written"):
        publish(root, 2)
    assert (commits(root), status(root)) == (before, "")
    assert not (root / version_files(2)[0].path).exists()
    in_the_way.unlink()
    publish(root, 2)
    assert store(root).check_remote(deep=True).is_sound


@pytest.mark.catalogue("D2")
def test_while_a_dvc_works_on_the_data_nothing_is_written_and_later_it_is(root: Path) -> None:
    before = commits(root)
    with subprocess.Popen([sys.executable, "-c", "input()", "dvc repro"], stdin=subprocess.PIPE) as stage:
        rwlock = root / ".dvc" / "tmp" / "rwlock"
        readers = {str(root / "data"): [{"pid": stage.pid, "cmd": "dvc repro"}]}
        rwlock.write_text(json.dumps({"write": {}, "read": readers}))
        with pytest.raises(OutsideUnavailable, match="using"):
            publish(root, 2)
        elsewhere = {str(root / "models"): [{"pid": stage.pid, "cmd": "dvc repro"}]}
        assert (commits(root), status(root)) == (before, "")
        rwlock.write_text(json.dumps({"write": {}, "read": elsewhere}))
        publish(root, 2)
        stage.communicate(b"\n")
    assert commits(root) == before + 1


@pytest.mark.catalogue("D4")
def test_dvc_s_own_lock_is_waited_for(root: Path) -> None:
    with (root / ".dvc" / "tmp" / "lock").open("a") as lock:
        fcntl.flock(lock.fileno(), fcntl.LOCK_EX)
        with pytest.raises(OutsideUnavailable, match="using the workspace"):
            publish(root, 2)
    publish(root, 2)
    assert store(root).versions() == [V1, V2]


@pytest.mark.catalogue("D6")
def test_an_earlier_file_is_hashed_again_only_where_it_was_written_since(root: Path) -> None:
    publish(root, 2)
    touched, altered = root / "data/decisions/v0.1.0.parquet", root / "data/payloads/v0.1.0.parquet"
    os.utime(touched, (0, 0))
    publish(root, 3)
    altered.chmod(0o644)
    altered.write_bytes(b"Payloads 1")
    with pytest.raises(RepositoryRefused, match=r"v0\.1\.0.parquet is not what an earlier version holds"):
        publish(root, 4)
    altered.write_bytes(b"payloads 1")
    (root / ".hitl" / "data-files.json").write_text("{")
    publish(root, 4)
    assert store(root).read("decisions@v0.4.0") == contents(1, 2, 3, 4)


@pytest.mark.catalogue("D7")
@pytest.mark.parametrize(("step", "when"), [("read-tree", "before"), ("update-ref", "after"), ("tag", "before")])
def test_a_publisher_of_a_later_version_killed_at_any_step_ends_in_one_commit_and_one_tag(
    root: Path, step: str, when: str
) -> None:
    before = commits(root)
    killed = publishing(root, 2, "batch-2", **deadly_git(root.parent, step, when))
    killed.communicate()
    assert killed.returncode == -9
    publish(root, 2)
    assert (commits(root), status(root)) == (before + 1, "")
    assert store(root).versions() == [V1, V2]
    publish(root, 3)
    assert store(root).read(V3) == contents(1, 2, 3)
