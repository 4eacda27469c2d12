"""Dataset versions and the pipeline, with DVC and git.

A version is published in steps that can each be repeated: write the intent, write the files, `dvc add`, check what the cache
holds against our own SHA-256 manifest, `dvc push`, look whether the remote has it, commit, tag, forget the intent. A commit that
others can see never points at data that is not there. After a crash the next call finds the intent and either finishes it (the
commit is there, the tag is not) or takes it back and starts anew; so any number of crashes end in one commit and one tag.

Where versions belong on a git remote, the same steps are done in a clone of our own, and branch and tag are pushed together as
the last one; until then nothing counts, and the next call begins where the remote is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hitl_bridge.adapters.dvc.command import DvcCommand, locked_dvc
from hitl_bridge.adapters.dvc.files import (
    MANIFEST,
    default_remote,
    part_of,
    pointed_at,
    settings_for_clone,
    sha256,
    write_durably,
)
from hitl_bridge.adapters.dvc.notes import NOTES, notes_of_ours, write_notes
from hitl_bridge.adapters.dvc.pipeline import DvcPipeline, PipelineFailed
from hitl_bridge.adapters.dvc.remote import RemoteReport, check_remote
from hitl_bridge.adapters.dvc.tree import (
    BATCH_TRAILER,
    IGNORE,
    IGNORED,
    MANIFEST_TRAILER,
    POINTERS,
    TAG,
    TAG_PREFIX,
    TRACKED,
    DatasetTree,
)
from hitl_bridge.adapters.git.clone import PrivateClone
from hitl_bridge.adapters.git.repository import GitRepository
from hitl_bridge.adapters.leftovers import clear_temporary_files
from hitl_bridge.errors import BridgeError, OutsideUnavailable, RepositoryRefused, UsageError
from hitl_bridge.ports import NewFile, Published

__all__ = ["NOTES", "DvcDatasetStore", "DvcPipeline", "PipelineFailed", "RemoteReport"]

AUDIT_TRAILER = "Audit-Head"
_NEW_FILE = re.compile(r"data/(decisions|payloads)/[A-Za-z0-9][A-Za-z0-9._-]*\.parquet")
_BATCH_ID = re.compile(r"[!-~]{1,200}")
_TRAILER = re.compile(r"[A-Za-z][A-Za-z0-9-]*: [!-~]{1,200}")
_ANCHOR = re.compile(r"(\d+):(\S+)")
_PUSHES = 5


@dataclass(frozen=True, slots=True)
class _Request:
    """What a publication is about to write."""

    batch_id: str
    tag: str
    files: Sequence[NewFile]
    message: str
    trailers: Mapping[str, str]

    @property
    def data(self) -> list[NewFile]:
        """What DVC keeps."""
        return [file for file in self.files if file.path not in NOTES]

    @property
    def notes(self) -> list[NewFile]:
        """What git keeps beside it."""
        return [file for file in self.files if file.path in NOTES]

    @property
    def digests(self) -> dict[str, str]:
        return {file.path: sha256(file.content) for file in self.data}


@dataclass(frozen=True, slots=True)
class _Intent:
    """The promise of a publication in the workspace: SHA-256 by path of data and of notes. Lies in `.hitl/publish.json` while
    it is under way."""

    batch_id: str
    tag: str
    files: Mapping[str, str]
    notes: Mapping[str, str]


class DvcDatasetStore:
    """Port `DatasetStore`: versions are committed on `branch` and nowhere else.

    Without `remote` that happens in the workspace's own working tree; with it in a clone of ours, and they are pushed there.
    Every call may raise RepositoryRefused (nothing was touched) and OutsideUnavailable (another committer, no room, a remote is
    away: nothing was committed, run it again); without `remote`, `versions` and `published` ask nobody.
    """

    def __init__(self, root: Path, branch: str, *, remote: str | None = None, patience: float = 15.0) -> None:
        """`remote`: a remote of the workspace's by name, or an address. `patience`: seconds to wait for another committer."""
        self._root = root
        self._patience = patience
        self._clone = PrivateClone(root, branch, remote, TAG_PREFIX) if remote is not None else None
        self._own = DatasetTree(root, GitRepository(root, branch))
        self._intent_file = root / ".hitl" / "publish.json"
        self._under_way = root / ".hitl" / "publishing"  # left where one was cut short: the whole cache is looked through then

    # -------------------------------------------------------------------------------------------------- asking

    def check(self) -> None:
        """Raises RepositoryRefused unless a version could be committed now. Touches nothing of the user's."""
        with self._up_to_date() as tree:
            tree.check()

    def published(self, tag: str) -> Published | None:
        """What a tag names never changes: a remote is asked only for one that is not known."""
        known = self._standing().published(tag)
        if known is not None or self._clone is None:
            return known
        with self._up_to_date() as tree:
            return tree.published(tag)

    def versions(self) -> list[str]:
        """The tags that are there, by semantic version."""
        with self._up_to_date() as tree:
            return tree.versions()

    def anchors(self) -> list[tuple[str, int, str]]:
        """The audit heads that versions were committed with: tag, number of the log's row, its hash. Oldest version first.

        As far as versions are known here: work that has nothing to do with a remote asks for them, too.
        """
        tree = self._standing()
        heads = tree.git.trailers_of_tagged(TAG_PREFIX, AUDIT_TRAILER)
        return [(tag, *_anchor(tag, heads[tag])) for tag in tree.versions() if tag in heads]

    def read(self, tag: str, paths: Collection[str] | None = None) -> Mapping[str, bytes]:
        """The data files of a version by path (of `paths` alone, if given), each checked against the version's manifest.

        From the cache where it has them, else from the DVC remote. Raises UnknownName, OutsideUnavailable.
        """
        self.published(tag)  # a clone may not know it yet
        tree = self._standing()
        files = tree.cached(tree.commit_of(tag), paths)
        if files is None:
            if default_remote(tree.root) is None:
                raise RepositoryRefused(
                    f"The data of {tag} is not in the DVC cache, and there is no DVC remote to get it from.",
                    remedy="Configure the remote that holds it (`dvc remote add -d …`), or copy the cache here.",
                )
            with locked_dvc(self._root, "read", self._patience) as dvc:
                files = tree.fetched(dvc.at(tree.root), tag, paths)
        return tree.checked(tag, files, paths)

    def notes(self, tag: str) -> Mapping[str, bytes]:
        """What git keeps beside the data of a version (its card, its description), by path. Raises UnknownName."""
        self.published(tag)  # a clone may not know it yet
        tree = self._standing()
        commit = tree.commit_of(tag)
        return {path: content for path in NOTES if (content := tree.git.content(commit, path)) is not None}

    def check_remote(self, *, heal: bool = False, deep: bool = False) -> RemoteReport:
        """Whether the DVC remote holds every file of every version. Costs a look at each.

        Args:
            heal: what is missing or damaged there and sound in the cache is pushed anew.
            deep: reads each file there and hashes it.
        """
        with self._commit_lock() as dvc:
            tree = self._put_in_order(dvc)
            return check_remote(tree, dvc.at(tree.root), heal=heal, deep=deep)

    # --------------------------------------------------------------------------------------- where versions live

    def _standing(self) -> DatasetTree:
        """The tree as it is; a clone is made where there is none yet."""
        if self._clone is None:
            return self._own
        if not self._clone.is_there:
            with self._up_to_date() as tree:
                return tree
        return DatasetTree(self._clone.root, self._clone.git)

    @contextmanager
    def _up_to_date(self) -> Iterator[DatasetTree]:
        """The tree, a clone put to where its remote is."""
        if self._clone is None:
            yield self._own
            return
        with self._commit_lock() as dvc:
            yield self._put_in_order(dvc)

    @contextmanager
    def _commit_lock(self) -> Iterator[DvcCommand]:
        with locked_dvc(self._root, "commit", self._patience) as dvc:
            yield dvc

    def _put_in_order(self, dvc: DvcCommand) -> DatasetTree:
        """Clears away what a crash left in the clone: under our lock nobody else can be at work there."""
        if self._clone is None:
            return self._own
        self._clone.refresh()
        tree = DatasetTree(self._clone.root, self._clone.git)
        dvc.at(tree.root).forget_locks()
        settings = tree.root / ".dvc" / "config.local"
        written = settings_for_clone(self._root)
        if not settings.is_file() or settings.read_bytes() != written:
            write_durably(settings, written)
        tree.remove(tree.files() - tree.manifest(tree.git.head()).digests.keys())
        return tree

    # ---------------------------------------------------------------------------------------------- publishing

    def publish(
        self, tag: str, files: Sequence[NewFile], message: str, batch_id: str, trailers: Mapping[str, str] | None = None
    ) -> Published:
        """Tracks `files` with DVC, commits just them, tags. A call repeated after a crash ends in the same commit.

        A batch that has a version already keeps it, whatever `tag` says. `trailers` stand in the commit's message.
        """
        request = _Request(batch_id, tag, files, message, trailers or {})
        _check_request(request)
        with self._commit_lock() as dvc:
            swept = not self._under_way.exists() or clear_temporary_files(self._own.cache.directory)
            self._under_way.touch()
            publish = self._publish_here if self._clone is None else self._publish_through(self._clone)
            published = publish(dvc, request)
            if swept:  # else it is looked through again next time
                self._under_way.unlink()
            return published

    def _publish_through(self, clone: PrivateClone) -> Callable[[DvcCommand, _Request], Published]:
        def publish(dvc: DvcCommand, request: _Request) -> Published:
            for _ in range(_PUSHES):
                tree = self._put_in_order(dvc)
                tree.check()
                commit = tree.git.find_commit(BATCH_TRAILER, request.batch_id)
                if commit is None and tree.git.tagged(request.tag) is not None:
                    raise OutsideUnavailable(
                        f"Somebody else published {request.tag} meanwhile.", remedy="Run the same command again."
                    )
                published = tree.tag(request.tag, commit or _build(tree, dvc.at(tree.root), request), request.message)
                if clone.push(published.tag):
                    return published
            raise OutsideUnavailable(
                f"Others keep pushing to the git remote; {_PUSHES} tries came too late.",
                remedy="Nothing was published. Run the same command again when it is quieter.",
            )

        return publish

    def _publish_here(self, dvc: DvcCommand, request: _Request) -> Published:
        tree = self._own
        tree.check()
        if tree.needs_dvc():
            dvc.get_ready()
        finished = self._settle_left_over()
        commit = tree.git.find_commit(BATCH_TRAILER, request.batch_id)
        if commit is None and finished is not None:
            # The caller planned without knowing of that version: it may hold some of the same decisions.
            raise OutsideUnavailable(
                f"{finished}, which a crash had left unfinished, was finished first.", remedy="Run the same command again."
            )
        if commit is None:
            try:
                commit = _build(tree, dvc, request, lambda: self._promise(request))
            except BridgeError:
                tree.check()  # where the branch was changed under us, taking back would write into somebody else's
                self._settle_left_over()
                raise
        published = tree.tag(request.tag, commit, request.message)
        self._intent_file.unlink(missing_ok=True)
        return published

    # -------------------------------------------------------------------------------------------- after a crash

    def _promise(self, request: _Request) -> None:
        notes = {file.path: sha256(file.content) for file in request.notes}
        intent = {"batch_id": request.batch_id, "tag": request.tag, "files": request.digests, "notes": notes}
        write_durably(self._intent_file, json.dumps(intent))

    def _settle_left_over(self) -> str | None:
        """Finishes the publication that was under way when somebody was killed (returns its tag), or takes it back."""
        intent = self._intent()
        if intent is None:
            return None
        commit = self._own.git.find_commit(BATCH_TRAILER, intent.batch_id)
        finished = None
        if commit is not None:
            finished = self._own.tag(intent.tag, commit, f"Batch {intent.batch_id}").tag
        else:
            self._take_back(intent)
        self._intent_file.unlink()
        return finished

    def _intent(self) -> _Intent | None:
        if not self._intent_file.exists():
            return None
        known = json.loads(self._intent_file.read_bytes())
        return _Intent(known["batch_id"], known["tag"], known["files"], known.get("notes", {}))

    def _take_back(self, intent: _Intent) -> None:
        git = self._own.git
        head = git.head()
        committed = {path: git.content(head, path) for path in (*POINTERS, MANIFEST, IGNORE, *intent.notes)}
        edited = [path for path in git.edited(list(committed)) if not self._is_our_work(path, committed[path], intent)]
        if set(edited) - {IGNORE}:
            raise RepositoryRefused(
                f"A publication was cut short, and {edited[0]} was edited since.",
                remedy=f"Look at `git diff HEAD -- {edited[0]}`; take it back with `git restore -SW -- {edited[0]}`.",
            )
        self._own.remove(intent.files.keys() - self._own.manifest(head).digests.keys())
        for path in intent.notes:
            part_of(self._root / path).unlink(missing_ok=True)
        ours = [path for path in committed if path not in edited]
        for path in ours:
            _put_back(self._root / path, committed[path])
        git.stage(ours)

    def _is_our_work(self, path: str, committed: bytes | None, intent: _Intent) -> bool:
        """Whether `path` is as the publication of `intent` may have left it, and not as a person edited it."""
        target = self._root / path
        written = target.read_bytes() if target.exists() else b""
        if path == IGNORE:
            return set(written.split()) - set((committed or b"").split()) <= {line.encode() for line in IGNORED}
        if path in intent.notes:
            return written in (b"", committed or b"") or sha256(written) == intent.notes[path]
        earlier = self._own.manifest(self._own.git.head())
        if path == MANIFEST:
            return written in (committed or b"", earlier.with_files(intent.files).text())
        if written in (b"", committed) or pointed_at(written) is None:
            return True  # torn by the crash, or never written
        listing = self._own.cache.listing(written, path.removesuffix(".dvc"))
        return listing is not None and listing.keys() <= earlier.with_files(intent.files).digests.keys()


