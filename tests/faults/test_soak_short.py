"""Half a minute of `make soak`, on the fake Label Studio and with a fast clock."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.soak import Asked, soak

SEED = 7


@pytest.mark.catalogue("A1")
@pytest.mark.catalogue("A3")
@pytest.mark.catalogue("A10")
@pytest.mark.catalogue("B1")
def test_two_daemons_under_fire_lose_and_double_nothing(tmp_path: Path) -> None:
    """No webhook is registered: whatever comes back is found by polling."""
    result = soak(Asked(seconds=22.0, kills=4, seed=SEED, fake=True, hurried=True), tmp_path)
    assert result["wrong"] == [], result
