"""Texts with several labels, for tests."""

from __future__ import annotations

import random
from typing import Any

from tests.stages.workspaces import FILLING, WORDS

LABELS = (*WORDS, "never_seen")
Row = dict[str, Any]


def texts(n: int, seed: int, prefix: str) -> list[Row]:
    """Rows of no label, one or two, each said in words of its own."""
    chance = random.Random(seed)
    rows: list[Row] = []
    for number in range(n):
        labels = chance.sample(list(WORDS), number % 3)
        said = [chance.choice(FILLING), *(chance.choice(WORDS[label]) for label in labels), chance.choice(FILLING)]
        row = {"item_id": f"{prefix}{number}", "input": {"text": f"{' '.join(said)} {prefix}{number}"}}
        rows.append({**row, "output": {"labels": labels}, "edge": number % 4 == 0, "scenario": ("shop", "bank")[number % 2]})
    return rows
