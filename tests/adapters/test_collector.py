"""What was there before a long work is not searched for cycles while it lasts."""

from __future__ import annotations

import gc
import weakref

from hitl_bridge.adapters.collector import older_objects_left_alone


class _Ring:
    """An object that holds itself."""

    def __init__(self) -> None:
        self.itself = self


def test_cycles_that_were_there_before_are_collected_afterwards_and_new_ones_at_once() -> None:
    old = weakref.ref(_Ring())
    with older_objects_left_alone():
        new = weakref.ref(_Ring())
        gc.collect()
        assert old() is not None
        assert new() is None
    gc.collect()
    assert old() is None
