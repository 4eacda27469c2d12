"""A working tree in which dataset versions are built and read: the workspace itself, or the bridge's own clone of it."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from hitl_bridge.adapters.dvc.added import Addition, check_added
from hitl_bridge.adapters.dvc.command import Brought, DvcCommand, DvcFailed, RemoteAnswer, RemoteRequest, check_dvc
from hitl_bridge.adapters.dvc.extend import extend, extendable_folders
from hitl_bridge.adapters.dvc.files import (
    MANIFEST,
    DvcCache,
    Manifest,
    default_remote,
    part_of,
    plain_folder,
    pointed_at,
    sha256,
    write_durably,
)
from hitl_bridge.adapters.dvc.locks import as_dvc_would
from hitl_bridge.adapters.dvc.objects import FolderRemote
from hitl_bridge.adapters.git.repository import GitRepository
from hitl_bridge.adapters.leftovers import is_temporary
from hitl_bridge.errors import OutsideUnavailable, RepositoryRefused, UnknownName
from hitl_bridge.ports import NewFile, Published

TRACKED = ("data/decisions", "data/payloads")
POINTERS = tuple(f"{directory}.dvc" for directory in TRACKED)
IGNORE = "data/.gitignore"
IGNORED = frozenset({"/decisions", "/payloads"})
TAG_PREFIX = "decisions@v"
TAG = re.compile(r"decisions@v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
BATCH_TRAILER = "Bridge-Batch"
MANIFEST_TRAILER = "Manifest-SHA256"
_ROOM = 3  # free space asked for, as a multiple of what is new: the file, its copy in the cache, temporary files


class DatasetTree:
    """`root` is a working tree of git and DVC, on `git`'s branch. Whoever builds in it holds the commit lock."""

    def __init__(self, root: Path, git: GitRepository) -> None:
        self.root = root
        self.git = git
        self.cache = DvcCache(root)

    # -------------------------------------------------------------------------------------------------- asking

    def check(self) -> None:
        """Raises RepositoryRefused unless a version could be committed now. Touches nothing."""
        self.git.check()
        check_dvc(self.root)
        for path in ("data", *TRACKED):
            if (self.root / path).is_symlink():
                raise RepositoryRefused(
                    f"{self.root / path} is a symbolic link.", remedy="Put a folder there; DVC moves its cache, not data."
                )

    def published(self, tag: str) -> Published | None:
        commit = self.git.tagged(tag) if TAG.fullmatch(tag) else None
        return Published(tag, commit) if commit else None

    def versions(self) -> list[str]:
        """The tags that are there, by semantic version."""
        tags = [match for tag in self.git.tags(TAG_PREFIX) if (match := TAG.fullmatch(tag))]
        return [match[0] for match in sorted(tags, key=lambda match: tuple(int(part) for part in match.groups()))]

    def manifest(self, revision: str) -> Manifest:
        return Manifest.parse(self.git.content(revision, MANIFEST))

    # ------------------------------------------------------------------------------------------------- reading

    def commit_of(self, tag: str) -> str:
        commit = self.git.tagged(tag) if TAG.fullmatch(tag) else None
        if commit is None:
            raise UnknownName("dataset version", tag, remedy="`git tag --list 'decisions@*'` lists them; `git fetch --tags`?")
        return commit

    def cached(self, commit: str, paths: Collection[str] | None) -> dict[str, bytes] | None:
        """The data files of a version (of `paths` alone, if given); None where the cache lacks one. Checks nothing."""
        files: dict[str, bytes] = {}
        for directory in TRACKED:
            pointer = self.git.content(commit, f"{directory}.dvc")
            listing = {} if pointer is None else self.cache.listing(pointer, directory)
            if listing is None:
                return None
            for path in listing if paths is None else listing.keys() & set(paths):
                content = self.cache.content(listing[path])
                if content is None:
                    return None
                files[path] = content
        return files

    def fetched(self, dvc: DvcCommand, tag: str, paths: Collection[str] | None) -> dict[str, bytes]:
        """The same from the DVC remote. Raises OutsideUnavailable where that is away."""
        commit, files = self.commit_of(tag), dict[str, bytes]()
        for directory in TRACKED:
            if self.git.content(commit, f"{directory}.dvc") is None:
                continue
            with tempfile.TemporaryDirectory() as scratch:
                target = Path(scratch) / "data"
                dvc.run("get", "--quiet", ".", directory, "--rev", tag, "--out", str(target))
                files |= {f"{directory}/{path.name}": path.read_bytes() for path in target.iterdir()}
        return files if paths is None else {path: files[path] for path in files.keys() & set(paths)}

    def checked(self, tag: str, files: Mapping[str, bytes], paths: Collection[str] | None) -> Mapping[str, bytes]:
        """`files`, if they are what the version's manifest says. Raises RepositoryRefused."""
        digests = self.manifest(self.commit_of(tag)).digests
        wanted = digests.keys() | files.keys() if paths is None else set(paths)
        wrong = sorted(path for path in wanted if path not in files or sha256(files[path]) != digests.get(path))
        if wrong:
            raise RepositoryRefused(
                f"The data of {tag} is not what was published: {', '.join(wrong[:3])}.",
                remedy="The DVC cache or remote is damaged. Delete the damaged objects and run `dvc fetch --all-tags`.",
            )
        return files

    # ------------------------------------------------------------------------------------------------ building

    def check_free(self, tag: str, files: Mapping[str, str], manifest: Manifest) -> None:
        """Raises RepositoryRefused where the version, one of its files or what only we write is taken by somebody."""
        if self.git.tagged(tag) is not None:
            raise RepositoryRefused(
                f"{tag} is there already, for another batch.", remedy="Run `git fetch --tags` and commit anew."
            )
        taken = sorted(files.keys() & manifest.digests)
        if taken:
            raise RepositoryRefused(f"{taken[0]} belongs to an earlier version.", remedy="Name the new file otherwise.")
        edited = self.git.edited([*POINTERS, MANIFEST, *self._ignore_file_if_needed()])
        if edited:
            raise RepositoryRefused(
                f"{', '.join(edited)} has changes that are not committed, and only the bridge writes there.",
                remedy=f"Look at `git diff HEAD -- {edited[0]}`; take them back with `git restore -SW -- {edited[0]}`.",
            )

    def _ignore_file_if_needed(self) -> tuple[str, ...]:
        lines = (self.git.content(self.git.head(), IGNORE) or b"").decode().split()
        return () if set(lines) >= IGNORED else (IGNORE,)

    def check_room(self, files: Sequence[NewFile]) -> None:
        """Raises OutsideUnavailable rather than fill the disk."""
        needed = _ROOM * sum(len(file.content) for file in files)
        free = min(shutil.disk_usage(place).free for place in (self.root, _standing(self.cache.directory)))
        if free < needed:
            raise OutsideUnavailable(
                f"{needed:,} bytes are needed in {self.root}, {free:,} are free.", remedy="Make room and try again."
            )

    def restore_earlier(self, dvc: DvcCommand, manifest: Manifest) -> None:
        """DVC takes a folder for what lies in it: one that lost an earlier file would become a version without it."""
        for path in filter(is_temporary, self._found()):
            path.unlink()
        there = self.files()
        strange = sorted(there - manifest.digests.keys())
        if strange:
            raise RepositoryRefused(
                f"{strange[0]} is part of no version, and only the bridge writes there.", remedy="Move it elsewhere."
            )
        if not manifest.digests.keys() - there:
            return
        bring = "checkout" if default_remote(self.root) is None or self._has_all(manifest) else "pull"
        try:
            dvc.run(bring, "--quiet", *(pointer for pointer in POINTERS if (self.root / pointer).exists()))
        except DvcFailed as failed:
            lost = sorted(manifest.digests.keys() - there)
            raise RepositoryRefused(
                f"{lost[0]} of an earlier version is not here, and could not be brought back: {failed.message}",
                remedy="Run `dvc pull`, then the same command again.",
            ) from failed

    def _has_all(self, manifest: Manifest) -> bool:
        """Whether the cache holds all of it: then no remote has to be asked."""
        pointers = {each: (self.root / f"{each}.dvc").read_bytes() for each in TRACKED if manifest.in_directory(each)}
        listings = [self.cache.listing(pointer, directory) for directory, pointer in pointers.items()]
        return all(listing is not None and all(map(self.cache.has, listing.values())) for listing in listings)

    def files(self) -> set[str]:
        """Every file below the tracked folders."""
        return {str(path.relative_to(self.root)) for path in self._found()}

    def _found(self) -> list[Path]:
        return [path for directory in TRACKED for path in (self.root / directory).rglob("*") if not path.is_dir()]

    def needs_dvc(self) -> bool:
        """Whether the next version will be made by DVC itself, and not by us as it would."""
        remote = default_remote(self.root)
        plain = remote is None or plain_folder(self.root) is not None
        return not plain or extendable_folders(self.root, self._pointers(self.git.head(), TRACKED)) is None

    def track(self, dvc: DvcCommand, files: Sequence[NewFile], base: str, manifest: Manifest) -> list[str]:
        """Files, cache, manifest, remote: all that comes before the commit. Returns what is to be committed."""
        directories = [directory for directory in TRACKED if manifest.in_directory(directory)]
        pointers = self._pointers(base, directories)
        addition = self._addition(pointers, files, manifest)
        folders = extendable_folders(self.root, pointers)
        if folders is None:
            self._write(files)
            brought = dvc.add(addition)
        else:
            with _storing("workspace", self.root), as_dvc_would(self.root, directories):
                self._write(files)
                extend(self.root, folders, files, addition)
            brought = self._uploaded(dvc, addition, check_added(self.root, addition))
        self._check_remote_holds(dvc, brought)
        write_durably(self.root / MANIFEST, manifest.text())
        ignore = [IGNORE] if (self.root / IGNORE).exists() and self.git.edited([IGNORE]) else []
        return [*(f"{directory}.dvc" for directory in directories), MANIFEST, *ignore]

    def _write(self, files: Sequence[NewFile]) -> None:
        for file in files:
            write_durably(self.root / file.path, file.content)

    def _pointers(self, revision: str, directories: Sequence[str]) -> dict[str, bytes]:
        """What the pointers of these folders say there; nothing for one that has none yet."""
        return {directory: self.git.content(revision, f"{directory}.dvc") or b"" for directory in directories}

    def _addition(self, pointers: Mapping[str, bytes], files: Sequence[NewFile], manifest: Manifest) -> Addition:
        earlier = {directory: self.cache.listing(pointer, directory) or {} for directory, pointer in pointers.items()}
        return Addition(
            directories=list(pointers),
            paths=sorted(path for directory in pointers for path in manifest.in_directory(directory)),
            earlier={path: md5 for listing in earlier.values() for path, md5 in listing.items()},
            new={file.path: sha256(file.content) for file in files},
            listings=[name for pointer in pointers.values() if (name := pointed_at(pointer))],
            upload=default_remote(self.root) is not None,
        )

    def _uploaded(self, dvc: DvcCommand, addition: Addition, sizes: Mapping[str, int]) -> Brought:
        """Where the remote has the earlier listings it has their files: then what is new is all that it lacks."""
        folder = plain_folder(self.root) if addition.upload else None
        if folder is None:
            return dvc.upload(addition, sizes) if addition.upload else Brought(sizes)
        remote = FolderRemote(folder)
        if not remote.holds(addition.listings):
            return dvc.upload(addition, sizes)
        with _storing("DVC remote", folder):
            remote.upload(self.cache.objects, sizes)
        return Brought(sizes, RemoteAnswer(tuple(remote.missing(sizes))))

    def _check_remote_holds(self, dvc: DvcCommand, brought: Brought) -> None:
        """What is missing or otherwise on the remote is uploaded once more, by itself."""
        found = brought.found
        wrong = [*found.missing, *found.damaged]
        if wrong:
            found = dvc.on_remote(RemoteRequest(brought.sizes, remove=found.damaged, upload=wrong))
        if found.missing or found.damaged:
            raise OutsideUnavailable(
                f"The DVC remote does not hold {[*found.missing, *found.damaged][0]} after `dvc push` said that it does.",
                remedy="Nothing was committed. Look at the remote's storage, then run the same command again.",
            )

    def commit(self, changed: Sequence[str], message: str, trailers: Mapping[str, str], base: str) -> str:
        written = "".join(f"{key}: {value}\n" for key, value in trailers.items())
        return self.git.commit(changed, f"{message.strip()}\n\n{written}", base=base)

    def tag(self, tag: str, commit: str, message: str) -> Published:
        """One tag a version: that which is there, else a new one."""
        there = [name for name in self.git.tags_at(commit, TAG_PREFIX) if TAG.fullmatch(name)]
        if there:
            return Published(there[0], commit)
        self.git.tag(tag, commit, message)
        return Published(tag, commit)

    # ------------------------------------------------------------------------------------------ clearing away

    def remove(self, paths: Collection[str]) -> None:
        """Data files, and what was half written of them."""
        for path in paths:
            (self.root / path).unlink(missing_ok=True)
            part_of(self.root / path).unlink(missing_ok=True)

    def damaged_in_cache(self, names: Collection[str]) -> list[str]:
        """Objects of the cache that are not what their name says, or not there."""
        return sorted(name for name in names if _md5(self.cache.content(name) or b"") != name.removesuffix(".dir"))


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()  # what DVC names objects by


@contextmanager
def _storing(what: str, place: Path) -> Iterator[None]:
    """A disk that is full, or away, is told as such."""
    try:
        yield
    except OSError as error:
        raise OutsideUnavailable(
            f"The {what} {place} could not be written: {error}",
            remedy="Nothing was committed. Mend that and run the same command again.",
        ) from error


def _standing(path: Path) -> Path:
    """The nearest folder that is there."""
    return next(each for each in (path, *path.parents) if each.is_dir())
