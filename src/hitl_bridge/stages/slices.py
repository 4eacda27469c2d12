"""How candidate and champion do on each slice of the holdout, as a table for `dvc plots`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from hitl_bridge.core.model import JSON
from hitl_bridge.stages.metrics import Flags

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("slice", "n", "candidate", "champion", "difference", "got_right", "got_wrong")


def slices(paired: pa.Table) -> list[tuple[object, ...]]:
    """Rows of `COLUMNS`: everything, the edge cases, each scenario, each label (all items that have it, maybe beside others); how
    many items, the share that each model has
    right, and how many the candidate alone has right, and alone wrong. Without a champion what compares is empty.

    Args:
        paired: as `evaluate` makes it; with `label`, `scenario`, `edge`, `candidate_right` and perhaps `champion_right`.
    """
    rows: Mapping[str, Sequence[JSON]] = paired.to_pydict()
    candidate = np.array(rows["candidate_right"], dtype=bool)
    champion = np.array(rows["champion_right"], dtype=bool) if "champion_right" in rows else None
    return [
        _row(name, candidate[here], None if champion is None else champion[here]) for name, here in _named(rows) if here.any()
    ]


def _named(rows: Mapping[str, Sequence[JSON]]) -> Iterator[tuple[str, Flags]]:
    yield "overall", np.ones(len(rows["label"]), dtype=bool)
    yield "edge cases", np.array(rows["edge"], dtype=bool)
    for column in ("scenario", "label"):
        named = [_each(value) for value in rows["labels" if column == "label" and "labels" in rows else column]]
        for value in sorted(set(chain.from_iterable(named))):
            yield f"{column}: {value}", np.array([value in each for each in named], dtype=bool)


def _each(value: JSON) -> list[str]:
    """The slices that an item belongs to: one, none, or several."""
    if value is None:
        return []
    return [str(each) for each in value] if isinstance(value, list) else [str(value)]


def _row(name: str, candidate: Flags, champion: Flags | None) -> tuple[object, ...]:
    share = round(float(candidate.mean()), 6)
    if champion is None:
        return name, len(candidate), share, "", "", "", ""
    other = round(float(champion.mean()), 6)
    better, worse = int((candidate & ~champion).sum()), int((champion & ~candidate).sum())
    return name, len(candidate), share, other, round(share - other, 6), better, worse
