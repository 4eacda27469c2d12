"""What the champion says of the calibration items: run after a promotion, so that thresholds can be chosen for it at once.

No stage of `dvc.yaml`, for nothing trains or judges by it: the bridge runs it and reads what it writes. Calibration items were
drawn at random before anyone looked, and are never trained on. What is written holds no texts.
"""

from __future__ import annotations

from pathlib import Path

from hitl_bridge.core.dataset.schema import canonical_bytes
from hitl_bridge.core.model import Split
from hitl_bridge.errors import UsageError
from hitl_bridge.stages.artifacts import load_champion
from hitl_bridge.stages.entry import run_stage
from hitl_bridge.stages.files import canonical, write_bytes
from hitl_bridge.stages.params import load_params
from hitl_bridge.stages.snapshot import DECISIONS, FOLDER, read_examples
from hitl_bridge.stages.trainers import Predicted, Unlabelled

SCORES = Path(".hitl/champion-scores.parquet")
_DIGITS = 6


def calibrate(root: Path) -> str:
    """Scores the calibration items of the workspace at `root`; returns how many, in a sentence."""
    import pyarrow as pa

    params = load_params(root)
    champion = load_champion(root, params.labels)
    if champion is None:
        raise UsageError("There is no champion.", remedy="Run `hitl-bridge promote` first.")
    known = read_examples(root / FOLDER / f"{Split.CALIBRATION.value}.parquet")
    examples = [each for each in known if each.source == DECISIONS]
    answers = champion.answers([Unlabelled(each.item_id, each.input) for each in examples])
    scored = [label for label in champion.labels if any(label in each.scores for each in answers)]
    columns = {
        "item_id": pa.array([each.item_id for each in examples], pa.string()),
        "output": pa.array([canonical(each.output) for each in answers], pa.string()),
        "confidence": pa.array([round(each.confidence, _DIGITS) for each in answers], pa.float64()),
        **{f"score:{label}": pa.array([_rounded(each, label) for each in answers], pa.float64()) for label in scored},
    }
    table = pa.table(columns).replace_schema_metadata({"model_version": champion.model_version})
    write_bytes(root / SCORES, canonical_bytes(table))
    return f"{champion.model_version} scored {len(examples)} calibration items."


def _rounded(answer: Predicted, label: str) -> float:
    return round(answer.scores.get(label, 0.0), _DIGITS)


if __name__ == "__main__":
    run_stage(calibrate)
