"""Texts with people and places in them, that say where these stand."""

from __future__ import annotations

import random

from hitl_bridge.core.task_types.entities import Span, output_of
from tests.stages.workspaces import Row

LABELS = ("person", "location")
PEOPLE = ("Ana Silva", "Ben", "Chioma Obi", "Dee", "Eva Maria Roth", "Farid", "Gus", "Hana Ito", "Ines", "Jo March")
PLACES = ("Lisbon", "New York", "Oslo", "Rio", "the Hague", "Accra", "Quito", "Turin", "Ulm", "Vienna")
SHAPES = (
    ("{person}", " moved to ", "{location}", " last year"),
    ("our train to ", "{location}", " was late again 😀"),
    ("did ", "{person}", " call back about ", "{location}", "?"),
    ("nothing happened here today",),
    ("{person}", " and ", "{person}", " were at the meeting"),
)


def texts(n: int, seed: int, prefix: str) -> list[Row]:
    """`n` labelled rows; every fifth without any entity, every fourth an edge case."""
    chance = random.Random(seed)
    rows: list[Row] = []
    for number in range(n):
        text, spans = "", []
        for piece in (*SHAPES[number % len(SHAPES)], f" ({prefix}{number})"):
            label = piece.strip("{}") if piece.startswith("{") else ""
            words = chance.choice(PEOPLE if label == "person" else PLACES) if label else piece
            if label:
                spans.append(Span(len(text), len(text) + len(words), label))
            text += words
        row = {"item_id": f"{prefix}{number}", "input": {"text": text}, "output": output_of(spans), "edge": number % 4 == 0}
        rows.append({**row, "scenario": ("shop", "bank")[number % 2]})
    return rows
