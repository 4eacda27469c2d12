"""The tags of a repository, and the signatures of those that are signed.

A signature counts where it is an SSH key's (git's `gpg.format = ssh`), the key is one of the allowed signers, and the tag is the
very one that was signed: git holds a signature to be good wherever somebody has put the tag. A GPG signature says only that
some key of this machine's keyring made it, which is no list that anybody agreed upon.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hitl_bridge.adapters.git.repository import GitRepository, said
from hitl_bridge.errors import RefusedForSafety, RepositoryRefused
from hitl_bridge.ports import SignedTag

_GOOD = re.compile(r'^Good "git" signature for (\S+) with ', re.MULTILINE)
_ARMOR = b"-----BEGIN SSH SIGNATURE-----"
# A repository's own settings must not choose what says that a signature is good.
_CHECKED_BY = ("-c", "gpg.ssh.program=ssh-keygen", "-c", "gpg.ssh.revocationFile=")


class GitRegistry:
    """Implements `ports.Registry` for the repository of the workspace at `root`."""

    def __init__(self, root: Path, branch: str) -> None:
        self._git = GitRepository(root, branch)

    def tags(self) -> Sequence[str]:
        return self._git.output("for-each-ref", "--format=%(refname:strip=2)", "refs/tags").decode().splitlines()

    def tag_id(self, name: str) -> str | None:
        found = self._git.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"refs/tags/{name}")
        return None if found.returncode else found.stdout.decode().strip()

    def commit_of(self, name: str) -> str | None:
        return self._git.tagged(name)

    def tag(self, name: str, commit: str, message: str) -> str:
        there = self._git.tagged(name)
        if there is None:
            self._git.tag(name, commit, message)
        elif there != commit:
            raise RepositoryRefused(
                f"Tag {name} is there already, at {there[:12]}, which is not what is registered now.",
                remedy=f"Somebody made it by hand. Look at it with `git show {name}`; remove it if it is nobody's.",
            )
        return self.tag_id(name) or ""

    def signed(self, name: str, signers: str) -> SignedTag | None:
        tag_id = self.tag_id(name)
        if tag_id is None:
            return None
        content = self._content(name, tag_id)
        heading, _, body = content.partition(b"\n\n")
        header = dict(line.partition(" ")[::2] for line in heading.decode(errors="replace").splitlines())
        if header.get("tag") != name or header.get("type") != "commit":
            raise _refused(name, f"it was signed as {header.get('tag')!r} and put there by hand")
        message = body.partition(_ARMOR)[0].decode(errors="replace").strip()
        return SignedTag(self._signer(name, tag_id, signers), header["object"], message, tag_id)

    def sign(self, name: str, commit: str, message: str) -> None:
        terms = ("-c", "gpg.format=ssh", "tag", "--sign", "--file=-", name, commit)
        done = self._git.run(*terms, stdin=message.encode())
        if done.returncode:
            raise RefusedForSafety(
                f"git could not sign {name}: {said(done)}",
                remedy="Name your key: `git config user.signingkey ~/.ssh/id_ed25519.pub`; see docs/model.md.",
            )

    def content(self, revision: str, path: str) -> bytes | None:
        return self._git.content(revision, path)

    def head(self) -> str:
        return self._git.head()

    def _content(self, name: str, tag_id: str) -> bytes:
        kind = self._git.output("cat-file", "-t", tag_id).strip()
        if kind != b"tag":
            raise _refused(name, "it is a plain pointer, which nobody can sign")
        return self._git.output("cat-file", "tag", tag_id)

    def _signer(self, name: str, tag_id: str, signers: str) -> str:
        """Of the tag object itself, whatever the name points at by now."""
        with tempfile.NamedTemporaryFile("w", prefix="hitl-bridge-signers-", encoding="utf-8") as allowed:
            allowed.write(signers)
            allowed.flush()
            done = self._git.run(*_CHECKED_BY, "-c", f"gpg.ssh.allowedSignersFile={allowed.name}", "verify-tag", tag_id)
        found = _GOOD.findall(done.stderr.decode(errors="replace"))
        if done.returncode or len(found) != 1:
            raise _refused(name, _why(done.stderr.decode(errors="replace")))
        return str(found[0])


def _why(told: str) -> str:
    if "no signature found" in told or not told.strip():
        return "it is not signed"
    if "No principal matched" in told or "Good" in told:
        return "its key is not one of the allowed signers"
    return "its signature is not good: what was signed was changed, or it was made with another kind of key"


def _refused(name: str, why: str) -> RefusedForSafety:
    return RefusedForSafety(
        f"Tag {name} is no sign-off: {why}.",
        remedy="Look at it with `git tag -v`; remove it and let an approver sign anew (docs/model.md).",
    )
