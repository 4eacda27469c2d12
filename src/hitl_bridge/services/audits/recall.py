"""Calling back what a lot released: listed from the receipts into a file, and told to a webhook."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hitl_bridge.core.audits.lots import Lot
from hitl_bridge.errors import BridgeError, UnknownName
from hitl_bridge.ports import LotStore, Released
from hitl_bridge.services.audits.lots import LotPorts


class RecallFile(Protocol):
    def __call__(self, path: Path, released: Iterable[Released]) -> int:
        """Writes all of them, durable when this returns; how many. Raises UsageError for a file that can't be written."""


class RecallHook(Protocol):
    def deliver(self, lot: Lot, released: Iterator[Released]) -> int:
        """Tells of all of them; how many. Raises OutsideUnavailable where the other side did not take every part."""


@dataclass(frozen=True, slots=True)
class RecallResult:
    """`items` that the lot released without a look; `path` where they are listed; `delivered` whether the webhook took the
    call (None: there is none); `trouble` why not."""

    lot_id: str
    items: int
    path: str | None
    delivered: bool | None
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Delivered:
    """Recalls that the webhook took, and why others were not."""

    lot_ids: tuple[str, ...] = ()
    troubles: tuple[str, ...] = ()


def recall(
    ports: LotPorts, lot_id: str, *, path: Path, write: RecallFile, hook: RecallHook | None, dry_run: bool = False
) -> RecallResult:
    """Lists what the lot released, held or not; tells the webhook. With `dry_run` counts, writes nothing and calls nobody.

    Raises:
        UnknownName: there is no such lot.
        RefusedForSafety: receipts are missing.
    """
    lot = _lot(ports.store, lot_id)
    if dry_run:
        return RecallResult(lot_id, sum(1 for _ in released(ports, lot)), None, None)
    items = write(path, released(ports, lot))
    if hook is None:
        return RecallResult(lot_id, items, str(path), None)
    trouble = _told(ports, lot, hook)
    return RecallResult(lot_id, items, str(path), trouble is None, trouble)


def deliver_recalls(ports: LotPorts, hook: RecallHook) -> Delivered:
    """Tells the webhook of every held lot of which it has not taken the call yet: at least once each."""
    waiting = [each for each in ports.store.recalls() if each.delivered_at is None]
    lots = {lot.lot_id: lot for lot in ports.store.lots()} if waiting else {}
    tried = [(each.lot_id, _told(ports, lots[each.lot_id], hook)) for each in waiting]
    return Delivered(tuple(name for name, why in tried if why is None), tuple(why for _, why in tried if why is not None))


def released(ports: LotPorts, lot: Lot) -> Iterator[Released]:
    return ports.tallies.released(ports.store.files_of(lot), lot)


def _told(ports: LotPorts, lot: Lot, hook: RecallHook) -> str | None:
    """None if the webhook took it, else why not: that is told, and tried again, and stops nothing else."""
    try:
        hook.deliver(lot, released(ports, lot))
    except BridgeError as error:
        ports.store.record_try(lot.lot_id, ports.clock.now(), delivered=False)
        return error.message
    ports.store.record_try(lot.lot_id, ports.clock.now(), delivered=True)
    return None


def _lot(store: LotStore, lot_id: str) -> Lot:
    found = next((lot for lot in store.lots() if lot.lot_id == lot_id), None)
    if found is None:
        raise UnknownName("lot", lot_id, remedy="`hitl-bridge audit report` lists the lots.")
    return found
