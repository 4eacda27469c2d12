"""What the gate demands."""

from __future__ import annotations

from dataclasses import dataclass

SCENARIO = "scenario"
LABEL = "label"
SLICES = (SCENARIO, LABEL)
"""By what the holdout can be cut into slices. All of it is known before there is a candidate."""


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """`gate:` in `params.yaml`.

    `margin` and `edge_margin` are the losses of accuracy (as shares) that still count as none; `edge_gain` is the
    improvement on the edge cases that would be worth having. `alpha` is the probability with which a test may err.
    `edge_share`: of the holdout, the share that either model doubts most belongs to the edge cases. Below `min_items`
    (`min_first_items` for a first model, `min_edge_items`, `min_slice_items`) nothing is claimed.

    Limits are None where there are none: `max_ece` is a calibration error, `max_latency_ms` the median time of a single
    item, `max_slower` how many times the champion's it may be, `max_size_mb` what the model's files take.
    """

    margin: float = 0.02
    alpha: float = 0.05
    require_improvement: bool = True
    edge_share: float = 0.2
    edge_gain: float = 0.1
    edge_margin: float = 0.05
    slices: tuple[str, ...] = SLICES
    max_ece: float | None = None
    max_latency_ms: float | None = None
    max_slower: float | None = None
    max_size_mb: float | None = None
    min_items: int = 200
    min_first_items: int = 100
    min_edge_items: int = 20
    min_slice_items: int = 10
