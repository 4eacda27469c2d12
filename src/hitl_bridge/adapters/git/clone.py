"""A clone of the bridge's own (`.hitl/clone`), in which dataset versions are committed and from which they are pushed.

It is made from the workspace's git remote when it is first needed and put to where the remote is before each use: whatever
was committed in it and never pushed is forgotten, and whatever a crash left in it is cleared away. So it can be deleted at any
time. Nothing is ever forced upon the remote, and the user's own working tree is only read.
"""

from __future__ import annotations

import re
import subprocess
from functools import cached_property
from pathlib import Path

from hitl_bridge.adapters.dvc.files import write_durably
from hitl_bridge.adapters.git.remotely import remotely
from hitl_bridge.adapters.git.repository import GitRepository, said
from hitl_bridge.adapters.leftovers import clear_git_locks
from hitl_bridge.errors import OutsideUnavailable, RepositoryRefused

_NAME = "bridge"  # what the clone calls its remote
_BASE = "refs/hitl-bridge/base"
_CARRIED_FILE = "hitl-bridge.config"
# Settings of the workspace alone that the clone needs too: whose commits these are, how they are signed, how to reach the remote.
_CARRIED = re.compile(
    r"(?:user|author|committer|gpg|credential|http|https|ssh|url|protocol)\.|commit\.gpgsign|tag\.gpgsign|core\.sshcommand"
)
_OURS = (("gc.autodetach", "false"), ("core.autocrlf", "false"), ("core.fsmonitor", "false"))
_RACES = re.compile(
    rb"\[rejected\]|atomic|cannot lock ref|failed to update ref|incorrect old value|reference already exists|stale info"
)


