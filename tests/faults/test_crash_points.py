"""A bridge that dies at any point and is started again ends where one ends that was never harmed: a sample of `make crash`."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.faults.crash_matrix import MAKERS, Matrix, chosen
from tests.faults.fake_label_studio import FakeLabelStudio

SEED = 20261122
SAMPLES = {"reviews": 6, "commits": 2}


@pytest.fixture(params=sorted(SAMPLES))
def matrix(request: pytest.FixtureRequest, tmp_path: Path, fake: FakeLabelStudio) -> Matrix:
    made = MAKERS[request.param](tmp_path, fake)
    made.count()
    return made


@pytest.mark.catalogue("A2")
@pytest.mark.catalogue("C1")
@pytest.mark.catalogue("D7")
def test_killed_at_a_point_and_started_again_it_ends_as_if_nothing_had_been(matrix: Matrix) -> None:
    numbers = chosen(matrix, SEED, SAMPLES[matrix.name])
    wrong = {
        f"{number} {matrix.points[number - 1]}": found
        for number in numbers
        if (found := matrix.killed_at(number, random.Random(f"{SEED}/{number}")))
    }
    assert not wrong, f"make crash with --seed {SEED} --only {matrix.name} goes through all points"
