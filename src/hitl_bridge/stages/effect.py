"""What a dataset version did to the model: trained with it, and trained as if it had never been.

Both models are trained anew with the same seed and options and answer the same holdout. Leaving a version out and training
again is the plain way to know what it did, and with a linear head it costs a second; figures for single reviewers are not
given, because at the size of their share they are noise (Ghorbani & Zou 2019 estimate such values by thousands of trainings).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hitl_bridge.core.dataset.change import TAG, version_order
from hitl_bridge.core.dataset.fold import Segment, measured_items, snapshot_with_payloads
from hitl_bridge.core.dataset.splits import keep_apart
from hitl_bridge.core.model import Split
from hitl_bridge.errors import UnknownName, UsageError
from hitl_bridge.stages.learner import Learner
from hitl_bridge.stages.metrics import Flags
from hitl_bridge.stages.near_copies import near_copies
from hitl_bridge.stages.params import StageParams, load_params
from hitl_bridge.stages.prepare import base_data, decided, segments
from hitl_bridge.stages.snapshot import DECISIONS, FOLDER, Example, keys, known, read_examples

RESAMPLES = 10_000
_CONFIDENCE = 0.95
_DRAWS_AT_ONCE = 2_000_000


@dataclass(frozen=True, slots=True)
class Flip:
    """A held-out item that the two models answer differently."""

    item_id: str
    label: str
    without: str
    with_it: str


@dataclass(frozen=True, slots=True)
class Effect:
    """`gain`: accuracy with the version less accuracy without it, on the same `n` items, with the `low` and `high` end of its
    95 % interval (paired percentile bootstrap, Efron & Tibshirani 1993, chapter 13). `items`: how many training items differ."""

    version: str
    items: int
    n: int
    accuracy_with: float
    accuracy_without: float
    gain: float
    low: float
    high: float
    flips: tuple[Flip, ...]

    @property
    def is_seen(self) -> bool:
        """Whether the interval leaves out zero: else the version's effect is within the noise of this holdout."""
        return self.low > 0 or self.high < 0


def effect(root: Path, version: str) -> Effect:
    """What dataset version `version` did, on the snapshot as `prepare` made it last.

    Raises UnknownName for a version that the workspace has no file of, UsageError where there is nothing to measure by.
    """
    params = load_params(root)
    name = f"v{version.removeprefix(TAG).removeprefix('v')}"
    versions = [each for each, _ in segments(root / "data/decisions")]
    if name not in versions:
        there = ", ".join(sorted(versions, key=version_order)) or "none yet"
        raise UnknownName("dataset version", version, remedy=f"Versions here: {there}.")
    train, holdout = (read_examples(root / FOLDER / f"{split.value}.parquet") for split in (Split.TRAIN, Split.HOLDOUT))
    measured = known(holdout, params.kind, params.labels)
    without = _without(root, params, name, train, [*measured, *read_examples(root / FOLDER / "calibration.parquet")])
    if not measured or not without:
        raise UsageError(
            "Without held-out items, or without anything else to train on, no effect can be told.",
            remedy="Put labelled items into data/base/, or wait for the uniform stream to fill the holdout.",
        )
    return _compared(Learner.of(root, params), name, train, without, measured)


def _without(root: Path, params: StageParams, name: str, train: Sequence[Example], measured: Sequence[Example]) -> list[Example]:
    """The training examples as they would be without the version: what it changed, replaced or took back is as it was before."""
    held = snapshot_with_payloads(_others(root / "data/decisions", name), _others(root / "data/payloads", name)).to_pylist()
    superseded = {str(row["item_id"]) for row in held}
    base = base_data(root / "data/base", params).splits[Split.TRAIN]
    before = [*(each for each in base if each.item_id not in superseded), *decided(held, params).splits[Split.TRAIN]]
    there = {example.item_id for example in train}
    touched = {example.item_id for example in train if (example.source, example.version) == (DECISIONS, name)}
    back = [example for example in before if example.item_id in touched or example.item_id not in there]
    return [*(example for example in train if example.item_id not in touched), *_apart(root, params, back, measured)]


def _apart(root: Path, params: StageParams, back: Sequence[Example], measured: Sequence[Example]) -> list[Example]:
    """Of what comes back that which measures nothing, as `prepare` has it."""
    measuring, asked = keys(measured, params.kind), keys(back, params.kind)
    reserved = sorted(measured_items(segments(root / "data/decisions")))
    stays = keep_apart(asked, replace(measuring, item_ids=[*measuring.item_ids, *reserved])).keep
    alike = near_copies(root, params).of(measured, back)
    return [example for example, apart, near in zip(back, stays, alike, strict=True) if apart and not near]


def _others(folder: Path, name: str) -> list[Segment]:
    return [segment for segment in segments(folder) if segment[0] != name]


def _compared(
    learner: Learner, name: str, train: Sequence[Example], without: Sequence[Example], measured: Sequence[Example]
) -> Effect:
    ours, theirs = (learner.judged(examples, measured) for examples in (train, without))
    low, high = _interval(ours.outcomes.right, theirs.outcomes.right)
    told = (
        Flip(example.item_id, example.label, b, a)
        for example, a, b in zip(measured, ours.said, theirs.said, strict=True)
        if a != b
    )
    one, other = float(ours.outcomes.right.mean()), float(theirs.outcomes.right.mean())
    changed = _contents(train) ^ _contents(without)
    return Effect(name, len({item_id for item_id, _ in changed}), len(measured), one, other, one - other, low, high, tuple(told))


def _contents(examples: Sequence[Example]) -> set[tuple[str, str]]:
    return {(example.item_id, example.label) for example in examples}


def _interval(ours: Flags, theirs: Flags) -> tuple[float, float]:
    """Of the mean difference, item by item drawn again: the same draws each time."""
    difference = ours.astype(np.int64) - theirs.astype(np.int64)
    chance = np.random.default_rng(0)
    means: list[npt.NDArray[np.float64]] = []
    for start in range(0, RESAMPLES, at_once := max(1, _DRAWS_AT_ONCE // len(difference))):
        drawn = chance.integers(0, len(difference), size=(min(at_once, RESAMPLES - start), len(difference)))
        means.append(difference[drawn].mean(axis=1))
    tail = 100 * (1 - _CONFIDENCE) / 2
    low, high = np.percentile(np.concatenate(means), [tail, 100 - tail])
    return float(low), float(high)
