"""Git commands that talk to others, and the tags that are published by one."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from hitl_bridge.adapters.dvc.files import write_durably
from hitl_bridge.adapters.git.repository import SETTINGS, GitRepository, git_environment, said
from hitl_bridge.errors import OutsideUnavailable, RepositoryRefused

_PATIENCE = 300.0  # seconds for one fetch or push
_REFUSED = re.compile(rb"^!\t[^\t]*:refs/tags/([^\t]+)\t", re.MULTILINE)


def remotely(place: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """`git` with these arguments in `place`: ended, with all that it started, where nobody answers."""
    command = ["git", *SETTINGS, *arguments]
    process = subprocess.Popen(
        command,
        cwd=place,
        env=git_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)
        output, errors = process.communicate()
        errors += f"no answer within {_PATIENCE:.0f} seconds".encode()
    finally:
        if process.poll() is None:  # we were told to stop
            os.killpg(process.pid, signal.SIGTERM)
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


class GitTagRemote:
    """Implements `ports.TagRemote`: `remote` is one of the workspace's by name, or an address. What it has taken is kept in
    `.hitl/published-tags.json`, and sent once more where that is gone."""

    def __init__(self, root: Path, remote: str) -> None:
        self._root = root
        self._remote = remote
        self._taken_file = root / ".hitl" / "published-tags.json"

    def publish(self, tags: Mapping[str, str]) -> None:
        """By the ids of the tag objects: one that somebody moved here does not go there. Never by force."""
        refs = [f"{tag_id}:refs/tags/{name}" for name, tag_id in tags.items()]
        done = remotely(self._root, "push", "--porcelain", "--no-verify", "--", self._remote, *refs)
        refused = [name.decode() for name in _REFUSED.findall(done.stdout)]
        if refused:
            raise RepositoryRefused(
                f"The git remote does not take the tag {refused[0]}: {said(done)}",
                remedy=f"Look at what is there under that name: `git ls-remote --tags {self._named} {refused[0]}`.",
            )
        if done.returncode:
            named = " ".join(f"refs/tags/{name}" for name in tags)
            raise OutsideUnavailable(
                f"The git remote did not take the tags: {said(done)}",
                remedy=f"The next commit tries again; by hand: `git push {self._named} {named}`.",
            )
        kept = {"remote": self._digest, "tags": {**self._taken(), **tags}}
        write_durably(self._taken_file, json.dumps(kept, sort_keys=True).encode())

    def lacking(self, tags: Mapping[str, str]) -> Mapping[str, str]:
        taken = self._taken()
        new = {name: tag_id for name, tag_id in tags.items() if taken.get(name) != tag_id}
        if not new:
            return {}
        # Another machine's promotion is in this store, and its tags are published from there.
        asked = "".join(f"{tag_id}\n" for tag_id in new.values()).encode()
        lines = GitRepository(self._root, "").output("cat-file", "--batch-check=%(objectname)", stdin=asked).split(b"\n")
        return {name: tag_id for name, tag_id in new.items() if tag_id.encode() in lines}

    def _taken(self) -> Mapping[str, str]:
        try:
            kept = json.loads(self._taken_file.read_bytes())
            return dict(kept["tags"]) if kept["remote"] == self._digest else {}
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return {}

    @property
    def _digest(self) -> str:
        """In place of an address, which can carry a password."""
        return hashlib.sha256(self._remote.encode()).hexdigest()

    @property
    def _named(self) -> str:
        """Without an address, which can carry a password."""
        return self._remote if "://" not in self._remote else "REMOTE"
