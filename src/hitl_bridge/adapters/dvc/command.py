"""Runs the `dvc` command in a workspace, one committer at a time.

The command rather than `dvc.repo`: its exit codes are a contract, its Python API only reads, and its repository object is not
safe between threads. DVC's own locks hold for single commands; ours spans the whole commit.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from hitl_bridge.adapters.dvc.added import ADD_FAILED, PUSH_FAILED, Addition
from hitl_bridge.adapters.dvc.locks import flock, set_rwlock_aside
from hitl_bridge.adapters.git.repository import child_environment, without_credentials
from hitl_bridge.errors import OutsideUnavailable, RepositoryRefused

TAIL_LINES = 15
_COMMANDS = {ADD_FAILED: "add", PUSH_FAILED: "push"}


class DvcFailed(OutsideUnavailable):
    """A `dvc` command failed; `tail` holds its last lines."""

    def __init__(self, command: str, code: int, tail: tuple[str, ...]) -> None:
        self.command = command
        self.code = code
        self.tail = tail
        super().__init__(
            f"`dvc {command}` failed (exit code {code}): {' '.join(tail[-4:])}",
            remedy="Nothing was committed. Mend what DVC names and run the same command again.",
        )


def find_dvc() -> Path:
    """The `dvc` of this Python environment, else the one on the PATH."""
    beside = Path(sys.executable).parent / "dvc"
    found = str(beside) if beside.exists() else shutil.which("dvc")
    if found is None:
        raise RepositoryRefused("dvc is not installed.", remedy="Install it with `pip install dvc` and try again.")
    return Path(found)


def check_dvc(root: Path) -> None:
    """Raises RepositoryRefused where there is no dvc, or no DVC workspace."""
    find_dvc()
    if not (root / ".dvc").is_dir():
        raise RepositoryRefused(f"{root} is no DVC workspace.", remedy="Run `dvc init` there, or `hitl-bridge init`.")


@dataclass(frozen=True, slots=True)
class RemoteRequest:
    """Removes objects from the remote, uploads objects of the cache one by one, and then looks for what is `expected` (size
    in bytes by name; None: any). `deep` reads each of these and hashes it; of `read` the text is wanted."""

    expected: Mapping[str, int | None] = field(default_factory=dict)
    remove: Sequence[str] = ()
    upload: Sequence[str] = ()
    read: Sequence[str] = ()
    deep: bool = False


@dataclass(frozen=True, slots=True)
class RemoteAnswer:
    """Names of objects that are not on the remote, and of those that are something else there; the texts that were wanted."""

    missing: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Brought:
    """Size by name of the objects that a version brings, and what of them the remote lacks or holds otherwise."""

    sizes: Mapping[str, int]
    found: RemoteAnswer = field(default_factory=RemoteAnswer)


@dataclass(frozen=True, slots=True)
class DvcCommand:
    """`dvc` in the workspace `root`, under the lock whose file descriptor is `lock`.

    Each child inherits the descriptor: were we killed, the lock would hold for as long as a child still works.
    """

    root: Path
    lock: int
    _ready: list[subprocess.Popen[str]] = field(default_factory=list, compare=False)

    def get_ready(self) -> None:
        """Starts the process in which `add` will run: while it loads DVC there are other things to do."""
        self._ready.append(self._start([*_child_command(), "-"], subprocess.PIPE))

    def stand_down(self) -> None:
        """Ends what was started and not needed."""
        while self._ready:
            _end(self._ready.pop())

    def at(self, root: Path) -> DvcCommand:
        """In another working tree, under the same lock."""
        return replace(self, root=root)

    def forget_locks(self) -> None:
        """In a working tree that is ours alone: what DVC's lock says under our lock, a killed `dvc` said."""
        (self.root / ".dvc" / "tmp" / "rwlock").unlink(missing_ok=True)

    def run(self, *arguments: str) -> None:
        """Raises DvcFailed."""
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        code = self.stream(arguments, tail.append)
        if code:
            raise DvcFailed(arguments[0], code, tuple(tail))

    def stream(self, arguments: tuple[str, ...], each_line: Callable[[str], None]) -> int:
        """Runs to the end, handing on each line as it comes (standard output and error together); returns the exit code."""
        return self._stream([str(find_dvc()), *arguments], each_line)

    def add(self, addition: Addition) -> Brought:
        """`dvc add`, a look at what it made, and the upload: one process, because loading DVC takes longer than all of these.

        Raises DvcFailed, and RepositoryRefused where DVC cached something else than was meant.
        """
        answer = self._child("add", asdict(addition))
        if answer.get("refused"):
            message, remedy = answer["refused"]
            raise RepositoryRefused(message, remedy=remedy)
        return Brought(answer["sizes"], _remote_answer(answer))

    def upload(self, addition: Addition, sizes: Mapping[str, int]) -> Brought:
        """The upload alone, of what is in the cache as `add` would have put it there (`sizes`: of what is new, by name).

        Raises DvcFailed.
        """
        request = {"directories": addition.directories, "listings": addition.listings, "sizes": sizes}
        return Brought(sizes, _remote_answer(self._child("upload", request)))

    def on_remote(self, request: RemoteRequest) -> RemoteAnswer:
        """Looks at the default remote, and changes what is asked for there. Raises DvcFailed where it is away."""
        return _remote_answer(self._child("remote", asdict(request)))

    def _child(self, task: str, request: Mapping[str, object]) -> Mapping[str, Any]:
        """What `adapters.dvc.child` answers."""
        file = self.root / ".hitl" / "remote.json"
        answer = file.with_suffix(".answer")
        answer.unlink(missing_ok=True)
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({"task": task, **request}), encoding="utf-8")
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        if self._ready:
            process = self._ready.pop()
            _tell(process, f"{file.absolute()}\n")
            code = _listen(process, tail.append)
        else:
            code = self._stream([*_child_command(), str(file.absolute())], tail.append)
        if code or not answer.exists():
            raise DvcFailed(_COMMANDS.get(code, "status --cloud"), code, tuple(tail))
        answered: Mapping[str, Any] = json.loads(answer.read_bytes())
        return answered

    def _stream(self, command: list[str], each_line: Callable[[str], None]) -> int:
        return _listen(self._start(command, subprocess.DEVNULL), each_line)

    def _start(self, command: list[str], stdin: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            cwd=self.root,
            env=_environment(self.root),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(self.lock,),
            start_new_session=True,
            text=True,
            errors="replace",
        )


