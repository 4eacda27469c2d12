"""A trainer of one's own: nearest centroid over letter counts. Deliberately small; the contract is in docs/trainers.md.

train: [python, nearest_centroid.py, train]
score: [python, nearest_centroid.py, score]
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Centroids = dict[str, dict[str, float]]


def main() -> None:
    model = Path(os.environ["HITL_MODEL_DIR"]) / "centroids.json"
    if sys.argv[1] == "train":
        model.write_text(json.dumps(train(lines(os.environ["HITL_TRAIN"])), sort_keys=True), encoding="utf-8")
    else:
        score(json.loads(model.read_text(encoding="utf-8")))


def lines(path: str) -> Iterator[Any]:
    with Path(path).open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def train(rows: Iterator[Any]) -> Centroids:
    """The mean letter counts of each label's texts."""
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    sizes: Counter[str] = Counter()
    for row in rows:
        sums[row["label"]].update(row["input"]["text"].lower())
        sizes[row["label"]] += 1
    return {label: {letter: n / sizes[label] for letter, n in counts.items()} for label, counts in sums.items()}


def score(centroids: Centroids) -> None:
    """The nearer a label's centroid, the higher its score; the scores of an item sum to 1."""
    with Path(os.environ["HITL_SCORES"]).open("w", encoding="utf-8") as out:
        for row in lines(os.environ["HITL_INPUTS"]):
            letters = Counter(row["input"]["text"].lower())
            near = {label: math.exp(-distance(letters, centroid)) for label, centroid in centroids.items()}
            total = sum(near.values()) or 1.0
            scores = {label: value / total for label, value in near.items()}
            out.write(json.dumps({"item_id": row["item_id"], "scores": scores}) + "\n")


def distance(letters: Mapping[str, float], centroid: Mapping[str, float]) -> float:
    return math.dist(*zip(*[(letters.get(k, 0), centroid.get(k, 0)) for k in {*letters, *centroid}], strict=True))


if __name__ == "__main__":
    main()