def _build(tree: DatasetTree, dvc: DvcCommand, request: _Request, promise: Callable[[], None] | None = None) -> str:
    """The commit of a new version; `promise` is called before anything is written."""
    base = tree.git.head()
    earlier = tree.manifest(base)
    tree.check_free(request.tag, request.digests, earlier)
    notes = notes_of_ours(tree, request.notes, base)
    tree.check_room(request.files)
    tree.restore_earlier(dvc, earlier)
    if promise is not None:
        promise()
    manifest = earlier.with_files(request.digests)
    trailers = {BATCH_TRAILER: request.batch_id, MANIFEST_TRAILER: sha256(manifest.text()), **request.trailers}
    tracked = tree.track(dvc, request.data, base, manifest)
    return tree.commit([*tracked, *write_notes(tree, notes)], request.message, trailers, base)


def _put_back(target: Path, content: bytes | None) -> None:
    if content is None:
        target.unlink(missing_ok=True)
    elif not target.exists() or target.read_bytes() != content:
        write_durably(target, content)


def _check_request(request: _Request) -> None:
    if not TAG.fullmatch(request.tag):
        raise UsageError(f"{request.tag!r} is no dataset version.", remedy="Versions read like decisions@v0.12.0.")
    if not _BATCH_ID.fullmatch(request.batch_id):
        raise UsageError(f"{request.batch_id!r} can't name a batch.", remedy="Use 1 to 200 visible ASCII characters.")
    wrong = [file.path for file in request.data if not _NEW_FILE.fullmatch(file.path)]
    if wrong or not request.data:
        named = repr(wrong[0]) if wrong else "Nothing"
        raise UsageError(f"{named} can't be a dataset version.", remedy=f"Versions are Parquet files in {' and '.join(TRACKED)}.")
    odd = [line for line in (f"{key}: {value}" for key, value in request.trailers.items()) if not _TRAILER.fullmatch(line)]
    if odd:
        raise UsageError(f"{odd[0]!r} can't be a trailer.", remedy="Use `Key: value`, in visible ASCII characters.")


def _anchor(tag: str, text: str) -> tuple[int, str]:
    found = _ANCHOR.fullmatch(text)
    if found is None:
        raise RepositoryRefused(
            f"The commit of {tag} says `{AUDIT_TRAILER}: {text[:80]}`, which no bridge writes.",
            remedy="Somebody made that commit by other means; look at it with `git show`.",
        )
    return int(found[1]), found[2]
