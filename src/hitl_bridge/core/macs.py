"""Keyed digests of many texts at once: AES-256-CMAC (NIST SP 800-38B, RFC 4493), block by block over all rows together.

CMAC is a pseudorandom function and a message authentication code, as HMAC is; what decides here is that a thousand rows cost
what a thousand AES blocks cost, and that those are one call. `mac` and `macs` give the same 16 bytes for the same message, and
so does every other implementation of the standard.
"""

from __future__ import annotations

import hmac
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

Bytes = NDArray[np.uint8]

SIZE = 16
"""Bytes of a digest, and of a block."""

ITEM_HASH_KEY = bytes(32)
"""The hash by which receipts are sorted is no secret: whoever has a receipt has the item's id beside it."""

_LONG = 4096
"""Messages beyond this many bytes are digested one by one: a single one of a megabyte would cost 65,536 rounds over all."""

_FEW = 16

_AT_ONCE = 16_384
"""Rows of which all blocks lie in the processor's cache."""

_POLYNOMIAL = 0x87
_BLOCK = np.dtype("V16")


@lru_cache(maxsize=1024)
def mac_key(key: bytes, purpose: str, name: str = "") -> bytes:
    """The key for one purpose (and one name within it), derived from the workspace's key by HMAC-SHA256."""
    return hmac.digest(key, b"\x1f".join((b"mac", purpose.encode(), name.encode())), "sha256")


def mac(key: bytes, message: bytes) -> bytes:
    """AES-256-CMAC of one message."""
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.cmac import CMAC

    keyed = CMAC(AES(key))
    keyed.update(message)
    return keyed.finalize()


def macs(key: bytes, texts: pa.Array, front: Bytes | None = None) -> Bytes:
    """The digest of every text.

    Args:
        texts: strings or binary values without nulls; strings count as UTF-8. None is empty where there is a `front`.
        front: what stands before each text: shape (n, 16 · k).

    Returns:
        Shape (n, 16).
    """
    data, starts, ends = _spans(texts)
    front = np.zeros((len(starts), 0), np.uint8) if front is None else front
    lengths = ends - starts
    apart = np.arange(len(starts)) if len(starts) <= _FEW else np.flatnonzero(lengths > _LONG)
    if len(apart) == len(starts):
        digests: Bytes = np.zeros((len(starts), SIZE), np.uint8)
    else:
        encrypt, blocks, short = _cipher(key), _blocks_of(data), np.minimum(lengths, _LONG)
        steps = [slice(at, at + _AT_ONCE) for at in range(0, len(starts), _AT_ONCE)]
        digests = np.concatenate([_together(encrypt, blocks, _Rows(starts[at], short[at], front[at])) for at in steps])
    for place in apart.tolist():
        message = front[place].tobytes() + data[starts[place] : ends[place]].tobytes()
        digests[place] = np.frombuffer(mac(key, message), np.uint8)
    return digests


def encrypted(key: bytes, blocks: Bytes) -> Bytes:
    """AES-256 of every block by itself, shape (n, 16): a pseudorandom permutation of what are digests already."""
    return np.asarray(_cipher(key)(np.ascontiguousarray(blocks).reshape(-1))).reshape(-1, SIZE)


def item_hashes(item_ids: pa.Array) -> NDArray[np.uint64]:
    """What receipts are sorted and bucketed by: the first 8 bytes of a digest under a public key, as a big-endian number."""
    return _halves(macs(ITEM_HASH_KEY, item_ids))[:, 0]


def item_hash(item_id: str) -> int:
    """The same for one item."""
    return int.from_bytes(mac(ITEM_HASH_KEY, item_id.encode())[:8], "big")


