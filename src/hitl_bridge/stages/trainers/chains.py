"""The best sequence of tags, and how probable it is: a linear chain over what is thought of each token alone.

Viterbi for the one, the forward sum for the other (Rabiner, *A tutorial on hidden Markov models*, Proceedings of the IEEE 1989,
with scores in place of probabilities). Texts of about the same length are taken together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

Scores = npt.NDArray[np.float64]
Tags = npt.NDArray[np.int64]

_AT_ONCE = 256
_NEVER = -1e9


@dataclass(frozen=True, slots=True)
class Decoded:
    """`tags` of each text, and the `probability` that each tag of it is right."""

    tags: list[Tags]
    probability: Scores


def transitions(tagged: Sequence[Tags], tags: int) -> Scores:
    """log p(tag | the one before) − log p(tag), by (before, tag), with a half added to every count; row `tags` is of a text's
    beginning. What can't follow (an entity that goes on where it did not begin) never does."""
    follows = np.full((tags + 1, tags), 0.5)
    for each in tagged:
        if len(each):
            follows[tags, each[0]] += 1
            np.add.at(follows, (each[:-1], each[1:]), 1.0)
    alone = follows.sum(axis=0)
    found = np.log(follows / follows.sum(axis=1, keepdims=True)) - np.log(alone / alone.sum())
    for tag in range(2, tags, 2):
        before = np.ones(tags + 1, dtype=bool)
        before[[tag - 1, tag]] = False
        found[before, tag] = _NEVER
    return np.asarray(found)


def decode(emissions: Sequence[Scores], follows: Scores) -> Decoded:
    """The best tags of each text.

    Args:
        emissions: for each text, log-probabilities of shape (tokens, tags).
        follows: as `transitions` gives it.
    """
    order = np.argsort([len(each) for each in emissions], kind="stable")
    tags: list[Tags] = [np.zeros(0, dtype=np.int64)] * len(emissions)
    probability = np.ones(len(emissions))
    for start in range(0, len(order), _AT_ONCE):
        part = order[start : start + _AT_ONCE]
        found, chances = _together([emissions[at] for at in part], follows)
        for at, each, chance in zip(part, found, chances, strict=True):
            tags[at], probability[at] = each, chance
    return Decoded(tags, probability)


def _together(emissions: Sequence[Scores], follows: Scores) -> tuple[list[Tags], Scores]:
    lengths = np.array([len(each) for each in emissions])
    longest, count = int(lengths.max(initial=0)), follows.shape[1]
    if not longest:
        return [np.zeros(0, dtype=np.int64)] * len(emissions), np.ones(len(emissions))
    padded = np.zeros((len(emissions), longest, count))
    for row, each in enumerate(emissions):
        padded[row, : len(each)] = each
    best = padded[:, 0] + follows[count]
    total = best.copy()
    came_from = np.zeros((len(emissions), longest, count), dtype=np.int64)
    for at in range(1, longest):
        there = at < lengths
        steps = best[:, :, None] + follows[None, :count]
        came_from[:, at] = steps.argmax(axis=1)
        best[there] = (steps.max(axis=1) + padded[:, at])[there]
        total[there] = (logsumexp(total[:, :, None] + follows[None, :count], axis=1) + padded[:, at])[there]
    chances = np.exp(np.minimum(0.0, best.max(axis=1) - logsumexp(total, axis=1)))
    chances[lengths == 0] = 1.0
    return [_back(came_from[row], int(best[row].argmax()), length) for row, length in enumerate(lengths)], chances


def _back(came_from: Tags, last: int, length: int) -> Tags:
    tags = np.zeros(length, dtype=np.int64)
    for at in range(length - 1, -1, -1):
        tags[at] = last
        last = int(came_from[at, last])
    return tags
