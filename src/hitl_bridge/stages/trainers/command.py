"""The user's own trainer, as a command. The contract is in docs/trainers.md."""

from __future__ import annotations

import json
import math
import os
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hitl_bridge.core.model import JSON
from hitl_bridge.errors import BridgeError, UsageError
from hitl_bridge.stages.files import canonical
from hitl_bridge.stages.trainers import Labelled, Model, Scores, Setup, Unlabelled, refuse_nothing

_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONHASHSEED", "LD_LIBRARY_PATH")
_PASSED_ON_PREFIXES = ("CUDA_", "NVIDIA_", "OMP_", "MKL_", "OPENBLAS_", "TORCH_", "HF_HOME", "TRANSFORMERS_")
"""The command runs without the bridge's secrets; what else it needs is named in `train.options.environment`."""


class Command:
    """Options: `train` and `score` (each a list: program and arguments), `environment` (names of variables to pass on)."""

    def train(self, examples: Sequence[Labelled], setup: Setup, folder: Path) -> Mapping[str, JSON]:
        refuse_nothing(examples)
        with tempfile.TemporaryDirectory(prefix="hitl-train-") as scratch:
            rows = ({"item_id": e.item_id, "input": e.input, "label": e.label, "output": e.output} for e in examples)
            given = {"HITL_TRAIN": _write_lines(Path(scratch) / "train.jsonl", rows)}
            _run("train", setup, folder, Path(scratch), given)
        if not any(path.is_file() for path in folder.rglob("*")):
            raise UsageError("The train command left no file in HITL_MODEL_DIR.", remedy="See docs/trainers.md.")
        return {}

    def load(self, folder: Path, setup: Setup, fitted: Mapping[str, JSON]) -> Model:
        return _CommandModel(folder, setup)


@dataclass(frozen=True, slots=True)
class _CommandModel:
    folder: Path
    setup: Setup

    def scores(self, items: Sequence[Unlabelled]) -> Scores:
        if not items:
            return np.zeros((0, len(self.setup.labels)))
        with tempfile.TemporaryDirectory(prefix="hitl-score-") as scratch:
            inputs, out = Path(scratch) / "inputs.jsonl", Path(scratch) / "scores.jsonl"
            _write_lines(inputs, ({"item_id": item.item_id, "input": item.input} for item in items))
            _run("score", self.setup, self.folder, Path(scratch), {"HITL_INPUTS": str(inputs), "HITL_SCORES": str(out)})
            return _read_scores(out, items, self.setup.labels)


def _run(step: str, setup: Setup, folder: Path, scratch: Path, given: Mapping[str, str]) -> None:
    """Runs the command in the workspace. Its own output goes where ours goes: it may name inputs, our errors don't."""
    command = setup.option(step, None)
    if not isinstance(command, list) or not command or not all(isinstance(part, str) for part in command):
        remedy = f"For example: {step}: [python, my_{step}.py]. See docs/trainers.md."
        raise UsageError(f"train.options.{step} must be a list: the program and its arguments.", remedy=remedy)
    labels = scratch / "labels.json"
    labels.write_text(json.dumps(list(setup.labels), ensure_ascii=False), encoding="utf-8")
    told = {"HITL_LABELS": str(labels), "HITL_MODEL_DIR": str(folder.resolve()), "HITL_SEED": str(setup.seed)}
    environment = {**_environment(setup), **told, "HITL_BASE_MODEL": setup.base_model or "", **given}
    try:
        done = subprocess.run([str(part) for part in command], cwd=setup.root, env=environment, check=False)
    except OSError as error:
        remedy = "Give a program that is on the PATH, or a path below the workspace."
        raise UsageError(f"The {step} command can't be started: {error.strerror}.", remedy=remedy) from error
    if done.returncode:
        raise BridgeError(f"The {step} command ended with exit code {done.returncode}.", remedy="Its own messages stand above.")


def _environment(setup: Setup) -> dict[str, str]:
    more = setup.option("environment", [])
    asked = {str(name) for name in more} if isinstance(more, list) else set()
    return {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED_ON or name in asked or name.startswith(_PASSED_ON_PREFIXES)
    }


def _write_lines(path: Path, rows: Iterable[object]) -> str:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(canonical(row) + "\n" for row in rows)
    return str(path)


def _read_scores(path: Path, items: Sequence[Unlabelled], labels: Sequence[str]) -> Scores:
    """One line an item, in any order. Raises UsageError naming the line that does not keep the contract."""
    place = {item.item_id: number for number, item in enumerate(items)}
    scores = np.full((len(items), len(labels)), np.nan)
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for number, line in enumerate(lines, start=1):
        item_id, row = _score_line(number, line, labels)
        if item_id not in place or not np.isnan(scores[place[item_id]]).all():
            raise _broken(number, "item_id is unknown or stands there twice")
        scores[place[item_id]] = row
    missing = int(np.isnan(scores).any(axis=1).sum())
    if missing:
        raise UsageError(f"The score command gave no scores for {missing} of {len(items)} items.", remedy="See docs/trainers.md.")
    return scores


def _score_line(number: int, line: str, labels: Sequence[str]) -> tuple[str, list[float]]:
    try:
        content = json.loads(line)
        item_id, given = content["item_id"], content["scores"]
        row = [float(given.get(label, 0.0)) for label in labels]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _broken(number, 'it must be {"item_id": …, "scores": {label: number}}') from error
    if set(given) - set(labels):
        raise _broken(number, "it scores a label that hitl.yaml does not have")
    if not all(math.isfinite(score) and 0.0 <= score <= 1.0 for score in row):
        raise _broken(number, "scores must lie in [0, 1]")
    return str(item_id), row


def _broken(line: int, what: str) -> UsageError:
    return UsageError(f"The score command's line {line} is wrong: {what}.", remedy="See docs/trainers.md.")
