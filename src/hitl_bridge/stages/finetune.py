"""Stage 2: the training snapshot → `models/candidate/`. It never looks at the holdout, nor at the champion."""

from __future__ import annotations

import shutil
from pathlib import Path

from hitl_bridge.core.model import Split
from hitl_bridge.stages.artifacts import CANDIDATE, describe
from hitl_bridge.stages.entry import run_stage
from hitl_bridge.stages.files import sha256
from hitl_bridge.stages.params import load_params
from hitl_bridge.stages.snapshot import FOLDER, read_examples
from hitl_bridge.stages.trainers import Labelled, Setup, trainer


def finetune(root: Path) -> str:
    """Trains a candidate for the workspace at `root`; returns what it did in a sentence."""
    params = load_params(root)
    snapshot = root / FOLDER / f"{Split.TRAIN.value}.parquet"
    examples = read_examples(snapshot)
    folder = root / CANDIDATE
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    setup = Setup(root, params.labels, params.train.seed, params.train.base_model, params.train.options, params.kind)
    labelled = [Labelled(each.item_id, each.input, each.label, each.output) for each in examples]
    fitted = trainer(params.train.trainer).train(labelled, setup, folder)
    model_version = describe(folder, params, fitted, examples, sha256(snapshot.read_bytes()))
    return f"Trained {model_version} on {len(examples)} items."


if __name__ == "__main__":
    run_stage(finetune)
