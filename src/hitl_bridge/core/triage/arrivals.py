"""Which rows of a batch are new, over columns: only rows whose item comes twice or is known are looked at one by one."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hitl_bridge.core import macs
from hitl_bridge.core.triage.revisions import Arrival, Digests, KnownReceipt, in_present_form, sort_out

if TYPE_CHECKING:
    import pyarrow as pa

Places: TypeAlias = NDArray[np.int64]
Hashes: TypeAlias = NDArray[np.uint64]

FirstForm: TypeAlias = Callable[[Sequence[int]], Sequence[Digests]]
"""The digests of the first form of the rows with these places."""

_DIGESTS = ("input_digest", "content_digest")


@dataclass(frozen=True, slots=True)
class Found:
    """Places in the batch: `fresh` with the revision of each one's item; `duplicates` were here before, word for word;
    `conflicts` say something else of the same input with the same model version."""

    fresh: Places
    revisions: NDArray[np.int32]
    duplicates: int
    conflicts: Places


def by_item(predictions: pa.Table) -> pa.Table:
    """The predictions with their `item_hash`, sorted by it; those of one item in the order in which they came (`row`)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    whole = predictions.combine_chunks()
    if "item_hash" not in whole.column_names:
        whole = whole.append_column("item_hash", pa.array(macs.item_hashes(_plain(whole["item_id"])), pa.uint64()))
    order = pa.array(_order(hashes_of(whole), _numbers(whole["row"])))
    return pc.take(whole, order, boundscheck=False)


def _order(hashes: Hashes, rows: Places) -> Places:
    if not np.all(rows[1:] >= rows[:-1]):
        by_both: Places = np.lexsort((rows, hashes))
        return by_both
    if len(hashes) > _PACKED:
        return np.argsort(hashes, kind="stable")
    # Sorting whole numbers is ten times as fast as sorting places by them: the place stands in the last bits.
    low = np.uint64(_PACKED - 1)
    packed = (hashes & ~low) | np.arange(len(hashes), dtype=np.uint64)
    packed.sort()
    places: Places = (packed & low).astype(np.int64)
    return places


_PACKED = 1 << 17
"""Up to so many rows the first 47 bits of a hash are sorted by; two items that have them in common may lie either way."""


def in_buckets(parts: Sequence[pa.Table]) -> pa.Table:
    """Parts that are each sorted by `by_item`, put together bucket by bucket: much cheaper than sorting them anew, and as good
    for whoever looks for an item in a file of them."""
    import pyarrow as pa

    bits = bucket_bits(sum(part.num_rows for part in parts))
    edges = np.arange(1, 1 << bits, dtype=np.uint64) << np.uint64(64 - bits) if bits else np.zeros(0, np.uint64)
    cuts = [[0, *np.searchsorted(hashes_of(part), edges).tolist(), part.num_rows] for part in parts]
    slices = [
        part.slice(cut[bucket], cut[bucket + 1] - cut[bucket])
        for bucket in range(1 << bits)
        for part, cut in zip(parts, cuts, strict=True)
    ]
    return pa.concat_tables(slices).unify_dictionaries()


