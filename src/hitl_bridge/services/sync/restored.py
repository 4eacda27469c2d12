"""A store that was restored from a backup is older than what was published from it: what it did since is found again.

What the store has forgotten is not lost: its tasks are in the labeling service under keys that it would give them again, the
answers are there too, and the dataset versions are in git.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from hitl_bridge.core.dataset.change import TAG, version_order
from hitl_bridge.core.model import JSON, Project, PushKey, ReviewTask, TaskState
from hitl_bridge.errors import RefusedForSafety
from hitl_bridge.ports import STORE_RESTORED, AuditHead, Clock, Event, LabelingService, RestoredStore, StateStore
from hitl_bridge.services.sync.doubles import settle_doubles

LOOK_UP_FIRST = "look_up_first"
"""Kept by a store that was restored: since when every promised task is looked up before it is sent."""

_ACCEPTED = "restored_at_anchor"

Anchor = tuple[str, int, str]
"""Where the audit log's head was published (a dataset version's tag), its number and its hash."""


def refuse_older_store(store: RestoredStore, anchors: Callable[[], Iterable[Anchor]]) -> None:
    """Raises RefusedForSafety if the newest published head of the audit log is not in this store's log: then the store is
    older than what was published from it (or another one), and going on would ask and commit again."""
    newest = _newest(anchors)
    if newest is None or store.knows(AuditHead(newest[1], newest[2])) or store.remembered(_ACCEPTED) == _name(newest):
        return
    raise RefusedForSafety(
        f"The store is older than what was published from it: {newest[0]} was made at row {newest[1]} of its audit log, which it "
        "does not have. Nothing was changed.",
        remedy="Put the newest store in its place. If there is none newer: hitl-bridge sync --accept-restored-store, which looks "
        "every task up before it sends it, and reads all answers again.",
    )


def accept_older_store(
    store: RestoredStore, clock: Clock, head: AuditHead, anchors: Callable[[], Iterable[Anchor]], by: str
) -> bool:
    """Believes a store that was restored from a backup, from now on; False if there is nothing to accept.

    What the store did after the backup is found again: tasks by their keys, answers by reading all of them, dataset versions
    by their tags.
    """
    newest = _newest(anchors)
    if newest is None or store.knows(AuditHead(newest[1], newest[2])) or store.remembered(_ACCEPTED) == _name(newest):
        return False
    now = clock.now()
    detail: dict[str, JSON] = {
        "published": newest[0],
        "published_row": newest[1],
        "published_hash": newest[2],
        "own_row": head.seq,
        "not_ours": [tag for tag, seq, digest in anchors() if not store.knows(AuditHead(seq, digest))],
    }
    notes = {LOOK_UP_FIRST: now.isoformat(), _ACCEPTED: _name(newest)}
    store.accept_restored(notes, Event(now, STORE_RESTORED, detail=detail, actor=by))
    return True


def look_up_promised(
    store: StateStore, labeling: LabelingService, project: Project, tasks: Sequence[ReviewTask], clock: Clock
) -> frozenset[PushKey]:
    """Promises these tasks; returns those that are there already, confirmed: in a store that was restored they may have been
    sent after the backup. Costs nothing in any other store."""
    if not tasks or store.remembered(LOOK_UP_FIRST) is None:
        return frozenset()
    store.intend(tasks)
    keys = [task.push_key for task in tasks]
    settle_doubles(store, labeling, project, keys, clock.now())
    there = frozenset(key for key, task in store.tasks_by_key(keys).items() if task.state is TaskState.LIVE)
    if there:
        # Their answers are older than the cursor, which has passed them while nobody knew whose they were.
        store.forget_cursor(project.project_id)
    return there


def _newest(anchors: Callable[[], Iterable[Anchor]]) -> Anchor | None:
    """Of the newest version: after a restore the log counts from a lower number again."""
    return max(anchors(), key=lambda anchor: version_order(anchor[0].removeprefix(TAG)), default=None)


def _name(anchor: Anchor) -> str:
    return f"{anchor[0]} {anchor[1]} {anchor[2]}"