def _child_command() -> list[str]:
    # -P: what lies in the workspace must not be taken for a module of ours.
    return [sys.executable, "-P", "-m", "hitl_bridge.adapters.dvc.child"]


def _tell(process: subprocess.Popen[str], line: str) -> None:
    with suppress(BrokenPipeError):  # it has ended: what it said tells why
        if process.stdin is not None:
            process.stdin.write(line)
            process.stdin.close()


def _listen(process: subprocess.Popen[str], each_line: Callable[[str], None]) -> int:
    try:
        for line in process.stdout or ():
            if line.strip():
                each_line(without_credentials(line.rstrip()))
        return process.wait()
    finally:
        _end(process)


def _remote_answer(found: Mapping[str, Any]) -> RemoteAnswer:
    return RemoteAnswer(tuple(found["missing"]), tuple(found["damaged"]), found["listings"])


@contextmanager
def locked_dvc(root: Path, name: str, patience: float) -> Iterator[DvcCommand]:
    """Holds `.hitl/<name>.lock`; raises OutsideUnavailable where another holds it for more than `patience` seconds."""
    state = root / ".hitl"
    state.mkdir(exist_ok=True)
    with (state / f"{name}.lock").open("a") as lock:
        if not flock(lock.fileno(), patience):
            raise OutsideUnavailable(
                f"Another {name} is running in {root}.", remedy="Run the command again when it has finished."
            )
        set_rwlock_aside(root)
        dvc = DvcCommand(root, lock.fileno())
        try:
            yield dvc
        finally:
            dvc.stand_down()


def _environment(root: Path) -> dict[str, str]:
    """Stages say `python -m hitl_bridge.stages.…`: that must be this environment's Python.

    DVC's index of files is shared by all repositories of a machine unless it is told otherwise (`DVC_SITE_CACHE_DIR`).
    """
    inherited = child_environment()
    return inherited | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)]),
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str((root / ".hitl" / "dvc-site").absolute()),
        "PYTHONUNBUFFERED": "1",
    }


def _end(process: subprocess.Popen[str]) -> None:
    """Where we leave before the child has ended (Ctrl-C, an error in the caller's callback), its whole group goes too."""
    if process.stdout is not None:
        process.stdout.close()
    if process.poll() is None:
        os.killpg(process.pid, 15)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
