"""Whether the DVC remote holds what the dataset versions promise, and how it is mended.

`dvc status --cloud` and `dvc push` take a folder's files for present where the folder's listing is on the remote: a file that
somebody deleted there is missed by nobody until it is needed. So each object is looked for by itself, and uploaded by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from hitl_bridge.adapters.dvc.command import DvcCommand, RemoteRequest
from hitl_bridge.adapters.dvc.files import default_remote, listed, pointed_at
from hitl_bridge.adapters.dvc.tree import TRACKED, DatasetTree


@dataclass(frozen=True, slots=True)
class RemoteReport:
    """What a look at the DVC remote found.

    `looked_for`: how many objects the versions need, None where there is no DVC remote. `missing` and `damaged`: names of
    objects that the remote lacks, or holds otherwise; `healed`: those that were and are sound now. `lost`: of the
    missing and damaged, what the cache does not hold soundly either.
    """

    looked_for: int | None
    missing: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    healed: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    @property
    def is_sound(self) -> bool:
        return not (self.missing or self.damaged)


def check_remote(tree: DatasetTree, dvc: DvcCommand, *, heal: bool, deep: bool) -> RemoteReport:
    """Raises OutsideUnavailable where the remote is away or can't be looked at."""
    if default_remote(tree.root) is None:
        return RemoteReport(None)
    expected = _expected(tree, dvc)
    found = dvc.on_remote(RemoteRequest(expected, deep=deep))
    wrong = [*found.missing, *found.damaged]
    lost = tuple(tree.damaged_in_cache(wrong))
    report = RemoteReport(len(expected), found.missing, found.damaged, (), lost)
    sound = [name for name in wrong if name not in lost]  # nothing that is damaged here goes there
    if not heal or not sound:
        return report
    removed = [name for name in found.damaged if name in sound]
    after = dvc.on_remote(RemoteRequest(expected, remove=removed, upload=sound, deep=deep))
    healed = tuple(name for name in sound if name not in {*after.missing, *after.damaged})
    return replace(report, missing=after.missing, damaged=after.damaged, healed=healed)


def _expected(tree: DatasetTree, dvc: DvcCommand) -> dict[str, int | None]:
    """Size (None: not known here) by name of every object that a version needs, as far as listings are here or there."""
    listings = dict.fromkeys(_listings(tree))
    elsewhere = [name for name in listings if not tree.cache.has(name)]
    texts: Mapping[str, str] = dvc.on_remote(RemoteRequest(read=elsewhere)).texts if elsewhere else {}
    names = dict.fromkeys(listings)
    for name in listings:
        names |= dict.fromkeys(_named(texts.get(name) or tree.cache.content(name)))
    return {name: tree.cache.path(name).stat().st_size if tree.cache.has(name) else None for name in names}


def _listings(tree: DatasetTree) -> Iterator[str]:
    for tag in tree.versions():
        commit = tree.commit_of(tag)
        for directory in TRACKED:
            name = pointed_at(tree.git.content(commit, f"{directory}.dvc") or b"")
            if name is not None:
                yield name


def _named(listing: str | bytes | None) -> list[str]:
    """What a listing names; nothing if it is damaged or nowhere, which looking for the listing itself will show."""
    try:
        return [] if listing is None else list(listed(listing).values())
    except ValueError:
        return []
