"""Runs in a process of its own, started by `dvc_command`: `dvc push`, and what the remote holds afterwards.

`python -m hitl_bridge.adapters.dvc.child REQUEST` reads a JSON file and writes `REQUEST.answer`. The push is DVC's own command;
in the same process, because loading DVC takes longer than all the rest. Looking is done through the remote's file system as
DVC opens it: DVC itself takes a folder's files for present where the folder's listing is. Written against DVC 3.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_JOBS = 8
_CHUNK = 1 << 20


def main(request_file: Path) -> int:
    from dvc.cli import main as dvc_command
    from dvc.exceptions import DvcException

    request = json.loads(request_file.read_bytes())
    if request["push"]:
        code = int(dvc_command(["push", "--quiet", *request["push"]]))
        if code:
            return code
    try:
        with _remote() as (remote, cache):
            _replace(remote, cache, request["remove"], request["upload"])
            answer = {**_look(remote, request["expected"], deep=request["deep"]), "listings": _read(remote, request["read"])}
    except DvcException as error:  # a remote that keeps versions itself, for one: nothing can be looked for by name
        raise SystemExit(f"ERROR: {error}") from error
    request_file.with_suffix(".answer").write_text(json.dumps(answer), encoding="utf-8")
    return 0


@contextmanager
def _remote() -> Iterator[tuple[Any, Any]]:
    """The default remote and the cache, as DVC's own databases of objects."""
    from dvc.repo import Repo

    with Repo() as repo:
        yield repo.cloud.get_remote_odb(None, "push"), repo.cache.local


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


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