def unit_pairs(digests: Bytes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two numbers in [0, 1) of each digest: the first 52 bits of each half. Every value is exact in a double."""
    halves = _halves(digests) >> np.uint64(12)
    return halves[:, 0] / float(1 << 52), halves[:, 1] / float(1 << 52)


def _halves(digests: Bytes) -> NDArray[np.uint64]:
    return np.ascontiguousarray(digests).view(">u8").astype(np.uint64)


# ---------------------------------------------------------------------------------------------------- all together


def _spans(texts: pa.Array) -> tuple[Bytes, NDArray[np.int64], NDArray[np.int64]]:
    """The bytes of an Arrow array of texts, and where each begins and ends in them."""
    import pyarrow as pa

    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    if texts.type in (pa.large_string(), pa.large_binary()):
        width: Any = np.int64
    elif texts.type in (pa.string(), pa.binary()):
        width = np.int32
    else:
        raise TypeError(f"texts are due, not {texts.type}")
    _, offsets, values = texts.buffers()
    if len(texts) == 0:
        return np.zeros(0, np.uint8), np.zeros(0, np.int64), np.zeros(0, np.int64)
    bounds = np.frombuffer(offsets, width)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    data = np.frombuffer(values, np.uint8) if values is not None else np.zeros(0, np.uint8)
    return data, bounds[:-1], bounds[1:]


class _Rows(NamedTuple):
    """Where the texts of some rows begin, how long they are, and what stands before them."""

    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    front: Bytes

    def ordered(self, order: NDArray[np.int64]) -> _Rows:
        return _Rows(self.starts[order], self.lengths[order], np.take(self.front, order, axis=0))


def _together(encrypt: Any, blocks: NDArray[Any], rows: _Rows) -> Bytes:
    """CMAC with the n-th blocks of all rows in one call. Rows leave when their last block is done."""
    last = np.maximum(rows.lengths - 1, 0) // SIZE
    most = int(last.max())
    if int(last.min()) == most:
        return _in_order(encrypt, blocks, rows, last)
    order = np.argsort((most - last).astype(np.uint16), kind="stable")  # the longest first: the front is still under way
    digests = np.empty(len(last), _BLOCK)
    digests[order] = _in_order(encrypt, blocks, rows.ordered(order), last[order]).reshape(-1).view(_BLOCK)
    return digests.view(np.uint8).reshape(-1, SIZE)


def _in_order(encrypt: Any, blocks: NDArray[Any], rows: _Rows, last: NDArray[np.int64]) -> Bytes:
    """The same for rows in falling order of `last`, the number of their text's last block."""
    endings, rising = _endings(encrypt), -last
    state = _fronts(encrypt, rows.front)
    for number in range(int(last[0]) + 1):
        going, over = np.searchsorted(rising, (-number, -number - 1), side="right").tolist()
        block = blocks[rows.starts[:going] + number * SIZE].view(np.uint64).reshape(-1, 2)
        if over < going:
            rest = rows.lengths[over:going] - number * SIZE
            block[over:] &= np.take(_KEPT, rest, axis=0)  # ten times as fast as an index
            block[over:] ^= np.take(endings, rest, axis=0)
        block ^= state[:going]
        state[:going] = _encrypted(encrypt, block)
    return state.view(np.uint8).reshape(-1, SIZE)


def _fronts(encrypt: Any, front: Bytes) -> NDArray[np.uint64]:
    """The chaining values after what stands before the texts."""
    words = np.ascontiguousarray(front).view(np.uint64) if front.size else np.zeros((len(front), 0), np.uint64)
    state: NDArray[np.uint64] = np.zeros((len(front), 2), np.uint64)
    for at in range(0, words.shape[1], 2):
        state = _encrypted(encrypt, words[:, at : at + 2] ^ state)
    return state


def _encrypted(encrypt: Any, block: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return np.asarray(encrypt(block.view(np.uint8).reshape(-1))).view(np.uint64).reshape(-1, 2)


def _blocks_of(data: Bytes) -> NDArray[Any]:
    """A view of the 16 bytes that begin at each place; the data is continued with zeros so that every place has them."""
    padded = np.concatenate([data, np.zeros(2 * SIZE, np.uint8)])
    return np.ndarray((len(padded) - SIZE,), dtype=_BLOCK, buffer=padded, strides=(1,))


def _masks() -> NDArray[np.uint64]:
    """By the bytes that a last block has: what belongs to it, for what follows it in the data is another row's."""
    kept = np.zeros((SIZE + 1, SIZE), np.uint8)
    for rest in range(SIZE + 1):
        kept[rest, :rest] = 0xFF
    return kept.view(np.uint64)


_KEPT = _masks()


def _endings(encrypt: Any) -> NDArray[np.uint64]:
    """By the bytes that a last block has: 1 and zeros behind a broken one, and a subkey (SP 800-38B, section 6.2)."""
    whole, broken = _subkeys(encrypt)
    endings = np.zeros((SIZE + 1, SIZE), np.uint8)
    endings[np.arange(SIZE), np.arange(SIZE)] = 0x80
    keyed: NDArray[np.uint64] = endings.view(np.uint64) ^ np.where(np.arange(SIZE + 1)[:, None] == SIZE, whole, broken)
    return keyed


def _subkeys(encrypt: Any) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """K1 for messages of whole blocks and K2 for the others (SP 800-38B, section 6.1)."""
    zero = int.from_bytes(bytes(encrypt(np.zeros(SIZE, np.uint8))), "big")
    first = _doubled(zero)
    return _words(first), _words(_doubled(first))


def _doubled(value: int) -> int:
    shifted = (value << 1) & ((1 << 128) - 1)
    return shifted ^ _POLYNOMIAL if value >> 127 else shifted


def _words(value: int) -> NDArray[np.uint64]:
    return np.frombuffer(value.to_bytes(SIZE, "big"), np.uint64)


def _cipher(key: bytes) -> Any:
    """AES-256 over a row of blocks, each by itself. What is encrypted so are chaining values, never a text."""
    from cryptography.hazmat.primitives.ciphers import Cipher, modes
    from cryptography.hazmat.primitives.ciphers.algorithms import AES

    def encrypt(blocks: Bytes) -> Bytes:
        one_by_one = Cipher(AES(key), modes.ECB()).encryptor()  # noqa: S305 (the block cipher itself, inside CMAC)
        room = np.empty(len(blocks) + SIZE - 1, np.uint8)
        done = one_by_one.update_into(np.ascontiguousarray(blocks).data, room.data)
        return room[:done]

    return encrypt
