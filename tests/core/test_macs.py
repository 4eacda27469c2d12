"""Digests of many texts at once are those of each alone, and those of the standard."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitl_bridge.core import macs
from hitl_bridge.core.draws import all_draws, draw, uniform_and_audit

KEY = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
_MESSAGE = bytes.fromhex(
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
)
_STANDARD = {  # NIST SP 800-38B, examples for AES-256
    0: "028962f61b7bf89efc6b551f4667d983",
    16: "28a7023f452e8f82bd4bf28d8c37c35c",
    40: "aaf3d8f1de5640c232f5b169b9c911e6",
    64: "e1992190549f6ed5696a2c056c315410",
}


def test_the_examples_of_the_standard() -> None:
    messages = [_MESSAGE[:size] for size in _STANDARD]
    assert [macs.mac(KEY, message).hex() for message in messages] == list(_STANDARD.values())
    many = macs.macs(KEY, pa.array(messages * 10, pa.binary()))
    assert [digest.tobytes().hex() for digest in many] == list(_STANDARD.values()) * 10


@settings(deadline=None, max_examples=50)
@given(st.lists(st.binary(max_size=100), max_size=60), st.integers(0, 3), st.integers(0, 5))
def test_many_at_once_are_as_one_by_one(messages: list[bytes], blocks: int, cut: int) -> None:
    shape = (len(messages), blocks * macs.SIZE)
    front = np.arange(shape[0] * shape[1], dtype=np.uint64).astype(np.uint8).reshape(shape)
    if blocks:
        messages = [message or b"x" for message in messages]
    texts = pa.array([*messages], pa.binary())[cut:]
    found = macs.macs(KEY, texts, front[cut:])
    expected = [macs.mac(KEY, front[at].tobytes() + messages[at]) for at in range(min(cut, len(messages)), len(messages))]
    assert [digest.tobytes() for digest in found] == expected


def test_a_long_text_among_short_ones_is_digested_apart() -> None:
    messages = [b"a" * size for size in (3, 4095, 4096, 4097, 70_000)] * 5
    assert [each.tobytes() for each in macs.macs(KEY, pa.array(messages, pa.binary()))] == [
        macs.mac(KEY, message) for message in messages
    ]


def test_draws_are_even_and_independent_of_one_another() -> None:
    ids = pa.array([f"t-{number}" for number in range(20_000)])
    uniform, audit = all_draws(b"key", "m1", ids)
    other, _ = all_draws(b"key", "m2", ids)
    for draws in (uniform, audit, other):
        assert np.abs(np.histogram(draws, 10, (0, 1))[0] - 2_000).max() < 200
    for one, two in ((uniform, audit), (uniform, other)):
        assert abs(float(np.corrcoef(one, two)[0, 1])) < 0.03
    assert (uniform[7], audit[7]) == uniform_and_audit(b"key", "m1", "t-7")


def test_draws_of_the_first_form_can_be_made_again() -> None:
    assert uniform_and_audit(b"key", "m1", "t-7", form=1) == tuple(
        draw(b"key", purpose, "m1", "t-7") for purpose in ("uniform", "audit")
    )
    with pytest.raises(ValueError, match="form 3"):
        uniform_and_audit(b"key", "m1", "t-7", form=3)
