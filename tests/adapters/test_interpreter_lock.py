"""Python's lock is passed on sooner while a long work with several threads lasts, and not for longer."""

from __future__ import annotations

import sys

import pytest

from hitl_bridge.adapters.interpreter_lock import short_turns


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
