from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hitl_bridge.core.dataset.near_duplicates import PIECE, NearDuplicates

TEXTS = st.lists(st.text("ab ", max_size=14), max_size=8)


def share(one: str, other: str) -> float:
    pieces = [{text[i : i + PIECE] for i in range(max(1, len(text) - PIECE + 1))} for text in (one, other)]
    return len(pieces[0] & pieces[1]) / len(pieces[0] | pieces[1])


@given(TEXTS, st.text("ab ", max_size=14), st.sampled_from([0.5, 0.6, 0.8, 0.9, 1.0]))
def test_exactly_the_texts_that_share_enough_are_found(known: list[str], asked: str, threshold: float) -> None:
    assert NearDuplicates(known, threshold).has(asked) is any(share(asked, each) >= threshold - 1e-9 for each in known)


def test_one_letter_of_a_sentence_makes_a_near_duplicate_and_another_sentence_does_not() -> None:
    known = NearDuplicates(["please tell me why my transfer was declined"], 0.8)
    assert known.has("please tell me why my transfer was declined!")
    assert not known.has("please tell me how to close my account")
    assert not NearDuplicates([], 0.8).has("anything")
