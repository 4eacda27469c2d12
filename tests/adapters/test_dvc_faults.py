"""What RELIABILITY's rows D1 to D6 break, broken on purpose: killed commands, a full disk, torn state, remotes that lie."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hitl_bridge.adapters.dvc.dataset import DvcPipeline
from hitl_bridge.adapters.dvc.files import DvcCache, pointed_at
from hitl_bridge.adapters.leftovers import clear_git_locks, is_at_work
from hitl_bridge.errors import BridgeError, OutsideUnavailable, RepositoryRefused
from hitl_bridge.ports import NewFile
from tests.adapters.dvc_workspace import (
    BRANCH,
    DVC,
    commits,
    contents,
    dvc,
    git,
    publish,
    publishing,
    status,
    store,
    template,
    workspace,
    workspace_with_remote,
)

__all__ = ["template", "workspace", "workspace_with_remote"]

V1, V2 = "decisions@v0.1.0", "decisions@v0.2.0"


def objects(root: Path, number: int) -> dict[str, str]:
    """Of the decisions of the latest version: the listing's name under "", and the object's of the file of that number."""
    pointer = (root / "data" / "decisions.dvc").read_bytes()
    listing = DvcCache(root).listing(pointer, "data/decisions") or {}
    return {"": pointed_at(pointer) or "", "file": listing[f"data/decisions/v0.{number}.0.parquet"]}


def on_remote(root: Path, name: str) -> Path:
    return root.parent / "remote" / "files" / "md5" / name[:2] / name[2:]


def write_over(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(0o444)


# ----------------------------------------------------------------------------------------- D1: killed, disk full


@pytest.mark.catalogue("D1")
def test_a_dvc_add_that_was_killed_leaves_nothing_behind_once_the_call_is_repeated(workspace: Path) -> None:
    killed = publishing(workspace, 1, "batch-1")
    last_written = workspace / "data" / "payloads" / "v0.1.0.parquet"
    while not last_written.exists():
        assert killed.poll() is None
    killed.kill()
    killed.communicate()
    left = workspace / ".dvc" / "cache" / "files" / "md5" / "38" / ".xW_xwb67liKPAg52gR8hVw.tmp"  # as a killed `dvc add` does
    left.parent.mkdir(parents=True, exist_ok=True)
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    before = commits(workspace)
    publish(workspace, 1)
    assert (commits(workspace), status(workspace)) == (before + 1, "")
    assert not list(workspace.rglob(".*.tmp"))
    assert store(workspace).read(V1) == contents(1)
    (workspace / "data" / "decisions" / left.name).write_bytes(b"half")  # as a killed `dvc checkout` does
    publish(workspace, 2)
    assert store(workspace).read(V2) == contents(1, 2)


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk has to be mounted, which needs rights that this user lacks")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.mark.catalogue("D1")
def test_a_full_disk_leaves_no_version_and_the_same_call_works_when_there_is_room(template: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "24m") as disk:
        root = Path(shutil.copytree(template, disk / "workspace"))
        publish(root, 1)
        before = commits(root)
        big = NewFile("data/decisions/v0.2.0.parquet", os.urandom(4 << 20))
        filler = disk / "filler"
        free = shutil.disk_usage(disk).free
        filler.write_bytes(b"x" * (free - (6 << 20)))  # too little for three copies
        with pytest.raises(OutsideUnavailable, match="bytes are needed"):
            store(root).publish(V2, [big], "More", "batch-2")
        assert (commits(root), status(root)) == (before, "")
        # Bytes enough, but no room for one more file: `dvc add` itself finds the disk full, half-way.
        cache = root / ".dvc" / "config.local"
        filler.unlink()
        with small_disk(tmp_path / "cache", "1m,nr_inodes=7") as tiny:
            cache.write_text(f"[cache]\n    dir = {tiny}\n")
            with pytest.raises(BridgeError) as full:
                store(root).publish(V2, [NewFile(big.path, os.urandom(10_000))], "More", "batch-2")
            assert full.value.exit_code in (3, 4)
            assert commits(root) == before
        cache.unlink()
        store(root).publish(V2, [big], "More", "batch-2")
        assert (commits(root), status(root)) == (before + 1, "")
        assert store(root).read(V2) == {**contents(1), big.path: big.content}


# ------------------------------------------------------------------------------------ D2, D3: torn, left over


def locked_by(root: Path, pid: int, *, age: float = 0.0) -> Path:
    rwlock = root / ".dvc" / "tmp" / "rwlock"
    rwlock.parent.mkdir(exist_ok=True)
    locked = {"write": {str(root / "data" / "decisions"): {"pid": pid, "cmd": "dvc add"}}, "read": {}}
    rwlock.write_text(json.dumps(locked))
    if age:
        os.utime(rwlock, (rwlock.stat().st_mtime - age,) * 2)
    return rwlock


@pytest.mark.catalogue("D2")
@pytest.mark.parametrize("content", ["", "{", '{"write": {"/x": {"pi', '{"write": []}', "[]"])
def test_a_broken_rwlock_is_set_aside(workspace: Path, content: str) -> None:
    rwlock = locked_by(workspace, 1)
    rwlock.write_text(content)
    store(workspace).check_remote()
    assert not rwlock.exists()


@pytest.mark.catalogue("D2")
def test_a_lock_in_the_name_of_a_process_that_is_something_else_by_now_holds_nobody_up(workspace: Path) -> None:
    locked_by(workspace, 1)  # lives for as long as the machine, or the container, and has nothing to do with DVC
    publish(workspace, 1)
    locked_by(workspace, os.getpid(), age=3600 * 24 * 365)  # it was written before this process began
    publish(workspace, 2)
    assert store(workspace).read(V2) == contents(1, 2)


@pytest.mark.catalogue("D2")
def test_a_lock_that_a_dvc_at_work_holds_is_left_to_it(workspace: Path) -> None:
    (workspace / "wait.sh").write_text("echo $$ > pid; exec sleep 60\n")
    (workspace / "dvc.yaml").write_text("stages:\n  wait:\n    cmd: sh wait.sh\n    outs: [out]\n")
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(workspace / ".hitl" / "dvc-site")}
    with subprocess.Popen([DVC, "repro", "--quiet"], cwd=workspace, env=environment) as by_hand:
        rwlock = workspace / ".dvc" / "tmp" / "rwlock"
        while not (
            (workspace / "pid").exists()
            and (workspace / "pid").read_text()
            and rwlock.exists()
            and str(by_hand.pid) in rwlock.read_text()
        ):
            assert by_hand.poll() is None
        assert is_at_work(by_hand.pid, rwlock.stat().st_mtime, workspace)
        store(workspace).check_remote()
        assert str(by_hand.pid) in rwlock.read_text()
        os.kill(int((workspace / "pid").read_text()), 9)


_LOCK = "schema: '2.0'\nstages:\n  one:\n    cmd: echo one > out\n    outs:\n    - path: out\n      hash: md5\n"


@pytest.fixture
def pipeline(workspace: Path) -> DvcPipeline:
    (workspace / "dvc.yaml").write_text("stages:\n  one:\n    cmd: echo one >> ran; echo one > out\n    outs: [out]\n")
    pipeline = DvcPipeline(workspace, BRANCH)
    pipeline.repro()
    git(workspace, "add", "dvc.yaml", "dvc.lock", ".gitignore")
    git(workspace, "commit", "--quiet", "--message=A pipeline")
    return pipeline


@pytest.mark.catalogue("D2")
@pytest.mark.parametrize("left", [0, 40, 90])
def test_a_torn_dvc_lock_is_brought_back_from_the_branch_and_no_stage_runs_again(
    workspace: Path, pipeline: DvcPipeline, left: int
) -> None:
    lock = workspace / "dvc.lock"
    whole = lock.read_bytes()
    lock.write_bytes(whole[:left])
    assert not pipeline.repro()
    assert lock.read_bytes() == whole
    assert (workspace / "ran").read_text() == "one\n"
    assert (workspace / ".hitl" / "dvc.lock.torn").read_bytes() == whole[:left]


@pytest.mark.catalogue("D2")
def test_a_half_merged_dvc_lock_is_a_person_s_to_settle(workspace: Path, pipeline: DvcPipeline) -> None:
    lock = workspace / "dvc.lock"
    lock.write_text(f"<<<<<<< HEAD\n{_LOCK}=======\n>>>>>>> theirs\n")
    with pytest.raises(RepositoryRefused, match="half merged") as refused:
        pipeline.repro()
    assert "git restore" in refused.value.remedy
    assert lock.read_text().startswith("<<<<<<<")


@pytest.mark.catalogue("D3")
def test_an_index_lock_in_the_user_s_tree_is_named_and_never_removed(workspace: Path) -> None:
    lock = workspace / ".git" / "index.lock"
    lock.touch()
    os.utime(lock, (0, 0))
    with pytest.raises(RepositoryRefused, match=r"index\.lock is there") as refused:
        publish(workspace, 1)
    assert "delete that file" in refused.value.remedy
    assert lock.exists()
    lock.unlink()
    publish(workspace, 1)


@pytest.mark.catalogue("D3")
def test_a_lock_that_a_living_process_holds_open_is_waited_for_and_then_reported(tmp_path: Path) -> None:
    (tmp_path / "refs").mkdir()
    lock = tmp_path / "index.lock"
    with lock.open("w"):
        with pytest.raises(OutsideUnavailable, match=r"holds index\.lock"):
            clear_git_locks(tmp_path, stale_after=0.3)
        assert lock.exists()
    assert clear_git_locks(tmp_path, stale_after=0.0) == [lock]


# ---------------------------------------------------------------------------------- D5: a remote that is half there


class HalfThere:
    """A web server that keeps files, and answers 503 to every second request while `fails`."""

    def __init__(self, folder: Path) -> None:
        self.fails = True
        self.asked = 0
        half = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                half.asked += 1
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) if self.command != "GET" else b""
                if "chunked" in self.headers.get("Transfer-Encoding", ""):
                    body = half.chunks(self.rfile.readline, self.rfile.read)
                target = folder / self.path.lstrip("/")
                if half.fails and half.asked % 2:
                    self.answer(503, b"")
                elif self.command in ("POST", "PUT"):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(body)
                    self.answer(200, b"")
                elif target.is_file():
                    self.answer(200, target.read_bytes())
                else:
                    self.answer(404, b"")

            do_GET = do_HEAD = do_POST = do_PUT = handle_any

            def answer(self, code: int, body: bytes) -> None:
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @staticmethod
    def chunks(line: Callable[[], bytes], read: Callable[[int], bytes]) -> bytes:
        body = b""
        while size := int(line().strip() or b"0", 16):
            body += read(size)
            line()
        line()
        return body


@pytest.fixture
def half_there(tmp_path: Path) -> Iterator[HalfThere]:
    half = HalfThere(tmp_path / "served")
    thread = threading.Thread(target=half.server.serve_forever, daemon=True)
    thread.start()
    yield half
    half.server.shutdown()
    thread.join()
    half.server.server_close()


@pytest.mark.catalogue("D5")
def test_a_remote_that_answers_half_the_time_gets_all_or_there_is_no_commit(workspace: Path, half_there: HalfThere) -> None:
    (workspace / ".dvc" / "config").write_text(f"[core]\n    remote = web\n['remote \"web\"']\n    url = {half_there.url}\n")
    git(workspace, "commit", "--quiet", "--all", "--message=Configure a remote")
    before = commits(workspace)
    try:
        publish(workspace, 1)
    except OutsideUnavailable:
        assert (commits(workspace), status(workspace)) == (before, "")
        half_there.fails = False
        publish(workspace, 1)
    half_there.fails = False
    assert (commits(workspace), status(workspace)) == (before + 1, "")
    shutil.rmtree(workspace / ".dvc" / "cache")
    assert store(workspace).read(V1) == contents(1)
    assert half_there.asked > 4
    report = store(workspace).check_remote()
    assert (report.looked_for, report.missing) == (4, ())
    half_there.server.server_close()
    with pytest.raises(OutsideUnavailable):
        publish(workspace, 2)
    assert (commits(workspace), status(workspace)) == (before + 1, "")


# --------------------------------------------------------------------------------- D6: what a remote has lost


@pytest.mark.catalogue("D6")
def test_a_file_that_the_remote_lost_is_found_though_dvc_says_all_is_well_and_healed(workspace_with_remote: Path) -> None:
    root = workspace_with_remote
    publish(root, 1)
    publish(root, 2)
    sound = store(root).check_remote(deep=True)
    assert (sound.looked_for, sound.is_sound) == (8, True)
    lost = objects(root, 1)["file"]
    on_remote(root, lost).unlink()
    dvc(root, "push", "--quiet")
    assert not on_remote(root, lost).exists()
    found = store(root).check_remote()
    assert (found.missing, found.is_sound, found.healed) == ((lost,), False, ())
    healed = store(root).check_remote(heal=True)
    assert (healed.healed, healed.is_sound) == ((lost,), True)
    shutil.rmtree(root / ".dvc" / "cache")
    assert store(root).read(V2) == contents(1, 2)


@pytest.mark.catalogue("D6")
def test_a_file_and_an_old_listing_that_changed_on_the_remote_are_found_by_reading_them_and_healed(
    workspace_with_remote: Path,
) -> None:
    root = workspace_with_remote
    publish(root, 1)
    listing = objects(root, 1)[""]
    publish(root, 2)
    flipped = objects(root, 1)["file"]
    write_over(on_remote(root, flipped), b"Decisions 1")
    on_remote(root, listing).unlink()
    assert store(root).check_remote().damaged == ()
    found = store(root).check_remote(deep=True)
    assert (found.missing, found.damaged) == ((listing,), (flipped,))
    healed = store(root).check_remote(deep=True, heal=True)
    assert (set(healed.healed), healed.is_sound) == ({listing, flipped}, True)
    assert on_remote(root, flipped).read_bytes() == b"decisions 1"


@pytest.mark.catalogue("D6")
def test_what_is_damaged_here_is_never_put_on_the_remote(workspace_with_remote: Path) -> None:
    root = workspace_with_remote
    publish(root, 1)
    lost = objects(root, 1)["file"]
    on_remote(root, lost).unlink()
    write_over(DvcCache(root).path(lost), b"garbage !!!")
    report = store(root).check_remote(heal=True)
    assert (report.missing, report.lost, report.healed) == ((lost,), (lost,), ())
    assert not on_remote(root, lost).exists()


@pytest.mark.catalogue("D6")
def test_a_version_s_own_file_that_the_remote_holds_damaged_is_replaced_before_the_commit(workspace_with_remote: Path) -> None:
    root = workspace_with_remote
    publish(root, 1)
    name = objects(root, 1)["file"]
    git(root, "tag", "--delete", V1)
    git(root, "reset", "--quiet", "--hard", "HEAD~1")
    shutil.rmtree(root / "data")
    write_over(on_remote(root, name), b"torn")
    publish(root, 1)
    assert on_remote(root, name).read_bytes() == b"decisions 1"


def test_without_a_dvc_remote_there_is_nothing_to_look_at(workspace: Path) -> None:
    publish(workspace, 1)
    assert store(workspace).check_remote().looked_for is None
