"""The embedded Label Studio on disk: its virtual environment, and a database that is migrated already.

Both are dear (a gigabyte and minutes; then three quarters of a minute) and the same for every workspace, so they
live in a cache that the user's workspaces share. Neither holds a secret or an account: those belong to a workspace.

Label Studio pins libraries that must not decide ours, hence an environment of its own, from its own lock file.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hitl_bridge.errors import OutsideUnavailable, UsageError

VERSION = "1.23.2"
LOCK = Path(__file__).with_name("label-studio.lock")
FIRST_PYTHON_WITHOUT_IT = (3, 14)  # the numpy that it pins has no wheel for this Python
BUILD_TOOLS = ("setuptools", "wheel", "packaging")
LINES_SHOWN = 15

Progress = Callable[[str], None]

INHERITED = (
    *("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
)

QUIET = {
    "LABEL_STUDIO_COLLECT_ANALYTICS": "false",
    "LABEL_STUDIO_LATEST_VERSION_CHECK": "false",
    "LABEL_STUDIO_SENTRY_DSN": "",
    "LABEL_STUDIO_FRONTEND_SENTRY_DSN": "",
    "LABEL_STUDIO_FEATURE_FLAGS_OFFLINE": "true",
    "PYTHONUNBUFFERED": "1",
}


class InstallationFailed(OutsideUnavailable):
    """The virtual environment or the empty database of Label Studio could not be made."""

    def __init__(self, step: str, last_lines: tuple[str, ...]) -> None:
        self.step = step
        self.last_lines = last_lines
        said = "\n".join(f"  {line}" for line in last_lines)
        super().__init__(
            f"Label Studio {VERSION} could not be installed: {step} failed.\n{said}",
            remedy="Check that the package index can be reached and that 1.5 GB are free, then run the same command "
            "again: it starts over by itself.",
        )


class PythonTooNew(UsageError):
    """Label Studio pins libraries that do not exist for the Python that runs us."""

    def __init__(self, python: str) -> None:
        self.python = python
        super().__init__(
            f"Label Studio {VERSION} can't be installed with Python {python}.",
            remedy="Run the bridge with Python 3.11, 3.12 or 3.13, or use a Label Studio that runs elsewhere.",
        )


@dataclass(frozen=True, slots=True)
class Installation:
    """A Label Studio that can be started: its virtual environment and its migrated, empty database."""

    environment: Path
    version: str
    template: Path

    @property
    def python(self) -> Path:
        return self.environment / "bin" / "python"

    @property
    def command(self) -> Path:
        return self.environment / "bin" / "label-studio"


def silent(message: str) -> None:
    """The progress callback of a caller who does not want to hear of it."""


def ready_installation(cache: Path, progress: Progress = silent) -> Installation:
    """The installation in `cache`, made first where it is missing or was interrupted."""
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / "install.lock", progress, "another process is installing Label Studio: waiting for it") as lock:
        environment = own_environment(cache, lock, progress)
        installation = Installation(environment, VERSION, cache / f"template-{VERSION}" / "label_studio.sqlite3")
        if not installation.template.exists():
            make_template(installation, lock, progress)
    return installation


@contextmanager
def locked(path: Path, progress: Progress, waiting: str) -> Iterator[int]:
    """Hold `path` alone, across threads and processes. The system lets go of it when the holder dies.

    Yields the descriptor: a child process that inherits it goes on holding the lock if we are killed.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(waiting)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def own_environment(cache: Path, lock: int, progress: Progress) -> Path:
    """Our own virtual environment. It is whole only when its stamp is there: that is written last.

    A changed lock file gives a folder of its own, because a server may be running out of the old one.
    """
    fingerprint = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:8]
    environment = cache / f"label-studio-{VERSION}-{fingerprint}"
    stamp = environment / ".complete"
    if stamp.exists() and (environment / "bin" / "python").exists():
        return environment
    if sys.version_info[:2] >= FIRST_PYTHON_WITHOUT_IT:
        raise PythonTooNew(sys.version.split()[0])
    install(environment, lock, progress)
    stamp.write_text(f"{VERSION}\n")
    return environment


