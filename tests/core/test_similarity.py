from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hitl_bridge.core.similarity import Decided, Part, Terms, merged, part_of, terms_of, to_merge

KEY = b"k" * 32
LETTERS = st.text("abcde ", min_size=0, max_size=12)


def terms(text: str, key: bytes = KEY) -> Terms:
    return terms_of(text, {}, text, key)


def decided(*texts: str) -> Decided:
    return Decided([part_of([terms(text) for text in texts])])


def by_hand(known: Sequence[Terms], asked: Terms) -> list[float]:
    """The cosine of each known item with the one that is asked about, as it stands in the books."""
    counts = Counter(int(term) for each in known for term in each)

    def square(term: int) -> float:
        return (math.log((1 + len(known)) / (1 + counts[term])) + 1) ** 2

    def length(each: Terms) -> float:
        return math.sqrt(sum(square(int(term)) for term in each))

    return [
        sum(square(term) for term in set(map(int, each)) & set(map(int, asked))) / (length(each) * length(asked))
        if len(each) and len(asked)
        else 0.0
        for each in known
    ]


def same(one: Part, other: Part) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("starts", "terms", "words", "spans", "places")
    )


def test_the_nearest_item_is_the_one_that_shares_most_of_what_is_rare() -> None:
    known = decided("my card was charged twice", "my card has not arrived", "how do I close my account")
    (near, *_) = known.nearest(terms("Was I charged two times on my card?"), 3)
    assert near.place == 0
    assert 0.3 < near.similarity < 1


def test_a_typing_error_or_an_ending_does_not_hide_an_item() -> None:
    known = decided("refunded payments", "broken phones")
    assert [near.place for near in known.nearest(terms("refundd paymets"), 2)] == [0]


def test_the_same_text_is_wholly_alike_and_the_newest_of_several_comes_first() -> None:
    known = decided("send it back", "something else", "send it back")
    assert [(near.place, round(near.similarity, 6)) for near in known.nearest(terms("Send it back!"), 2)] == [(2, 1.0), (0, 1.0)]


def test_what_is_not_alike_is_not_shown() -> None:
    assert decided("abc def").nearest(terms("xyz"), 3) == []
    assert decided().nearest(terms("xyz"), 3) == []
    assert decided("abc").nearest(terms("123 …"), 3) == []


def test_texts_without_spaces_are_compared_by_their_letters() -> None:
    known = decided("我想取消我的订单", "银行卡丢失了怎么办")
    assert [near.place for near in known.nearest(terms("取消我的订单"), 1)] == [0]


def test_items_without_a_text_are_compared_by_what_the_model_says_of_them() -> None:
    said = [{"cat": 0.6, "dog": 0.3, "cow": 0.1}, {"dog": 0.9, "cat": 0.1}, {"cat": 0.5, "dog": 0.4, "cow": 0.1}]
    known = Decided([part_of([terms_of(None, scores, f"{place}.png", KEY) for place, scores in enumerate(said)])])
    asked = terms_of(None, {"cat": 0.55, "dog": 0.35, "cow": 0.1}, "new.png", KEY)
    assert {near.place for near in known.nearest(asked, 3, at_least=0.1)} == {0, 2}
    again = terms_of(None, {"cow": 0.9}, "1.png", KEY)
    assert [near.place for near in known.nearest(again, 3, at_least=0.1)] == [1]


def test_terms_of_another_key_have_nothing_in_common() -> None:
    assert not set(terms("my card was charged")) & set(terms("my card was charged", b"another"))


@given(st.lists(LETTERS, max_size=12), LETTERS)
def test_what_is_found_is_what_an_exhaustive_comparison_finds(texts: list[str], asked: str) -> None:
    known = [terms(text) for text in texts]
    wanted = sorted((each for each in by_hand(known, terms(asked)) if each > 1e-9), reverse=True)
    found = Decided([part_of(known)]).nearest(terms(asked), 20, at_least=1e-9)
    assert np.allclose([near.similarity for near in found], wanted)


@given(st.lists(st.lists(LETTERS, max_size=5), min_size=1, max_size=4), LETTERS)
def test_it_does_not_matter_in_how_many_parts_items_came(parts: list[list[str]], asked: str) -> None:
    apart = [part_of([terms(text) for text in texts]) for texts in parts]
    together = part_of([terms(text) for texts in parts for text in texts])
    assert same(merged(apart), together)
    assert Decided(apart).nearest(terms(asked), 5) == Decided([together]).nearest(terms(asked), 5)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=80))
def test_there_are_few_parts_and_none_is_put_together_often(arriving: list[int]) -> None:
    sizes: list[int] = []
    moved = 0
    for size in arriving:
        sizes.append(size)
        if (count := to_merge(sizes)) > 1:
            moved += sum(sizes[-count:])
            sizes = [*sizes[:-count], sum(sizes[-count:])]
    assert all(one >= 2 * other for one, other in pairwise(sizes))
    assert moved <= sum(arriving) * (1 + math.log2(sum(arriving))) * 2
