"""What the fault tests share: a fake Label Studio and a bench of each scenario, made once a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.fake_label_studio import FakeLabelStudio


@pytest.fixture
def fake() -> Iterator[FakeLabelStudio]:
    """It must have understood whatever it was asked."""
    with FakeLabelStudio() as running:
        yield running
        assert running.not_understood == []
