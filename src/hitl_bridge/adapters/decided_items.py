"""The index of decided items in files: a part a file, read where it lies (memory-mapped), and a list of the parts in force.

All of it can be made anew from the store: what can't be read is not mended, it is made again. A part is never changed, and the
list is replaced as a whole, so a process killed at any point leaves either the old index or the new one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hitl_bridge.adapters.workspace_lock import workspace_lock
from hitl_bridge.core import draws
from hitl_bridge.core.model import ItemId
from hitl_bridge.core.similarity import Decided, Part, Terms, merged, part_of, to_merge
from hitl_bridge.ports import AuditHead
from hitl_bridge.ports.prior import Identity

FORM = 1
"""How terms are made and parts are laid out: another form is made anew."""

_LIST = "parts.json"
_AT_ONCE = 20_000
"""Items of one part before parts are put together: what is in memory at a time."""

_ARRAYS = ("starts", "terms", "words", "spans", "places")


@dataclass(frozen=True, slots=True)
class _Stored:
    """A part with the names of its items, as Arrow holds them."""

    file: str
    part: Part
    item_ids: Any
    revisions: Any

    @property
    def size(self) -> int:
        return self.part.size

    def name(self, place: int) -> Identity:
        return ItemId(self.item_ids[place].as_py()), self.revisions[place].as_py()


class DecidedItemFiles:
    """Implements `ports.DecidedIndex` in `folder`. Terms are hashed with the workspace's `key`: an index that another key made is
    of no use, and counts as empty."""

    def __init__(self, folder: Path, key: bytes) -> None:
        self._folder = folder
        self._made_by = f"{FORM}/{draws.digest(key, 'similar')[:16]}"
        self._text: str | None = None
        self._head: AuditHead | None = None
        self._stored: list[_Stored] = []
        self._decided = Decided([])

    @property
    def size(self) -> int:
        return self._decided.size

    @contextmanager
    def alone(self) -> Iterator[None]:
        with workspace_lock(self._folder.parent / f"{self._folder.name}.lock"):
            yield

    def head(self) -> AuditHead | None:
        self._reopen()
        return self._head

    def take_in(self, items: Iterable[tuple[Identity, Terms]], head: AuditHead, *, anew: bool) -> int:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        stored, taken, stream = [] if anew else list(self._stored), 0, iter(items)
        while some := list(islice(stream, _AT_ONCE)):
            taken += len(some)
            fresh = _arrays([identity for identity, _ in some], part_of([terms for _, terms in some]))
            stored.append(self._written(fresh))
            stored = self._put_together(stored)
        self._record([each.file for each in stored], head)
        return taken

    def nearest(self, terms: Terms, most: int) -> list[tuple[Identity, float]]:
        firsts = np.cumsum([0, *(each.size for each in self._stored)])
        found = []
        for near in self._decided.nearest(terms, most):
            number = int(np.searchsorted(firsts, near.place, side="right")) - 1
            found.append((self._stored[number].name(near.place - int(firsts[number])), near.similarity))
        return found

    # ------------------------------------------------------------------------------------------------------ reading

    def _reopen(self) -> None:
        """What is in force now; nothing, if that can't be read or was made in another way."""
        path = self._folder / _LIST
        text = path.read_text(encoding="utf-8") if path.is_file() else None
        if text == self._text:
            return
        self._text, self._head, self._stored = text, None, []
        try:
            listed = json.loads(text or "{}")
            if listed.get("made_by") == self._made_by:
                self._stored = [self._read(str(name)) for name in listed["parts"]]
                self._head = AuditHead(int(listed["seq"]), str(listed["hash"]))
        except (OSError, ValueError, KeyError, AttributeError, TypeError):  # Arrow's errors are such, too
            self._head, self._stored = None, []
        self._decided = Decided([each.part for each in self._stored])

    def _read(self, name: str) -> _Stored:
        with pa.memory_map(str(self._folder / name)) as source, pa.ipc.open_file(source) as reader:
            row = reader.get_batch(0)
        arrays = {each: row.column(each).values.to_numpy() for each in _ARRAYS}
        return _Stored(name, Part(**arrays), row.column("item_ids").values, row.column("revisions").values)

    # ------------------------------------------------------------------------------------------------------ writing

    def _put_together(self, stored: list[_Stored]) -> list[_Stored]:
        count = to_merge([each.size for each in stored])
        if count < 2:
            return stored
        last = stored[-count:]
        identities = [each.name(place) for each in last for place in range(each.size)]
        return [*stored[:-count], self._written(_arrays(identities, merged([each.part for each in last])))]

    def _written(self, batch: pa.RecordBatch) -> _Stored:
        number = max((int(path.stem.partition("-")[2]) for path in self._folder.glob("part-*.arrow")), default=0) + 1
        path = self._folder / f"part-{number:08}.arrow"
        with path.open("wb") as file:
            with pa.ipc.new_file(file, batch.schema) as writer:
                writer.write_batch(batch)
            file.flush()
            os.fsync(file.fileno())
        return self._read(path.name)

    def _record(self, parts: Sequence[str], head: AuditHead) -> None:
        """From now on these parts are in force; all others go. Who has one of them open keeps it until they close it."""
        text = json.dumps({"made_by": self._made_by, "seq": head.seq, "hash": head.hash, "parts": list(parts)})
        fresh = self._folder / f"{_LIST}.new"
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(self._folder / _LIST)
        self._reopen()
        for path in self._folder.glob("part-*.arrow"):
            if path.name not in parts:
                path.unlink(missing_ok=True)


def _arrays(identities: Sequence[Identity], part: Part) -> pa.RecordBatch:
    """A part as one row of lists: Arrow maps each of them as it lies."""
    columns = {name: pa.array(np.ascontiguousarray(getattr(part, name))) for name in _ARRAYS}
    columns["item_ids"] = pa.array([item_id for item_id, _ in identities], pa.large_string())
    columns["revisions"] = pa.array([revision for _, revision in identities], pa.int32())
    return pa.record_batch({name: _one_row(values) for name, values in columns.items()})


def _one_row(values: Any) -> Any:
    return pa.LargeListArray.from_arrays(pa.array([0, len(values)], pa.int64()), values)
