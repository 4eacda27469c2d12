"""A set of hashes that never forgets one."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hitl_bridge.core.triage.seen import SeenHashes

_HASHES = st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 20), max_size=50)


@given(st.lists(_HASHES, max_size=20), _HASHES)
def test_it_holds_what_was_added_and_nothing_else(parts: list[list[int]], asked: list[int]) -> None:
    seen = SeenHashes()
    for part in parts:
        seen.add(np.array(part, dtype=np.uint64))
    added = {value for part in parts for value in part}
    wanted = [*asked, *added]
    assert seen.holds(np.array(wanted, dtype=np.uint64)).tolist() == [value in added for value in wanted]
    assert len(added) <= len(seen) <= sum(len(set(part)) for part in parts)
