"""Runs in a process of its own, started by `dvc_command`: `dvc add` with the upload, or a look at what the remote holds.

`python -m hitl_bridge.adapters.dvc.child REQUEST` reads a JSON file and writes `REQUEST.answer`; for `-` the file is named on
standard input, once DVC is loaded. Commands are DVC's own; all in one process, because loading DVC takes longer than all the
rest. Looking is done through the remote's file system as DVC opens it: DVC itself takes a folder's files for present where the
folder's listing is. Written against DVC 3.
"""

from __future__ import annotations

import gc
import hashlib
import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from hitl_bridge.adapters.dvc.added import ADD_FAILED, PUSH_FAILED, Addition, check_added
from hitl_bridge.errors import RepositoryRefused

_JOBS = 8
_CHUNK = 1 << 20


def main(request_file: Path) -> int:
    from dvc.exceptions import DvcException

    request = json.loads(request_file.read_bytes())
    task = {"add": _add, "upload": _upload, "remote": _on_remote}[request.pop("task")]
    try:
        answer = task(request)
    except DvcException as error:  # a remote that keeps versions itself, for one: nothing can be looked for by name
        raise SystemExit(f"ERROR: {error}") from error
    request_file.with_suffix(".answer").write_text(json.dumps(answer), encoding="utf-8")
    return 0


def _add(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """As `dvc add` does it, but for its last step: files that are in place already need not be put there from the cache."""
    addition = Addition(**request)
    with _repo() as repo:
        with _saying(ADD_FAILED):
            repo.add(list(addition.directories), relink=False)
        try:
            sizes = check_added(Path.cwd(), addition)
        except RepositoryRefused as refused:
            return {"refused": (refused.message, refused.remedy)}
        nothing: Mapping[str, Any] = {"missing": [], "damaged": []}
        found = _uploaded(repo, addition.directories, addition.listings, sizes) if addition.upload else nothing
    return {"sizes": sizes, "listings": {}, **found}


def _upload(request: Mapping[str, Any]) -> Mapping[str, Any]:
    with _repo() as repo:
        return {"listings": {}, **_uploaded(repo, request["directories"], request["listings"], request["sizes"])}


def _uploaded(repo: Any, directories: Sequence[str], listings: Sequence[str], sizes: Mapping[str, int]) -> Mapping[str, Any]:
    """Where the remote has the earlier listings it has their files: then only what is new is looked for and uploaded.

    `dvc push` looks for every file of every version. It is needed where the remote is new, or was away for some versions.
    """
    with _saying(PUSH_FAILED):
        remote = repo.cloud.get_remote_odb(None, "push")
        known = listings and not _look(remote, dict.fromkeys(listings), deep=False)["missing"]
        if known:
            _replace(remote, repo.cache.local, (), list(sizes))
        else:
            repo.push([f"{directory}.dvc" for directory in directories])
        return _look(remote, sizes, deep=False)


@contextmanager
def _saying(code: int) -> Iterator[None]:
    """Ends with `code` and DVC's own words where its command fails, in whatever way."""
    try:
        yield
    except Exception as error:  # whatever a cloud's library raises
        sys.stderr.write("".join(f"ERROR: {each or type(each).__name__}\n" for each in (error.__cause__, error) if each))
        raise SystemExit(code) from error


def _on_remote(request: Mapping[str, Any]) -> Mapping[str, Any]:
    with _repo() as repo:
        remote, cache = repo.cloud.get_remote_odb(None, "push"), repo.cache.local
        _replace(remote, cache, request["remove"], request["upload"])
        return {**_look(remote, request["expected"], deep=request["deep"]), "listings": _read(remote, request["read"])}


@contextmanager
def _repo() -> Iterator[Any]:
    """The workspace as DVC opens it, saying nothing but what goes wrong."""
    from dvc.logger import set_loggers_level
    from dvc.repo import Repo

    with set_loggers_level(logging.CRITICAL), Repo() as repo:
        yield repo


def _replace(remote: Any, cache: Any, removed: Sequence[str], uploaded: Sequence[str]) -> None:
    """Object by object, for `dvc push` would say that they are there. Listings last: what they name is there before them."""
    for name in removed:
        path = remote.oid_to_path(name)
        if remote.fs.exists(path):
            remote.fs.remove(path)
    for name in sorted(uploaded, key=lambda name: name.endswith(".dir")):
        remote.add(cache.oid_to_path(name), cache.fs, name)


def _read(remote: Any, names: Sequence[str]) -> dict[str, str]:
    """The text of those listings that are there."""
    paths = {name: remote.oid_to_path(name) for name in names}
    return {name: remote.fs.open(path, mode="rb").read().decode() for name, path in paths.items() if remote.fs.exists(path)}


def _look(remote: Any, expected: Mapping[str, int | None], *, deep: bool) -> dict[str, Any]:
    """Which of `expected` (size by name) are not on the remote, and which are something else there."""
    paths = {name: remote.oid_to_path(name) for name in expected}
    found = dict(zip(paths, remote.fs.info(list(paths.values()), return_exceptions=True, batch_size=_JOBS), strict=True))
    away = [error for error in found.values() if isinstance(error, Exception) and not isinstance(error, FileNotFoundError)]
    if away:
        raise SystemExit(f"ERROR: the remote can't be looked at: {type(away[0]).__name__}: {away[0]}")
    missing = [name for name, entry in found.items() if isinstance(entry, FileNotFoundError)]
    there = [name for name in found if name not in set(missing)]
    damaged = [name for name in there if not _fits(found[name].get("size"), expected[name])]
    if deep:
        damaged += [name for name in there if name not in set(damaged) and _digest(remote.fs, paths[name]) != name[:32]]
    return {"missing": missing, "damaged": damaged}


def _fits(size: int | None, expected: int | None) -> bool:
    """Some remotes do not tell sizes."""
    return size is None or expected is None or size == expected


def _digest(filesystem: Any, path: str) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with filesystem.open(path, mode="rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _awaited() -> Path:
    """What it is to do, told when it has loaded DVC; where nobody tells, there is nothing to do."""
    import_module("dvc.repo")
    named = sys.stdin.readline().strip()
    if not named:
        sys.exit(0)
    return Path(named)


if __name__ == "__main__":
    gc.disable()  # it lives for a second, and a tenth of that would go into looking for what to throw away
    sys.exit(main(_awaited() if sys.argv[1] == "-" else Path(sys.argv[1])))