def bucket_bits(rows: int) -> int:
    """How many first bits of a hash tell buckets apart, so that each holds about `BUCKET_ROWS`."""
    return max(0, (max(rows, 1) - 1) // BUCKET_ROWS).bit_length()


BUCKET_ROWS = 65_536


def hashes_of(table: pa.Table) -> Hashes:
    return np.asarray(_one(table["item_hash"]), np.uint64) if table.num_rows else np.zeros(0, np.uint64)


def content_of(key: bytes, predictions: pa.Table) -> str:
    """What is in a batch that `by_item` or `in_buckets` put in order, digested: 64 hex digits."""
    keyed = hmac.new(key, b"batch content\x1f2\x1f", hashlib.sha256)
    for column in (predictions["item_id"], _versions(predictions["model_version"])):
        parts = [_bytes_of(chunk.cast("string")) for chunk in _chunks(column)]
        for _, lengths in parts:
            keyed.update(lengths.data)
        keyed.update(b"\x1f")
        for texts, _ in parts:
            keyed.update(texts)
    for name in _DIGESTS:
        for chunk in _chunks(predictions[name]):
            keyed.update(_digest_bytes(chunk))
    return keyed.hexdigest()


def repeated_in(hashes: Hashes) -> Hashes:
    """Those that are there twice, sorted."""
    ordered = np.sort(hashes)
    again: Hashes = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    return again


def among(hashes: Hashes, wanted: Hashes) -> NDArray[np.bool_]:
    """Of each, whether it is one of `wanted` (sorted)."""
    if not len(wanted):
        return np.zeros(len(hashes), np.bool_)
    found: NDArray[np.bool_] = wanted[np.minimum(np.searchsorted(wanted, hashes), len(wanted) - 1)] == hashes
    return found


def find_new(predictions: pa.Table, known: pa.Table, first_form: FirstForm, repeated: Hashes | None = None) -> Found:
    """Judges each row by what was known and by the rows of the same item before it.

    Args:
        predictions: with `item_hash`.
        known: receipts of their items (columns of `ports.Receipts.known`).
        first_form: called with places in `predictions`, where a receipt of the first form is known of their items.
        repeated: sorted hashes, among them those of all items that come twice here, where that is known.
    """
    before = known_receipts(known)
    ids = sorted({receipt.arrival.item_id for receipt in before})
    of_known = np.unique(macs.item_hashes(_strings(ids)))
    hashes = hashes_of(predictions)
    wanted = np.union1d(of_known, repeated_in(hashes) if repeated is None else repeated)
    unsure = np.flatnonzero(among(hashes, wanted))
    if not len(unsure):  # as a rule
        rows = predictions.num_rows
        return Found(np.arange(rows), np.ones(rows, np.int32), 0, np.zeros(0, np.int64))
    arrivals = arrivals_of(predictions, unsure)
    order = np.argsort(_numbers(predictions["row"])[unsure], kind="stable")  # as they came, across items
    in_turn = [arrivals[place] for place in order]
    present = in_present_form(before, in_turn, lambda places: first_form([int(unsure[order[place]]) for place in places]))
    found = sort_out(present, in_turn)
    revisions = np.ones(predictions.num_rows, np.int32)
    new = np.ones(predictions.num_rows, np.bool_)
    new[unsure] = False
    for place, revision in found.fresh:
        new[unsure[order[place]]] = True
        revisions[unsure[order[place]]] = revision
    fresh = np.flatnonzero(new)
    conflicts = unsure[order[list(found.conflicts)]] if found.conflicts else np.zeros(0, np.int64)
    return Found(fresh, revisions[fresh], len(found.duplicates), conflicts)


def known_receipts(known: pa.Table) -> list[KnownReceipt]:
    asked = [purpose is not None for purpose in known["purpose"].to_pylist()]
    return list(map(KnownReceipt, arrivals_of(known), known["revision"].to_pylist(), asked))


def arrivals_of(table: pa.Table, places: Places | None = None) -> list[Arrival]:
    """What tells rows apart, of all of them or of some."""
    import pyarrow as pa

    some = table.select(list(Arrival._fields))
    some = some if places is None else some.take(pa.array(places))
    return list(map(Arrival, *(_as_texts(some[name]) for name in Arrival._fields)))


def _as_texts(column: pa.ChunkedArray) -> list[str]:
    return [value.hex() if isinstance(value, bytes) else value for value in column.to_pylist()]


# ------------------------------------------------------------------------------------------------------- columns


def _one(column: Any) -> Any:
    import pyarrow as pa

    if not isinstance(column, pa.ChunkedArray):
        return column
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks or [pa.array([], column.type)])


def _chunks(column: Any) -> list[pa.Array]:
    """Its parts as they lie in memory: putting a long column together only to look through it would copy it."""
    import pyarrow as pa

    return list(column.chunks) if isinstance(column, pa.ChunkedArray) else [column]


def _versions(column: Any) -> Any:
    """One text where all rows have the same."""
    import pyarrow.compute as pc

    different = pc.unique(column)
    return different if len(different) == 1 else column


def _numbers(column: Any) -> Places:
    return np.asarray(_one(column), np.int64)


def _plain(column: Any) -> pa.Array:
    import pyarrow as pa

    return _one(column).cast(pa.string())


def _strings(texts: Sequence[str]) -> pa.Array:
    import pyarrow as pa

    return pa.array(texts, pa.string())


def _bytes_of(texts: pa.Array) -> tuple[memoryview, NDArray[np.int32]]:
    """All texts one after the other, and how long each is."""
    _, offsets, values = texts.buffers()
    if not len(texts) or values is None:
        return memoryview(b""), np.zeros(len(texts), np.int32)
    bounds = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return memoryview(values)[bounds[0] : bounds[-1]], np.diff(bounds)


def _digest_bytes(digests: pa.Array) -> memoryview | bytes:
    import pyarrow as pa

    if pa.types.is_fixed_size_binary(digests.type):
        data, width = digests.buffers()[1], digests.type.byte_width
        return memoryview(data)[digests.offset * width : (digests.offset + len(digests)) * width] if data else b""
    return b"".join(bytes.fromhex(text) for text in digests.to_pylist())
