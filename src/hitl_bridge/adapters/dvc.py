"""Dataset versions and the pipeline, with DVC and git.

A version is published in steps that can each be repeated: write the intent, write the files, `dvc add`, check what the cache
holds against our own SHA-256 manifest, `dvc push`, commit, tag, forget the intent. A commit that others can see never points
at data that is not there. After a crash the next call finds the intent and either finishes it (the commit is there, the tag is
not) or takes it back and starts anew; so any number of crashes end in one commit and one tag.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hitl_bridge.adapters.dvc_command import DvcCommand, DvcFailed, check_dvc, locked_dvc
from hitl_bridge.adapters.dvc_files import (
    MANIFEST,
    DvcCache,
    Manifest,
    default_remote,
    part_of,
    pointed_at,
    sha256,
    write_durably,
)
from hitl_bridge.adapters.dvc_pipeline import DvcPipeline, PipelineFailed
from hitl_bridge.adapters.git import GitRepository
from hitl_bridge.errors import BridgeError, OutsideUnavailable, RepositoryRefused, UnknownName, UsageError
from hitl_bridge.ports import NewFile, Published

__all__ = ["DvcDatasetStore", "DvcPipeline", "PipelineFailed"]

TRACKED = ("data/decisions", "data/payloads")
BATCH_TRAILER = "Bridge-Batch"
MANIFEST_TRAILER = "Manifest-SHA256"
_TAG_PREFIX = "decisions@v"
_TAG = re.compile(r"decisions@v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_NEW_FILE = re.compile(r"data/(decisions|payloads)/[A-Za-z0-9][A-Za-z0-9._-]*\.parquet")
_BATCH_ID = re.compile(r"[!-~]{1,200}")
_IGNORE = "data/.gitignore"
_IGNORED = frozenset({"/decisions", "/payloads"})
_POINTERS = tuple(f"{directory}.dvc" for directory in TRACKED)
_ROOM = 3  # free space asked for, as a multiple of what is new: the file, its copy in the cache, temporary files


@dataclass(frozen=True, slots=True)
class _Intent:
    """What a publication is about to write: SHA-256 by path. Lies in `.hitl/publish.json` while it is under way."""

    batch_id: str
    tag: str
    files: Mapping[str, str]


class DvcDatasetStore:
    """Port `DatasetStore`: versions are committed in the workspace's own clone, on `branch` and nowhere else.

    Every call but `read`, `versions` and `published` may raise RepositoryRefused (nothing was touched) and OutsideUnavailable
    (another committer, no room, or the DVC remote is away: nothing was committed, run it again).
    """

    def __init__(self, root: Path, branch: str, *, patience: float = 15.0) -> None:
        """`patience`: seconds to wait for another committer."""
        self._root = root
        self._git = GitRepository(root, branch)
        self._cache = DvcCache(root)
        self._patience = patience
        self._intent_file = root / ".hitl" / "publish.json"

    # -------------------------------------------------------------------------------------------------- asking

    def check(self) -> None:
        """Raises RepositoryRefused unless a version could be committed now. Touches nothing."""
        self._git.check()
        check_dvc(self._root)
        for path in ("data", *TRACKED):
            if (self._root / path).is_symlink():
                raise RepositoryRefused(
                    f"{self._root / path} is a symbolic link.", remedy="Put a folder there; DVC moves its cache, not data."
                )

    def published(self, tag: str) -> Published | None:
        commit = self._git.tagged(tag) if _TAG.fullmatch(tag) else None
        return Published(tag, commit) if commit else None

    def versions(self) -> list[str]:
        """The tags that are there, by semantic version."""
        tags = [match for tag in self._git.tags(_TAG_PREFIX) if (match := _TAG.fullmatch(tag))]
        return [match[0] for match in sorted(tags, key=lambda match: tuple(int(part) for part in match.groups()))]

    def read(self, tag: str) -> Mapping[str, bytes]:
        """The data files of a version by path, each checked against the version's manifest.

        From the cache where it has them, else from the DVC remote. Raises UnknownName, OutsideUnavailable.
        """
        commit = self._git.tagged(tag) if _TAG.fullmatch(tag) else None
        if commit is None:
            raise UnknownName("dataset version", tag, remedy="`git tag --list 'decisions@*'` lists them; `git fetch --tags`?")
        manifest = Manifest.parse(self._git.content(commit, MANIFEST))
        files: dict[str, bytes] = {}
        for directory in TRACKED:
            pointer = self._git.content(commit, f"{directory}.dvc")
            if pointer is not None:
                found = self._from_cache(pointer, directory)
                files |= self._from_remote(tag, directory) if found is None else found
        wrong = sorted(path for path in files.keys() | manifest.digests if not _matches(files, manifest, path))
        if wrong:
            raise RepositoryRefused(
                f"The data of {tag} is not what was published: {', '.join(wrong[:3])}.",
                remedy="The DVC cache or remote is damaged. Delete the damaged objects and run `dvc fetch --all-tags`.",
            )
        return files

    def _from_cache(self, pointer: bytes, directory: str) -> dict[str, bytes] | None:
        listing = self._cache.listing(pointer, directory)
        if listing is None:
            return None
        contents = {path: self._cache.content(md5) for path, md5 in listing.items()}
        complete = {path: content for path, content in contents.items() if content is not None}
        return complete if len(complete) == len(contents) else None

    def _from_remote(self, tag: str, directory: str) -> dict[str, bytes]:
        if default_remote(self._root) is None:
            raise RepositoryRefused(
                f"The data of {tag} is not in the DVC cache, and there is no DVC remote to get it from.",
                remedy="Configure the remote that holds it (`dvc remote add -d …`), or copy the cache here.",
            )
        with locked_dvc(self._root, "read", self._patience) as dvc, tempfile.TemporaryDirectory() as scratch:
            target = Path(scratch) / "data"
            dvc.run("get", "--quiet", ".", directory, "--rev", tag, "--out", str(target))
            return {f"{directory}/{path.name}": path.read_bytes() for path in target.iterdir()}

    # ---------------------------------------------------------------------------------------------- publishing

    def publish(self, tag: str, files: Sequence[NewFile], message: str, batch_id: str) -> Published:
        """Tracks `files` with DVC, commits just them, tags. A call repeated after a crash ends in the same commit.

        A batch that has a version already keeps it, whatever `tag` says.
        """
        _check_request(tag, files, batch_id)
        with locked_dvc(self._root, "commit", self._patience) as dvc:
            self.check()
            finished = self._settle_left_over()
            commit = self._git.find_commit(BATCH_TRAILER, batch_id)
            if commit is None and finished is not None:
                # The caller planned without knowing of that version: it may hold some of the same decisions.
                raise OutsideUnavailable(
                    f"{finished}, which a crash had left unfinished, was finished first.", remedy="Run the same command again."
                )
            if commit is None:
                commit = self._publish_anew(dvc, _Intent(batch_id, tag, _digests(files)), files, message)
            published = self._tag(tag, commit, message)
            self._intent_file.unlink(missing_ok=True)
            return published

    def _publish_anew(self, dvc: DvcCommand, intent: _Intent, files: Sequence[NewFile], message: str) -> str:
        base = self._git.head()
        manifest = Manifest.parse(self._git.content(base, MANIFEST))
        self._check_free(intent, manifest)
        self._check_room(files)
        self._restore_earlier(dvc, manifest)
        write_durably(
            self._intent_file, json.dumps({"batch_id": intent.batch_id, "tag": intent.tag, "files": dict(intent.files)})
        )
        manifest = manifest.with_files(intent.files)
        trailers = f"{BATCH_TRAILER}: {intent.batch_id}\n{MANIFEST_TRAILER}: {sha256(manifest.text())}\n"
        try:
            changed = self._track(dvc, files, base, manifest)
            return self._git.commit(changed, f"{message.strip()}\n\n{trailers}", base=base)
        except BridgeError:
            self.check()  # where the branch was changed under us, taking back would write into somebody else's
            self._settle_left_over()
            raise

    def _track(self, dvc: DvcCommand, files: Sequence[NewFile], base: str, manifest: Manifest) -> list[str]:
        """Files, cache, manifest, remote: all that comes before the commit. Returns what is to be committed."""
        for file in files:
            write_durably(self._root / file.path, file.content)
        directories = [directory for directory in TRACKED if manifest.in_directory(directory)]
        dvc.run("add", "--quiet", *directories)
        for directory in directories:
            self._check_cached(directory, base, manifest, _digests(files))
        write_durably(self._root / MANIFEST, manifest.text())
        pointers = [f"{directory}.dvc" for directory in directories]
        if default_remote(self._root) is not None:
            dvc.run("push", "--quiet", *pointers)
        ignore = [_IGNORE] if (self._root / _IGNORE).exists() and self._git.edited([_IGNORE]) else []
        return [*pointers, MANIFEST, *ignore]

    def _tag(self, tag: str, commit: str, message: str) -> Published:
        there = [name for name in self._git.tags_at(commit, _TAG_PREFIX) if _TAG.fullmatch(name)]
        if there:
            return Published(there[0], commit)
        self._git.tag(tag, commit, message)
        return Published(tag, commit)

    # -------------------------------------------------------------------------- what must hold before and after

    def _check_free(self, intent: _Intent, manifest: Manifest) -> None:
        if self._git.tagged(intent.tag) is not None:
            raise RepositoryRefused(
                f"{intent.tag} is there already, for another batch.", remedy="Run `git fetch --tags` and commit anew."
            )
        taken = sorted(intent.files.keys() & manifest.digests)
        if taken:
            raise RepositoryRefused(f"{taken[0]} belongs to an earlier version.", remedy="Name the new file otherwise.")
        edited = self._git.edited([*_POINTERS, MANIFEST, *self._ignore_file_if_needed()])
        if edited:
            raise RepositoryRefused(
                f"{', '.join(edited)} has changes that are not committed, and only the bridge writes there.",
                remedy=f"Look at `git diff HEAD -- {edited[0]}`; take them back with `git restore -SW -- {edited[0]}`.",
            )

    def _ignore_file_if_needed(self) -> tuple[str, ...]:
        lines = (self._git.content(self._git.head(), _IGNORE) or b"").decode().split()
        return () if set(lines) >= _IGNORED else (_IGNORE,)

    def _check_room(self, files: Sequence[NewFile]) -> None:
        needed = _ROOM * sum(len(file.content) for file in files)
        free = shutil.disk_usage(self._root).free
        if free < needed:
            raise OutsideUnavailable(
                f"{needed:,} bytes are needed in {self._root}, {free:,} are free.", remedy="Make room and try again."
            )

    def _restore_earlier(self, dvc: DvcCommand, manifest: Manifest) -> None:
        """DVC takes a folder for what lies in it: one that lost an earlier file would become a version without it."""
        there = {path for directory in TRACKED for path in _files_under(self._root, directory)}
        strange = sorted(there - manifest.digests.keys())
        if strange:
            raise RepositoryRefused(
                f"{strange[0]} is part of no version, and only the bridge writes there.", remedy="Move it elsewhere."
            )
        if not manifest.digests.keys() - there:
            return
        bring = "checkout" if default_remote(self._root) is None else "pull"
        try:
            dvc.run(bring, "--quiet", *(pointer for pointer in _POINTERS if (self._root / pointer).exists()))
        except DvcFailed as failed:
            lost = sorted(manifest.digests.keys() - there)
            raise RepositoryRefused(
                f"{lost[0]} of an earlier version is not here, and could not be brought back: {failed.message}",
                remedy="Run `dvc pull`, then the same command again.",
            ) from failed

    def _check_cached(self, directory: str, base: str, manifest: Manifest, new: Mapping[str, str]) -> None:
        """What DVC cached is what we meant: the earlier files untouched, the new ones with our digests. Hashes only these."""
        pointer = (self._root / f"{directory}.dvc").read_bytes()
        listing = self._cache.listing(pointer, directory) or {}
        earlier = self._cache.listing(self._git.content(base, f"{directory}.dvc") or b"", directory) or {}
        altered = sorted(path for path, md5 in earlier.items() if listing.get(path) != md5)
        if altered or listing.keys() != manifest.in_directory(directory).keys():
            raise RepositoryRefused(
                f"{(altered or [directory])[0]} is not what an earlier version holds.",
                remedy=f"Bring it back with `dvc checkout --force {directory}.dvc`, then try again.",
            )
        for path in listing.keys() & new.keys():
            if sha256(self._cache.content(listing[path]) or b"") != new[path]:
                raise RepositoryRefused(
                    f"The DVC cache holds something else for {path}: {self._cache.path(listing[path])} is damaged.",
                    remedy="Delete that file of the cache and run the same command again.",
                )
            self._cache.keep(listing[path])
        self._cache.keep(pointed_at(pointer) or "")

    # -------------------------------------------------------------------------------------------- after a crash

    def _settle_left_over(self) -> str | None:
        """Finishes the publication that was under way when somebody was killed (returns its tag), or takes it back."""
        intent = self._intent()
        if intent is None:
            return None
        commit = self._git.find_commit(BATCH_TRAILER, intent.batch_id)
        finished = None
        if commit is not None:
            finished = self._tag(intent.tag, commit, f"Batch {intent.batch_id}").tag
        else:
            self._take_back(intent)
        self._intent_file.unlink()
        return finished

    def _intent(self) -> _Intent | None:
        if not self._intent_file.exists():
            return None
        known = json.loads(self._intent_file.read_bytes())
        return _Intent(known["batch_id"], known["tag"], known["files"])

    def _take_back(self, intent: _Intent) -> None:
        head = self._git.head()
        earlier = Manifest.parse(self._git.content(head, MANIFEST))
        committed = {path: self._git.content(head, path) for path in (*_POINTERS, MANIFEST, _IGNORE)}
        edited = [path for path in self._git.edited(list(committed)) if not self._is_our_work(path, committed[path], intent)]
        if set(edited) - {_IGNORE}:
            raise RepositoryRefused(
                f"A publication was cut short, and {edited[0]} was edited since.",
                remedy=f"Look at `git diff HEAD -- {edited[0]}`; take it back with `git restore -SW -- {edited[0]}`.",
            )
        for path in intent.files.keys() - earlier.digests.keys():
            (self._root / path).unlink(missing_ok=True)
            part_of(self._root / path).unlink(missing_ok=True)
        ours = [path for path in committed if path not in edited]
        for path in ours:
            self._put_back(path, committed[path])
        self._git.stage(ours)

    def _put_back(self, path: str, content: bytes | None) -> None:
        target = self._root / path
        if content is None:
            target.unlink(missing_ok=True)
        elif not target.exists() or target.read_bytes() != content:
            write_durably(target, content)

    def _is_our_work(self, path: str, committed: bytes | None, intent: _Intent) -> bool:
        """Whether `path` is as the publication of `intent` may have left it, and not as a person edited it."""
        target = self._root / path
        written = target.read_bytes() if target.exists() else b""
        if path == _IGNORE:
            return set(written.split()) - set((committed or b"").split()) <= {line.encode() for line in _IGNORED}
        earlier = Manifest.parse(self._git.content(self._git.head(), MANIFEST))
        if path == MANIFEST:
            return written in (committed or b"", earlier.with_files(intent.files).text())
        if written in (b"", committed) or pointed_at(written) is None:
            return True  # torn by the crash, or never written
        listing = self._cache.listing(written, path.removesuffix(".dvc"))
        return listing is not None and listing.keys() <= earlier.with_files(intent.files).digests.keys()


def _check_request(tag: str, files: Sequence[NewFile], batch_id: str) -> None:
    if not _TAG.fullmatch(tag):
        raise UsageError(f"{tag!r} is no dataset version.", remedy="Versions read like decisions@v0.12.0.")
    if not _BATCH_ID.fullmatch(batch_id):
        raise UsageError(f"{batch_id!r} can't name a batch.", remedy="Use 1 to 200 visible ASCII characters.")
    wrong = [file.path for file in files if not _NEW_FILE.fullmatch(file.path)]
    if wrong or not files:
        named = repr(wrong[0]) if wrong else "Nothing"
        raise UsageError(f"{named} can't be a dataset version.", remedy=f"Versions are Parquet files in {' and '.join(TRACKED)}.")


def _digests(files: Sequence[NewFile]) -> dict[str, str]:
    return {file.path: sha256(file.content) for file in files}


def _matches(files: Mapping[str, bytes], manifest: Manifest, path: str) -> bool:
    return path in files and sha256(files[path]) == manifest.digests.get(path)


def _files_under(root: Path, directory: str) -> list[str]:
    return [str(path.relative_to(root)) for path in (root / directory).rglob("*") if not path.is_dir()]
