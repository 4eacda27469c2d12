"""The user's own trainer, as a command. The contract is in docs/trainers.md.

Where scores of labels say what the answer is, the command gives these; what is marked in a text it has to say itself.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from hitl_bridge.core.model import JSON
from hitl_bridge.core.task_types.controls import Form
from hitl_bridge.errors import BridgeError, UsageError
from hitl_bridge.stages.files import canonical
from hitl_bridge.stages.trainers import AnsweringModel, Labelled, Model, Predicted, Scores, Setup, Unlabelled, refuse_nothing

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

    def load(self, folder: Path, setup: Setup, fitted: Mapping[str, JSON]) -> Model | AnsweringModel:
        return _AnsweringCommand(folder, setup) if setup.kind.form is Form.MARKS else _ScoringCommand(folder, setup)


_Read = TypeVar("_Read")


@dataclass(frozen=True, slots=True)
class _CommandModel:
    folder: Path
    setup: Setup

    def _said(self, items: Sequence[Unlabelled], read: Callable[[JSON, Unlabelled], _Read]) -> list[_Read]:
        """What the command says of each item, each line in the words of `read`, in the items' order."""
        if not items:
            return []
        with tempfile.TemporaryDirectory(prefix="hitl-score-") as scratch:
            inputs, out = Path(scratch) / "inputs.jsonl", Path(scratch) / "scores.jsonl"
            _write_lines(inputs, ({"item_id": item.item_id, "input": item.input} for item in items))
            _run("score", self.setup, self.folder, Path(scratch), {"HITL_INPUTS": str(inputs), "HITL_SCORES": str(out)})
            return _read_lines(out, items, read)


@dataclass(frozen=True, slots=True)
class _ScoringCommand(_CommandModel):
    def scores(self, items: Sequence[Unlabelled]) -> Scores:
        rows = self._said(items, self._row)
        return np.array(rows, dtype=np.float64).reshape(len(items), len(self.setup.labels))

    def _row(self, line: JSON, item: Unlabelled) -> list[float]:
        given = line.get("scores") if isinstance(line, Mapping) else None
        if not isinstance(given, Mapping):
            raise ValueError('it must be {"item_id": …, "scores": {label: number}}')
        if set(given) - set(self.setup.labels):
            raise ValueError("it scores a label that hitl.yaml does not have")
        return [_probability(given.get(label, 0.0), "scores") for label in self.setup.labels]


@dataclass(frozen=True, slots=True)
class _AnsweringCommand(_CommandModel):
    def answers(self, items: Sequence[Unlabelled]) -> list[Predicted]:
        return self._said(items, self._answer)

    def _answer(self, line: JSON, item: Unlabelled) -> Predicted:
        given = line.get("prediction") if isinstance(line, Mapping) else None
        if not isinstance(line, Mapping) or not isinstance(given, Mapping):
            raise ValueError('it must be {"item_id": …, "prediction": {…}, "confidence": number}')
        kind = self.setup.kind
        problem = kind.output_problem(given, self.setup.labels) or kind.pair_problem(item.input, given)
        if problem is not None:
            raise ValueError(problem)
        return Predicted(kind.whole(kind.parts(given)), _probability(line.get("confidence"), "confidence"))


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


def _read_lines(path: Path, items: Sequence[Unlabelled], read: Callable[[JSON, Unlabelled], _Read]) -> list[_Read]:
    """One line an item, in any order. Raises UsageError naming the line that does not keep the contract."""
    waiting = {item.item_id: item for item in items}
    found: dict[str, _Read] = {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for number, text in enumerate(lines, start=1):
        try:
            line = json.loads(text)
            item_id = str(line["item_id"])
            if item_id not in waiting:
                raise ValueError("item_id is unknown or stands there twice")
            found[item_id] = read(line, waiting.pop(item_id))
        except (KeyError, TypeError, json.JSONDecodeError):
            raise _broken(number, "it must be a JSON object with an item_id") from None
        except ValueError as problem:
            raise _broken(number, str(problem)) from None
    if waiting:
        text = f"The score command said nothing of {len(waiting)} of {len(items)} items."
        raise UsageError(text, remedy="See docs/trainers.md.")
    return [found[item.item_id] for item in items]


def _probability(value: JSON, what: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value) or not 0.0 <= value <= 1.0:
        raise ValueError(f"{what} must lie in [0, 1]")
    return float(value)


def _broken(line: int, what: str) -> UsageError:
    return UsageError(f"The score command's line {line} is wrong: {what}.", remedy="See docs/trainers.md.")
