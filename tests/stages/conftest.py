"""A workspace in which the stages run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.stages.workspaces import LABELS, PROJECT, texts, write_lines


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace with base data and without a decision; `dvc.yaml` and `params.yaml` are the project's own."""
    root = tmp_path / "workspace"
    for folder in ("data/base", "data/decisions", "data/payloads", "models", "checks"):
        (root / folder).mkdir(parents=True)
    for name in ("dvc.yaml", "params.yaml"):
        (root / name).write_bytes((PROJECT / name).read_bytes())
    (root / "hitl.yaml").write_text(f"task: text-classification\nlabels: {json.dumps(LABELS)}\n")
    (root / "models/champion.json").write_text('{"model_version": null}\n')
    write_lines(root / "data/base/train.jsonl", texts(90, 1, "t"))
    write_lines(root / "data/base/holdout.jsonl", texts(120, 2, "h"))
    return root