class PrivateClone:
    """The clone of `remote` (the name of one of the workspace's remotes, or an address) for `branch`.

    Whoever changes it holds the workspace's commit lock. Raises OutsideUnavailable where the remote is away (nothing was
    done), RepositoryRefused where a person has to decide.
    """

    def __init__(self, workspace: Path, branch: str, remote: str, tags: str) -> None:
        """`tags`: what the tags start with that belong to us."""
        self.top = workspace / ".hitl" / "clone"
        self._workspace = workspace
        self._theirs = GitRepository(workspace, branch)
        self._git = GitRepository(self.top, branch)
        self._branch = branch
        self._remote = remote
        self._tags = tags

    @property
    def is_there(self) -> bool:
        return (self.top / ".git" / _CARRIED_FILE).is_file() and (self.root / ".dvc").is_dir()

    @cached_property
    def root(self) -> Path:
        """The folder in the clone that stands for the workspace, which may be a folder of its repository."""
        return self.top / self._theirs.output("rev-parse", "--show-prefix").decode().strip()

    @cached_property
    def git(self) -> GitRepository:
        return GitRepository(self.root, self._branch)

    # --------------------------------------------------------------------------------- to where the remote is

    def refresh(self) -> None:
        """Fetches, and puts branch, tags and working tree to where the remote has them."""
        self._make()
        self._fetch()
        self._check_nothing_unpublished()
        self._put_at(self._git.resolve(f"refs/remotes/{_NAME}/{self._branch}") or self._first_base())
        if not (self.root / ".dvc").is_dir():
            raise RepositoryRefused(
                f"Branch {self._branch!r} of the git remote holds no DVC workspace.",
                remedy=f"Commit `.dvc` (made by `dvc init`) on {self._branch!r} and push it.",
            )

    def _make(self) -> None:
        self._check_workspace()
        git_dir = self.top / ".git"
        self.top.mkdir(parents=True, exist_ok=True, mode=0o700)
        if git_dir.is_dir():
            clear_git_locks(git_dir)
        if not (git_dir / _CARRIED_FILE).is_file():  # written last: what a crash cut short is done again
            self._git.output("init", "--quiet", "--template=", f"--initial-branch={self._branch}")
            self._git.output("config", "--replace-all", "include.path", _CARRIED_FILE)
        self._configure(git_dir / _CARRIED_FILE)

    def _check_workspace(self) -> None:
        found = self._theirs.run("rev-parse", "--is-inside-work-tree")
        if found.returncode:
            raise RepositoryRefused(
                f"{self._workspace} is not the working tree of a git repository: {said(found)}",
                remedy="Start the bridge in the workspace, a clone of the remote that hitl.yaml names.",
            )

    def _configure(self, file: Path) -> None:
        """In a file, for addresses can carry a password and command lines are seen by everybody."""
        settings = [*_OURS, *self._addresses(), *self._carried()]
        written = "".join(_as_section(key, value) for key, value in settings).encode()
        if not file.is_file() or file.read_bytes() != written:
            write_durably(file, written)  # in a folder that nobody else can enter

    def _addresses(self) -> list[tuple[str, str]]:
        fetched, pushed = self._remote, self._remote
        if self._theirs.run("config", "--get", f"remote.{self._remote}.url").returncode == 0:
            fetched = self._theirs.output("remote", "get-url", self._remote).decode().strip()
            pushed = self._theirs.output("remote", "get-url", "--push", self._remote).decode().strip()
        elif not re.search(r"[/:\\]", self._remote):
            raise RepositoryRefused(
                f"{self._workspace} has no git remote named {self._remote!r}, which hitl.yaml gives as `git.remote`.",
                remedy=f"Run `git remote add {self._remote} …`, or name another one in hitl.yaml.",
            )
        return [(f"remote.{_NAME}.url", self._anchored(fetched)), (f"remote.{_NAME}.pushurl", self._anchored(pushed))]

    def _anchored(self, address: str) -> str:
        """A relative path counts from the top of the workspace's repository, as git counts it."""
        is_path = "://" not in address and not re.match(r"[^/]*:", address)
        return str((self._workspace_top / address).resolve()) if is_path else address

    @cached_property
    def _workspace_top(self) -> Path:
        return Path(self._theirs.output("rev-parse", "--show-toplevel").decode().rstrip("\n"))

    def _carried(self) -> list[tuple[str, str]]:
        listed = self._theirs.output("config", "--local", "--includes", "--null", "--list").decode().split("\0")
        pairs = [entry.partition("\n") for entry in listed if entry]
        return [(key, value if equals else "true") for key, equals, value in pairs if _CARRIED.match(key)]

    def _fetch(self) -> None:
        """One refspec with a star each: a branch that is not there yet is no error, and what is gone there goes here."""
        refs = (
            f"+refs/heads/{self._branch}*:refs/remotes/{_NAME}/{self._branch}*",
            f"+refs/tags/{self._tags}*:refs/tags/{self._tags}*",
        )
        done = self._remotely("fetch", "--quiet", "--prune", "--no-tags", "--no-write-fetch-head", _NAME, *refs)
        if done.returncode:
            raise self._away("could not be reached", done)

    def _check_nothing_unpublished(self) -> None:
        """Versions that were committed before there was a remote: numbers would be given twice."""
        unknown = sorted(set(self._theirs.tags(self._tags)) - set(self._git.tags(self._tags)))
        if unknown:
            raise RepositoryRefused(
                f"{unknown[0]} is in {self._workspace} and not on its git remote.",
                remedy=f"Push what is there first: `git push {self._pushed_to()} {self._branch} 'refs/tags/{self._tags}*'`.",
            )

    def _pushed_to(self) -> str:
        return self._remote if "://" not in self._remote else "REMOTE"

    def _first_base(self) -> str:
        """What a branch that the remote does not have yet begins with: the workspace's branch of that name, else what the
        remote shows first, else the workspace's HEAD."""
        here = str(self._workspace_top)
        choices = [(here, f"refs/heads/{self._branch}"), (_NAME, "HEAD"), (here, "HEAD")]
        for source, ref in choices:
            fetched = self._remotely("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", source, f"+{ref}:{_BASE}")
            commit = None if fetched.returncode else self._git.resolve(_BASE)
            if commit is not None:
                return commit
        raise RepositoryRefused(f"{self._workspace} has no commit yet.", remedy="Make a first commit by hand.")

    def _put_at(self, commit: str) -> None:
        self._git.output("symbolic-ref", "HEAD", f"refs/heads/{self._branch}")
        self._git.output("reset", "--quiet", "--hard", commit)
        self._git.output("clean", "--quiet", "-d", "--force")  # what git ignores, the data among it, stays

    # ---------------------------------------------------------------------------------------------- publishing

    def push(self, tag: str) -> bool:
        """Branch and tag together or neither, without force; False where somebody else was faster."""
        refs = (f"refs/heads/{self._branch}", f"refs/tags/{tag}")
        done = self._remotely("push", "--porcelain", "--atomic", "--no-verify", _NAME, *(f"{ref}:{ref}" for ref in refs))
        if done.returncode == 0:
            return True
        refusals = [line for line in done.stdout.splitlines() if line.startswith(b"!")]
        if not refusals:
            raise self._away("did not take the version", done)
        if all(_RACES.search(line) for line in refusals):
            return False
        raise RepositoryRefused(
            f"The git remote refuses {tag}: {said(done)}",
            remedy=f"Allow the bridge to push {self._branch!r} and tags {self._tags}*, then run the same command again.",
        )

    def _away(self, what: str, done: subprocess.CompletedProcess[bytes]) -> OutsideUnavailable:
        return OutsideUnavailable(
            f"The git remote of the dataset versions {what}: {said(done)}",
            remedy="What was decided is safe. Run the same command again when `git ls-remote` can reach it.",
        )

    def _remotely(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return remotely(self.top, *arguments)


def _as_section(key: str, value: str) -> str:
    """One setting as git writes it into a file."""
    section, _, rest = key.partition(".")
    within, _, name = rest.rpartition(".")
    heading = f'[{section} "{_escaped(within)}"]' if within else f"[{section}]"
    return f'{heading}\n\t{name} = "{_escaped(value)}"\n'.replace("\n\n", "\n")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