def install(environment: Path, lock: int, progress: Progress) -> None:
    progress(f"installing Label Studio {VERSION} (once, about 1 GB)")
    if environment.exists():
        shutil.rmtree(environment)
    carry_out("venv", [sys.executable, "-m", "venv", str(environment)], lock, silent)
    tools = environment / "build-tools.txt"
    tools.write_text(pinned(LOCK.read_text(), BUILD_TOOLS))
    # Five packages come as source only. Their build tools are pinned as well: pip would fetch any in isolation.
    carry_out("build tools", [*pip_install(environment), "--only-binary", ":all:", "-r", str(tools)], lock, silent)
    packages = [*pip_install(environment), "--no-build-isolation", "--prefer-binary", "-r", str(LOCK)]
    carry_out("packages", packages, lock, package_counter(progress))


def pip_install(environment: Path) -> list[str]:
    """Compiling is left to Python: most of the modules are never imported."""
    python = str(environment / "bin" / "python")
    quiet = ["--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    return [python, "-m", "pip", "install", "--require-hashes", "--no-compile", *quiet]


def pinned(lock: str, names: tuple[str, ...]) -> str:
    """The requirements of `names` out of a lock file, hashes included."""
    requirements = re.split(r"^(?=\S)", lock, flags=re.MULTILINE)
    return "".join(each for each in requirements if re.split(r"[=\s]", each, maxsplit=1)[0] in names)


def package_counter(progress: Progress) -> Progress:
    total = len(re.findall(r"^[a-z0-9].*==", LOCK.read_text(), flags=re.MULTILINE))
    seen = 0

    def hear(line: str) -> None:
        nonlocal seen
        if line.startswith(("Collecting ", "Processing ")):
            seen += 1
            progress(f"installing Label Studio {VERSION}: package {seen} of {total}")
        elif line.startswith("Installing collected packages"):
            progress(f"installing Label Studio {VERSION}: unpacking {seen} packages")

    return hear


def make_template(installation: Installation, lock: int, progress: Progress) -> None:
    """Migrate an empty database once, before there is any account or key, for all workspaces to copy."""
    progress("preparing an empty Label Studio database (once, about a minute)")
    folder = installation.template.parent
    if folder.exists():  # what an interrupted one left
        shutil.rmtree(folder)
    folder.mkdir()
    with tempfile.TemporaryDirectory(dir=folder, prefix="making-") as made:
        variables = server_variables(Path(made)) | {"SECRET_KEY": "signs nothing: the database is made without accounts"}
        carry_out("migration", migration(installation), lock, migration_counter(progress), variables)
        (Path(made) / installation.template.name).replace(installation.template)


def migration(installation: Installation) -> list[str]:
    [manage] = installation.environment.glob("lib/python*/site-packages/label_studio/manage.py")
    return [str(installation.python), str(manage), "migrate", "--no-color"]


def migration_counter(progress: Progress) -> Progress:
    done = 0

    def hear(line: str) -> None:
        nonlocal done
        if line.strip().startswith("Applying "):
            done += 1
            progress(f"preparing an empty Label Studio database: {done} migrations")

    return hear


def server_variables(data: Path) -> dict[str, str]:
    """What any Label Studio process of ours is started with, and nothing else of the caller's environment.

    Label Studio reads a hundred plain names (HOST, PORT, USERNAME, PASSWORD, DATABASE_NAME …), each in three
    spellings: whatever the user's shell happens to hold must not reach it.
    """
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return inherited | QUIET | {"LABEL_STUDIO_BASE_DATA_DIR": str(data)}


def carry_out(step: str, command: list[str], lock: int, hear: Progress, variables: Mapping[str, str] | None = None) -> None:
    """Run a command to its end, line by line; if it fails, say what its last lines were."""
    last: deque[str] = deque(maxlen=LINES_SHOWN)
    with subprocess.Popen(
        command,
        env=variables,
        pass_fds=(lock,),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            last.append(line.rstrip())
            hear(line)
    if process.returncode != 0:
        raise InstallationFailed(step, tuple(last))
