"""While long work lasts, what was there before is not searched for cycles, and Python's lock is passed on sooner."""

from __future__ import annotations

import gc
import sys
import weakref

import pytest

from hitl_bridge.adapters.interpreter import older_objects_left_alone, short_turns


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


def test_turns_are_short_meanwhile_and_what_they_were_afterwards_even_after_an_error() -> None:
    before = sys.getswitchinterval()
    meanwhile: list[float] = []

    def work() -> None:
        with short_turns():
            meanwhile.append(sys.getswitchinterval())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work()
    assert meanwhile[0] < before / 10
    assert sys.getswitchinterval() == before
