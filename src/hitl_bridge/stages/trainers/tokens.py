"""Texts as tokens, what is looked at of each, and entities as one tag a token (`O`, `B-` and `I-` of each label)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from hitl_bridge.core.task_types.entities import Span

Tags = npt.NDArray[np.int64]
OUTSIDE = 0
"""The tag of what belongs to no entity; label number n begins with tag 2n + 1 and goes on with 2n + 2."""

_TOKEN = re.compile(r"\w+|[^\w\s]")
_WIDTH = 1 << 17
_AROUND = 2
_AFFIX = 4
_NOTHING = "∅"
_TITLE, _SMALL = 0.6, 0.05
"""Above the one share of words with a capital letter a text is written like a title, below the other without any: there capital
letters say little, and so does their absence."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Words and single signs of one text, with their places in it."""

    words: tuple[str, ...]
    starts: tuple[int, ...]
    ends: tuple[int, ...]

    @classmethod
    def of(cls, text: str) -> Tokens:
        found = list(_TOKEN.finditer(text))
        return cls(tuple(each[0] for each in found), tuple(each.start() for each in found), tuple(each.end() for each in found))

    def __len__(self) -> int:
        return len(self.words)


def tags_of(tokens: Tokens, spans: Sequence[Span], labels: Sequence[str]) -> Tags:
    """Of spans that overlap the longer one counts: a token has one tag."""
    tags = np.zeros(len(tokens), dtype=np.int64)
    place = {label: number for number, label in enumerate(labels)}
    for span in sorted(spans, key=lambda each: (each.start - each.end, each)):
        inside = [at for at in range(len(tokens)) if tokens.starts[at] < span.end and span.start < tokens.ends[at]]
        if inside and not tags[inside].any():
            tags[inside] = 2 * place[span.label] + 2
            tags[inside[0]] -= 1
    return tags


def spans_in(tokens: Tokens, tags: Tags, labels: Sequence[str]) -> list[Span]:
    """What the tags mark; one that goes on where nothing of its label began begins there."""
    found: list[Span] = []
    for at, tag in enumerate(tags.tolist()):
        if tag == OUTSIDE:
            continue
        label = labels[(tag - 1) // 2]
        goes_on = tag % 2 == 0 and at > 0 and (tags[at - 1] + 1) // 2 == (tag + 1) // 2 and tags[at - 1] != OUTSIDE
        if goes_on:
            found[-1] = found[-1]._replace(end=tokens.ends[at])
        else:
            found.append(Span(tokens.starts[at], tokens.ends[at], label))
    return found


def labels_in_tags(tags: Tags) -> Tags:
    """The label's number plus one of each tag, whether it begins there or goes on; 0 of what belongs to nothing."""
    return (tags + 1) // 2


def features(texts: Sequence[Tokens]) -> Any:
    """A sparse matrix with a row a token. Terms are hashed: no word can be read out of a model."""
    from sklearn.feature_extraction import FeatureHasher

    hasher = FeatureHasher(_WIDTH, input_type="string", alternate_sign=False, dtype=np.float32)
    return hasher.transform(terms for tokens in texts for terms in _terms(tokens))


def _terms(tokens: Tokens) -> Iterator[list[str]]:
    """The word, its beginning and end, its shape and that of the whole text, and the words and shapes around it."""
    words = [word.lower() for word in tokens.words]
    shapes, style = [_shape(word) for word in tokens.words], _style(tokens.words)
    for at, word in enumerate(words):
        own = [f"w={word}", f"s={shapes[at]}", f"style={style}|{shapes[at]}|{at == 0}", "bias"]
        own += [f"p{n}={word[:n]}" for n in range(1, _AFFIX + 1)] + [f"e{n}={word[-n:]}" for n in range(1, _AFFIX + 1)]
        for step in (step for step in range(-_AROUND, _AROUND + 1) if step):
            own += [f"w{step}={_at(words, at + step)}", f"s{step}={_at(shapes, at + step)}"]
        own.append(f"sss={_at(shapes, at - 1)}|{shapes[at]}|{_at(shapes, at + 1)}")
        own += [f"ww={_at(words, at - 1)}|{word}", f"wn={word}|{_at(words, at + 1)}"]
        yield own


def _at(values: Sequence[str], place: int) -> str:
    return values[place] if 0 <= place < len(values) else _NOTHING


def _style(words: Sequence[str]) -> str:
    capitals = [word[0].isupper() for word in words if word[0].isalpha()]
    share = sum(capitals) / max(1, len(capitals))
    return "title" if share > _TITLE else "small" if share < _SMALL else "mixed"


def _shape(word: str) -> str:
    """`Xx` for Anna, `X` for USA, `xd` for g8; signs stand for themselves."""
    kinds = ("X" if sign.isupper() else "x" if sign.isalpha() else "d" if sign.isdigit() else sign for sign in word)
    return "".join(kind for kind, _ in groupby(kinds))
