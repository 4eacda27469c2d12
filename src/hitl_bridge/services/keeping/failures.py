"""Items that were set aside are listed, and queued again when a person says so."""

from __future__ import annotations

from dataclasses import dataclass

from hitl_bridge.errors import UnknownName
from hitl_bridge.ports import Clock, FailedItem, Failures


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that waits for a person. `state` is `quarantined` (Label Studio refused its task) or `failed` (the process
    ended each time that it was worked on)."""

    item_id: str
    revision: int
    state: str
    round: int
    pool: str
    tier: str
    project: str
    link: str
    push_key: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Retried:
    """The items that were queued for their next round."""

    item_ids: tuple[str, ...]
    by: str
    reason: str


def listed(failures: Failures) -> list[Failure]:
    """Every item that was set aside, by item id."""
    return [_line(each) for each in failures.failed_items()]


def retry(failures: Failures, clock: Clock, item_id: str | None, *, by: str, reason: str) -> Retried:
    """Queues the item (all of them if None) in a new round: the key of the old one is spent, a push would skip it.

    Raises:
        UnknownName: that item is not among the failures.
    """
    there = failures.failed_items()
    wanted = [each.item for each in there if item_id in (None, each.item.item_id)]
    if item_id is not None and not wanted:
        raise UnknownName("failed item", item_id, remedy="hitl-bridge failures list tells what can be retried.")
    if wanted:
        failures.requeue(wanted, by, reason, clock.now())
    return Retried(tuple(item.item_id for item in wanted), by, reason)


def _line(failed: FailedItem) -> Failure:
    item, project = failed.item, failed.project
    return Failure(
        item_id=item.item_id,
        revision=item.revision,
        state=item.state.value,
        round=item.round,
        pool=item.route.pool,
        tier=item.route.tier,
        project=project.title if project else "",
        link=project.url if project else "",
        push_key=failed.push_key,
        reason=failed.reason,
    )
