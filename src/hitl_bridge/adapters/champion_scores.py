"""What the champion says of the calibration items, as the stage `calibrate` computes it in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hitl_bridge.adapters.git.repository import child_environment
from hitl_bridge.errors import OutsideUnavailable
from hitl_bridge.ports import ModelAnswer

_SCORES = Path(".hitl") / "champion-scores.parquet"
_PREFIX = "score:"


def champion_answers(root: Path) -> tuple[str, Mapping[str, ModelAnswer]]:
    """The champion's model version, and what it says of each calibration item. Raises OutsideUnavailable."""
    import pyarrow.parquet as pq

    # -P: what lies in the workspace must not be taken for a module of ours.
    command = [sys.executable, "-P", "-m", "hitl_bridge.stages.calibrate"]
    done = subprocess.run(command, cwd=root, env=child_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        said = " ".join(done.stderr.strip().splitlines()[-2:])[:400]
        raise OutsideUnavailable(
            f"The champion could not score the calibration items: {said}",
            remedy="`hitl-bridge thresholds choose` chooses from its own predictions once people have judged some.",
        )
    table = pq.read_table(root / _SCORES)
    (root / _SCORES).unlink()
    rows = {row.pop("item_id"): row for row in table.to_pylist()}
    version = (table.schema.metadata or {}).get(b"model_version", b"").decode()
    return version, {str(name): _answer(row) for name, row in rows.items()}


def _answer(row: Mapping[str, Any]) -> ModelAnswer:
    scores = {name.removeprefix(_PREFIX): float(value) for name, value in row.items() if name.startswith(_PREFIX)}
    return ModelAnswer(json.loads(row["output"]), float(row["confidence"]), scores)
