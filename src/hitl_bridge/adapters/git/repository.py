"""Commits chosen paths on one branch of a git repository and leaves alone whatever else its user has under way.

A commit is made beside the user's index, not through it: HEAD's tree is read into an index of our own, only our paths are
updated there, and the branch is moved by compare-and-swap (`git update-ref` with the old value). Staged changes, edits and
untracked files of the user stay exactly as they are; afterwards their index agrees with the commit for our paths only.

Hooks are not run: a commit of data is no commit of code, and a hook that asks or fails would leave it half done. `user.name`,
`user.email`, `commit.gpgsign` and `tag.gpgsign` are honoured.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from hitl_bridge.adapters.clock import SystemClock
from hitl_bridge.errors import RepositoryRefused

# What `git rev-parse --local-env-vars` lists: inside a git hook these point every git command at the hook's repository.
_REDIRECTIONS = frozenset(
    {"GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_CONFIG", "GIT_CONFIG_COUNT", "GIT_CONFIG_PARAMETERS"}
    | {"GIT_DIR", "GIT_GRAFT_FILE", "GIT_IMPLICIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_NO_REPLACE_OBJECTS"}
    | {"GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_REPLACE_REF_BASE", "GIT_SHALLOW_FILE", "GIT_WORK_TREE"}
)
SETTINGS = (
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "user.useConfigOnly=true"),  # an identity guessed from the host's name is none
    *("-c", "core.fsync=committed,reference"),  # git's default leaves loose objects to the operating system
    *("-c", "core.quotePath=false"),
)
_UNDER_WAY = {
    "MERGE_HEAD": "merge",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
}
_SWAP_ATTEMPTS = 5
_LOCK_ATTEMPTS = 20
_LOCK_PAUSE = 0.1  # seconds


def child_environment() -> dict[str, str]:
    """What git and DVC see of our environment: nothing that redirects git, and none of our secrets."""
    return {name: value for name, value in os.environ.items() if name not in _REDIRECTIONS and not name.startswith("HITL_")}


def git_environment() -> dict[str, str]:
    """For commands of ours: English, never asking, no locks that are not needed, paths taken as they are written."""
    return child_environment() | {
        "LC_ALL": "C.UTF-8",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_LITERAL_PATHSPECS": "1",
    }


def without_credentials(text: str) -> str:
    """Addresses in the messages of git and DVC can carry a name and a password."""
    return re.sub(r"://[^/@\s]+@", "://***@", text)


class GitRepository:
    """The working tree at `root` (a repository's top or a folder in it); commits go to `branch` and nowhere else."""

    def __init__(self, root: Path, branch: str) -> None:
        self._root = root
        self._branch = branch
        self._ref = f"refs/heads/{branch}"
        self._clock = SystemClock()

    # ------------------------------------------------------------------------------------------ may we commit?

    def check(self) -> None:
        """Raises RepositoryRefused unless a commit could be made now. Touches nothing."""
        self._check_repository()
        self._check_branch()
        self._check_nothing_under_way()
        self._check_identity()
        self._check_index_is_free()

    def _check_repository(self) -> None:
        if shutil.which("git") is None:
            raise RepositoryRefused("git is not installed.", remedy="Install git and run the command again.")
        found = self.run("rev-parse", "--is-inside-work-tree")
        if found.returncode or found.stdout.strip() != b"true":
            raise RepositoryRefused(
                f"{self._root} is not the working tree of a git repository: {said(found)}",
                remedy=f"Run `git init -b {self._branch}` there, or start the bridge in the workspace.",
            )

    def _check_branch(self) -> None:
        found = self.run("symbolic-ref", "--quiet", "--short", "HEAD")
        here = found.stdout.decode().strip()
        if found.returncode:
            raise RepositoryRefused(
                f"HEAD is detached in {self._root}; dataset versions are committed on {self._branch!r} only.",
                remedy=f"Run `{self._switch()}`.",
            )
        if here != self._branch:
            raise RepositoryRefused(
                f"Branch {here!r} is checked out in {self._root}; dataset versions are committed on {self._branch!r} only.",
                remedy=f"Run `{self._switch()}`, or give the bridge a clone of its own.",
            )
        if self.resolve(self._ref) is None:
            raise RepositoryRefused(f"Branch {self._branch!r} has no commit yet.", remedy="Make a first commit by hand.")

    def _switch(self) -> str:
        """The command that checks the branch out, whether it is there yet or not."""
        create = "" if self.resolve(self._ref) else "-c "
        return f"git switch {create}{self._branch}"

    def _check_nothing_under_way(self) -> None:
        paths = self.output("rev-parse", *(each for name in _UNDER_WAY for each in ("--git-path", name))).decode().splitlines()
        for what, path in zip(_UNDER_WAY.values(), paths, strict=True):
            if (self._root / path).exists():
                raise RepositoryRefused(
                    f"A {what} is under way in {self._root}.",
                    remedy=f"Finish it, or give it up with `git {what} --abort`.",
                )
        if self.output("ls-files", "--unmerged"):
            raise RepositoryRefused(f"There are unmerged paths in {self._root}.", remedy="Settle them; see `git status`.")

    def _check_identity(self) -> None:
        for who in ("GIT_AUTHOR_IDENT", "GIT_COMMITTER_IDENT"):
            if self.run("var", who).returncode:
                raise RepositoryRefused(
                    "git does not know whose commits these would be.",
                    remedy="Set them with `git config user.name …` and `git config user.email …`.",
                )

    def _check_index_is_free(self) -> None:
        lock = self.git_path("index.lock")
        for _ in range(_LOCK_ATTEMPTS):
            if not lock.exists():
                return
            self._clock.sleep(_LOCK_PAUSE)
        raise RepositoryRefused(
            f"{lock} is there: another git command is running in {self._root}, or one was killed.",
            remedy="If no git command is running there, delete that file and run the command again.",
        )

    # ------------------------------------------------------------------------------------------------- reading

    def head(self) -> str:
        """The commit that the branch points at."""
        return self.output("rev-parse", "--verify", self._ref).decode().strip()

    def content(self, revision: str, path: str) -> bytes | None:
        """A file as `revision` has it; None if it has none."""
        found = self.run("cat-file", "blob", f"{revision}:./{path}")  # the path counts from here, not from the top
        if found.returncode and self._in_tree(revision, [path]):
            return self.output("cat-file", "blob", f"{revision}:./{path}")  # it is there: git says what is wrong
        return None if found.returncode else found.stdout

    def edited(self, paths: Sequence[str]) -> list[str]:
        """Those of `paths` (files) that are not in the working tree or the index as the branch has them."""
        committed, staged, written = self._in_tree(self._ref, paths), self._in_index(paths), self._in_working_tree(paths)
        return [path for path in paths if len({view.get(path) for view in (committed, staged, written)}) > 1]

    def committer(self) -> str:
        """`Name <address>`."""
        self._check_identity()
        return self.output("var", "GIT_COMMITTER_IDENT").decode().rpartition(">")[0] + ">"

    def find_commit(self, trailer: str, value: str) -> str | None:
        """The latest commit on the branch that carries `trailer: value`."""
        # rev-list and not log: no setting of the user's changes what it prints.
        pattern = (f"--format=%(trailers:key={trailer},valueonly)", "--fixed-strings", f"--grep={trailer}: {value}")
        commit = None
        for line in self.output("rev-list", *pattern, self._ref).decode().splitlines():
            if line == value and commit is not None:
                return commit
            if re.fullmatch(r"commit [0-9a-f]{40,64}", line):
                commit = line.removeprefix("commit ")
        return None

    def tags(self, prefix: str) -> list[str]:
        return self.output("for-each-ref", "--format=%(refname:strip=2)", f"refs/tags/{prefix}*").decode().splitlines()

    def tags_at(self, commit: str, prefix: str) -> list[str]:
        pointing = f"--points-at={commit}"
        return self.output("for-each-ref", "--format=%(refname:strip=2)", pointing, f"refs/tags/{prefix}*").decode().split()

    def trailers_of_tagged(self, prefix: str, key: str) -> dict[str, str]:
        """What the trailer `key` says in the commit that each tag `prefix…` names; tags whose commit has none are left out."""
        wanted = f"trailers:key={key},valueonly"
        # An annotated tag says with `*` what its commit holds; one that is not names the commit itself.
        shape = f"%(refname:strip=2)%00%(if)%(*objectname)%(then)%(*{wanted})%(else)%({wanted})%(end)%00"
        listed = self.output("for-each-ref", f"--format={shape}", f"refs/tags/{prefix}*").decode().split("\0")
        pairs = zip(listed[0::2], listed[1::2], strict=False)
        return {tag.strip(): value.strip() for tag, value in pairs if value.strip()}

    def tagged(self, tag: str) -> str | None:
        """The commit that `tag` names."""
        return self.resolve(f"refs/tags/{tag}")

    # ------------------------------------------------------------------------------------------------- writing

    def commit(self, paths: Sequence[str], message: str, *, base: str | None = None) -> str:
        """Commits `paths` (files, as they lie in the working tree; deleted ones as deletions) on the branch.

        Where the branch moved since `base` the commit is built on what it is now, unless these paths moved with it.
        """
        for _ in range(_SWAP_ATTEMPTS):
            self._check_branch()
            parent = self.head()
            if base is not None:
                self._check_unmoved(base, parent, paths)
            commit = self._commit_tree(self._tree_with(parent, paths), parent, message)
            # The user's index first: were we killed in between, their next commit would hold our files, not undo them.
            self.stage(paths)
            if self._advance(parent, commit):
                return commit
        raise RepositoryRefused(f"Branch {self._branch!r} keeps moving.", remedy="Run the command again when it is quiet.")

    def commit_if_changed(self, paths: Sequence[str], message: str) -> str | None:
        """Like `commit`, of files and of whole folders (what git ignores in them excepted); None if nothing changed."""
        files = [file for path in paths for file in self._files_at(path)]
        head = self.head()
        if not files or self._tree_with(head, files) == self._resolve_tree(head):
            return None
        return self.commit(files, message)

    def stage(self, paths: Sequence[str]) -> None:
        """Makes the user's index agree with the working tree, for `paths` only."""
        self._check_index_is_free()
        self.output("update-index", "--add", "--remove", "-z", "--stdin", stdin="\0".join(paths).encode())

    def tag(self, name: str, commit: str, message: str) -> None:
        """An annotated tag. A tag that is there already is never moved: RepositoryRefused."""
        self.output("tag", "--annotate", "--file=-", name, commit, stdin=message.encode())

    def _tree_with(self, parent: str, paths: Sequence[str]) -> str:
        """HEAD's tree with `paths` as they are in the working tree, built in an index of our own."""
        with tempfile.TemporaryDirectory(dir=self.git_path("."), prefix="hitl-bridge-") as scratch:
            index = Path(scratch) / "index"
            self.output("read-tree", parent, index=index)
            listed = "\0".join(paths).encode()
            self.output("update-index", "--add", "--remove", "-z", "--stdin", stdin=listed, index=index)
            return self.output("write-tree", index=index).decode().strip()

    def _commit_tree(self, tree: str, parent: str, message: str) -> str:
        wanted = self.run("config", "--type=bool", "commit.gpgsign").stdout.strip() == b"true"
        signing = ("-S",) if wanted else ()
        return self.output("commit-tree", *signing, "-p", parent, "-F", "-", tree, stdin=message.encode()).decode().strip()

    def _advance(self, parent: str, commit: str) -> bool:
        """Moves the branch from `parent` to `commit`; False where somebody else moved it first."""
        done = self.run("update-ref", "-m", "commit: hitl-bridge", self._ref, commit, parent)
        if done.returncode and self.head() == parent:
            raise RepositoryRefused(f"git could not move {self._branch!r}: {said(done)}", remedy="Mend that and try again.")
        return done.returncode == 0

    def _check_unmoved(self, base: str, parent: str, paths: Sequence[str]) -> None:
        if base != parent and self._in_tree(base, paths) != self._in_tree(parent, paths):
            raise RepositoryRefused(
                f"Somebody else committed {', '.join(paths)} on {self._branch!r} meanwhile.",
                remedy="Run the command again; nothing was committed.",
            )

    # ------------------------------------------------------------------------------------- what lies where

    def _in_tree(self, revision: str, paths: Sequence[str]) -> Mapping[str, str]:
        """Blob ids by path."""
        entries = self.output("ls-tree", "-z", revision, "--", *paths)
        return {path: meta.split()[2] for meta, path in _entries(entries) if meta.split()[1] == "blob"}

    def _in_index(self, paths: Sequence[str]) -> Mapping[str, str]:
        return {path: meta.split()[1] for meta, path in _entries(self.output("ls-files", "-z", "--stage", "--", *paths))}

    def _in_working_tree(self, paths: Sequence[str]) -> Mapping[str, str]:
        there = [path for path in paths if (self._root / path).is_file()]
        # As arguments: paths on its standard input are taken from the repository's top, not from here.
        blobs = self.output("hash-object", "--", *there)
        return dict(zip(there, blobs.decode().split(), strict=True))

    def _files_at(self, path: str) -> list[str]:
        """The files that `path` stands for: itself, or what is in the folder (deleted but tracked files too)."""
        check_inside(self._root, path)
        known = self.output("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", path).decode()
        files = [file for file in known.split("\0") if file]
        if (self._root / path).is_file():
            return [path]  # asked for by name: committed even where a rule ignores it
        return files

    # ----------------------------------------------------------------------------------------- running git

    def resolve(self, name: str) -> str | None:
        found = self.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        return None if found.returncode else found.stdout.decode().strip()

    def _resolve_tree(self, commit: str) -> str:
        return self.output("rev-parse", "--verify", f"{commit}^{{tree}}").decode().strip()

    def git_path(self, name: str) -> Path:
        return self._root / self.output("rev-parse", "--git-path", name).decode().strip()

    def output(self, *arguments: str, stdin: bytes = b"", index: Path | None = None) -> bytes:
        done = self.run(*arguments, stdin=stdin, index=index)
        if done.returncode:
            raise RepositoryRefused(
                f"`git {arguments[0]}` failed in {self._root}: {said(done)}",
                remedy="Mend what git names and run the command again; nothing is lost.",
            )
        return done.stdout

    def run(self, *arguments: str, stdin: bytes = b"", index: Path | None = None) -> subprocess.CompletedProcess[bytes]:
        """Whatever comes of it; `index` takes the place of the user's index."""
        environment = git_environment()
        if index is not None:
            environment["GIT_INDEX_FILE"] = str(index.absolute())
        command = ["git", *SETTINGS, *arguments]
        return subprocess.run(command, cwd=self._root, env=environment, input=stdin, capture_output=True, check=False)


def check_inside(root: Path, path: str) -> None:
    """Raises RepositoryRefused unless `path` is a plain relative path to something in the workspace."""
    parts = PurePosixPath(path)
    plain = path.isprintable() and not parts.is_absolute() and ".." not in parts.parts and parts.parts not in ((), (".",))
    ours = plain and parts.parts[0] not in (".git", ".hitl") and not path.startswith("-")
    if not ours or not (root / path).parent.resolve().is_relative_to(root.resolve()):
        raise RepositoryRefused(f"{path!r} is not a path in the workspace {root}.", remedy="Name a file below it.")


def _entries(listing: bytes) -> Iterator[tuple[str, str]]:
    """(meta, path) of each NUL-ended line `meta<TAB>path`."""
    for line in listing.decode().split("\0"):
        if line:
            meta, _, path = line.partition("\t")
            yield meta, path


def said(done: subprocess.CompletedProcess[bytes]) -> str:
    """What git said, short and without credentials."""
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return without_credentials(" ".join(lines[:4])) or f"exit code {done.returncode}"
