"""Near-copies are served apart, and nothing else changes its urgency."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from hitl_bridge.core.review.spreading import APART, near_copies, spread

COPIES = [f"Your parcel number {number} waits at the station, please pick it up by Friday" for number in range(20)]
THINGS = """\
lamp chair table sofa mirror carpet shelf window curtain candle vase clock basket pillow
towel blanket mattress drawer ladder hammer bucket broom kettle toaster blender oven fridge freezer
washer dryer iron radio camera printer scanner router cable battery charger speaker headphone keyboard
monitor tablet laptop phone watch ring necklace bracelet earring jacket shirt trouser skirt dress
coat scarf glove boot sandal slipper helmet bicycle scooter skateboard tent stove lantern compass
whistle rope knife fork spoon plate bowl cup glass jug pan pot lid tray
napkin tablecloth apron mitten guitar piano violin drum flute trumpet harp organ cello banjo
tuba oboe horn gong bell chime lute lyre zither bagpipe"""
OTHERS = [f"{word} {word}s {word}ery {word}ing {word}ed" for word in THINGS.split()]


def test_texts_that_differ_in_a_number_or_a_word_are_near_copies_and_others_are_not() -> None:
    kinds = near_copies([*COPIES, *OTHERS, "", "42"])
    assert len(set(kinds[:20])) == 1
    assert len(set(kinds[20:])) == len(kinds[20:])


def test_twenty_near_copies_are_spread_over_what_else_there_is() -> None:
    texts = [*COPIES, *OTHERS]
    given = spread(texts, [place / 1e9 for place in range(len(texts))], slot=1e-6)
    served = sorted(range(len(texts)), key=given.__getitem__)
    places = [rank for rank, place in enumerate(served) if place < 20]
    apart = [later - sooner for sooner, later in itertools.pairwise(places)]
    assert served[0] == 0
    # There are 110 others for 20 of a kind: five and a half lie between two, once the last of the others are used up.
    assert min(apart[:15]) == APART + 1


def test_a_nearer_deadline_goes_first_copy_or_not() -> None:
    given = spread([*COPIES[:3], *OTHERS[:3]], [0.1, 0.1, 0.1, 0.2, 0.2, 0.2], slot=0.05)
    assert given == [0.1, 0.1, 0.1, 0.2, 0.2, 0.2]


@given(st.lists(st.tuples(st.sampled_from([*COPIES[:3], *OTHERS[:3], ""]), st.integers(0, 40)), max_size=30))
def test_priorities_are_handed_out_anew_and_none_is_lost_or_crosses_a_slot(items: list[tuple[str, int]]) -> None:
    priorities = [number / 1_000 for _, number in items]
    given = spread([text for text, _ in items], priorities, slot=0.01)
    assert sorted(given) == sorted(priorities)
    assert all(abs(before - after) < 0.01 for before, after in zip(priorities, given, strict=True))
