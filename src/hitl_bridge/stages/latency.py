"""How long models take: all items at once, and one item by itself as when it is served."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from hitl_bridge.stages.artifacts import LoadedModel
from hitl_bridge.stages.trainers import Unlabelled

_PATIENCE = 5.0
"""Seconds: a model that starts a process for every call is asked a few times, not twenty."""


@dataclass
class Latency:
    """Seconds of a model's calls with a single item."""

    seconds: list[float] = field(default_factory=list)

    @property
    def milliseconds(self) -> float | None:
        return round(1000 * median(self.seconds), 4) if self.seconds else None


def single_item_latency(models: Mapping[str, LoadedModel], items: Sequence[Unlabelled], most: int) -> dict[str, Latency]:
    """Asks the models in turn for the same items, so that whatever else the machine does falls on both alike.

    The first answer of each is thrown away: it pays for what is loaded late.
    """
    found = {name: Latency() for name in models}
    started = time.perf_counter()
    for number, item in enumerate(items[: most + 1]):
        for name, model in models.items():
            seconds = _timed(model, item)
            if number:
                found[name].seconds.append(seconds)
        if time.perf_counter() - started > _PATIENCE and number:
            break
    return found


def _timed(model: LoadedModel, item: Unlabelled) -> float:
    started = time.perf_counter()
    model.answers([item])
    return time.perf_counter() - started
