"""Training, calibration and holdout stay apart, and the proof of it.

An item that measures a model must not have trained it: not under its id, not as another item of its group (the same
conversation, customer, document), and not as another item with the same words. Where the two meet, the training copy
is left out, because a smaller training set costs a little accuracy and a leaking holdout costs the truth.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    """What identifies each row, in parallel: its item id, its group (None if it has none), and its `input_key`."""

    item_ids: Sequence[str]
    groups: Sequence[str | None]
    input_keys: Sequence[str]


@dataclass(frozen=True, slots=True)
class Separation:
    """Which training rows may stay, in their order, and how many were left out by the first reason that applied."""

    keep: tuple[bool, ...]
    left_out: Mapping[str, int]


def input_key(text: str) -> str:
    """The same for texts that differ only in case, white space or Unicode form (NFKC)."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def holdout_draw(subject: str, seed: int) -> float:
    """Uniform in [0, 1) and always the same for `subject` (a group, or an item id without one): SHA-256, first 52 bits."""
    digest = hashlib.sha256(f"holdout\x1f{seed}\x1f{subject}".encode()).hexdigest()
    return int(digest[:13], 16) / float(1 << 52)


def keep_apart(train: Keys, measured: Keys) -> Separation:
    """Leaves out of `train` whatever shares an item id, a group or an input with `measured`."""
    item_ids, groups, inputs = _sets(measured)
    left_out = {"item_id": 0, "group": 0, "input": 0}
    keep = []
    for item_id, group, key in zip(train.item_ids, train.groups, train.input_keys, strict=True):
        reason = "item_id" if item_id in item_ids else "group" if group in groups else "input" if key in inputs else None
        keep.append(reason is None)
        if reason is not None:
            left_out[reason] += 1
    return Separation(tuple(keep), left_out)


def shared(train: Keys, measured: Keys) -> dict[str, int]:
    """The proof: how many ids, groups and inputs occur on both sides. All are 0 after `keep_apart`."""
    names = ("item_id", "group", "input")
    return {name: len(a & b) for name, a, b in zip(names, _sets(train), _sets(measured), strict=True)}


def _sets(keys: Keys) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    groups = frozenset(group for group in keys.groups if group is not None)
    return frozenset(keys.item_ids), groups, frozenset(keys.input_keys)
