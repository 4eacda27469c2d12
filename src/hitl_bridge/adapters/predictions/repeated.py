"""Which items of a long input come more than once, or were here before: found by their hashes, bucket by bucket.

The hashes of the input come in sorted pieces and are spread over buckets by their first bits, on disk where they are many; then
each bucket is merged and held against the same range of the receipt files, which are sorted by the same hash. Memory depends on
the size of a bucket and on how many repetitions there are, not on how many rows or receipts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hitl_bridge.adapters.predictions.lanes import in_turn
from hitl_bridge.core import macs

Hashes = NDArray[np.uint64]

_BUCKET = 4_000_000
"""Hashes of a bucket, about: 32 MB."""

_MOST = 4_000_000
"""So many repeated items are kept; with more, a list of them would save nothing."""

_BITS = 64
_WORKERS = 2
"""Buckets that are merged at the same time."""


@dataclass(frozen=True, slots=True)
class KnownHashes:
    """The hashes of the items in files of receipts: `hashed` are sorted by them, of `first` the ids have to be hashed."""

    hashed: Sequence[Path]
    first: Sequence[Path]

    def between(self, low: int, high: int) -> Iterator[Hashes]:
        """Hashes from `low` up to, and without, `high`, in pieces."""
        for path in self.hashed:
            with pq.ParquetFile(path) as file:
                groups = _groups(file, low, high)
                if groups:
                    found = file.read_row_groups(groups, columns=["item_hash"], use_threads=False)["item_hash"]
                    yield _within(np.asarray(found), low, high)
        for path in self.first:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(columns=["item_id"]):
                    yield _within(macs.item_hashes(batch.column(0).cast(pa.string())), low, high)


def repeated(hashes: Iterable[Hashes], rows: int, known: KnownHashes) -> Hashes | None:
    """See `ParquetReceipts.repeated`."""
    bits = max(0, (max(rows, 1) // _BUCKET).bit_length())
    found: list[Hashes] = []
    with ExitStack() as open_files:
        buckets = _buckets(hashes, bits, open_files)
        works = (partial(_in_bucket, bucket, known, number << (_BITS - bits), bits) for number, bucket in enumerate(buckets))
        with closing(in_turn(works, _WORKERS, _WORKERS)) as each:
            for some in each:
                found.append(some)
                if sum(map(len, found)) > _MOST:
                    return None
    return np.concatenate(found) if found else np.zeros(0, np.uint64)


class _Bucket:
    """Hashes on their way to be sorted, in memory or in a file."""

    def __init__(self, path: Path | None, open_files: ExitStack) -> None:
        self._path = path
        self._parts: list[Hashes] = []
        self._stream = None if path is None else open_files.enter_context(path.open("wb"))

    def add(self, hashes: Hashes) -> None:
        if self._stream is None:
            self._parts.append(hashes)
        else:
            hashes.tofile(self._stream)

    def __call__(self) -> Hashes:
        if self._stream is None or self._path is None:
            whole = np.concatenate(self._parts) if self._parts else np.zeros(0, np.uint64)
        else:
            self._stream.close()
            whole = np.fromfile(self._path, np.uint64)
            self._path.unlink()
        whole.sort(kind="stable")  # merges what is sorted in pieces, three times as fast as sorting it anew
        return whole


def _buckets(hashes: Iterable[Hashes], bits: int, open_files: ExitStack) -> list[_Bucket]:
    folder = Path(open_files.enter_context(TemporaryDirectory(prefix="hitl-items-"))) if bits else None
    buckets = [_Bucket(folder / str(number) if folder else None, open_files) for number in range(1 << bits)]
    edges = np.arange(1, 1 << bits, dtype=np.uint64) << np.uint64(_BITS - bits) if bits else np.zeros(0, np.uint64)
    for piece in hashes:
        cuts = [0, *np.searchsorted(piece, edges).tolist(), len(piece)]
        for bucket, (start, end) in zip(buckets, pairwise(cuts), strict=True):
            bucket.add(piece[start:end])
    return buckets


def _in_bucket(bucket: _Bucket, known: KnownHashes, low: int, bits: int) -> Hashes:
    """Of a bucket's hashes, all of which begin with the same `bits`, those that are there twice or are known.

    Args:
        low: the lowest that it can hold.
    """
    hashes, high = bucket(), low + (1 << (_BITS - bits))
    if not len(hashes):
        return hashes
    again = [hashes[1:][hashes[1:] == hashes[:-1]]]
    for before in known.between(low, high):
        places = np.minimum(np.searchsorted(hashes, before), len(hashes) - 1)
        again.append(before[hashes[places] == before])
    found: Hashes = np.unique(np.concatenate(again))
    return found


def _groups(file: pq.ParquetFile, low: int, high: int) -> list[int]:
    """Row groups that may hold a hash of this range."""
    flat = [file.schema.column(at).name for at in range(len(file.schema))].index("item_hash")
    bounds = (file.metadata.row_group(group).column(flat).statistics for group in range(file.num_row_groups))
    return [at for at, each in enumerate(bounds) if each is None or not each.has_min_max or (each.min < high and each.max >= low)]


def _within(hashes: Hashes, low: int, high: int) -> Hashes:
    return hashes[(hashes >= np.uint64(low)) & (hashes <= np.uint64(high - 1))]
