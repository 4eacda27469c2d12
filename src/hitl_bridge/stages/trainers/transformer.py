"""Fine-tuning a Hugging Face transformer for text classification, from a checkpoint in a local folder.

On a GPU where there is one. Fine-tuning as in Mosbach et al. 2021 (*On the stability of fine-tuning BERT*, section 6): AdamW with
a linear warm-up, then a linear decay to 0. Nothing is fetched, no code of a checkpoint is run, weights are safetensors.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hitl_bridge.core.model import JSON
from hitl_bridge.errors import UsageError
from hitl_bridge.stages.progress import Progress
from hitl_bridge.stages.trainers import Labelled, Model, Scores, Setup, Unlabelled
from hitl_bridge.stages.trainers.checkpoint import copy_checkpoint, device_of, refuse_code
from hitl_bridge.stages.trainers.estimator import Numbers, codes_of, rank_within_label, temperature_by, temperature_of

_FIELD = "text"
_SCORED_AT_ONCE = 128


class Transformer:
    """Options: `epochs` (3), `batch_size` (32), `learning_rate` (5e-5), `warm_up` (0.1), `max_length` (128 tokens),
    `calibration_share` (0.1, kept from training to fit the temperature on), `device` (auto). `base_model` is the folder."""

    def train(self, examples: Sequence[Labelled], setup: Setup, folder: Path) -> Mapping[str, JSON]:
        codes = codes_of(examples, setup.labels)
        with tempfile.TemporaryDirectory(prefix="hitl-train-") as scratch:
            pin = copy_checkpoint(setup, Path(scratch))
            opened = _open(Path(scratch), setup, labels=len(setup.labels))
        texts = [str(example.input[_FIELD]) for example in examples]
        kept = _kept_apart(codes, setup.number("calibration_share", 0.1))
        _fit(opened, [texts[place] for place in np.flatnonzero(~kept)], codes[~kept], setup)
        temperature = temperature_by(opened.logits([texts[place] for place in np.flatnonzero(kept)]), codes[kept])
        opened.save(folder)
        return {"temperature": temperature, "base_model_sha256": pin}

    def load(self, folder: Path, setup: Setup, fitted: Mapping[str, JSON]) -> Model:
        refuse_code(folder)
        return _TransformerModel(_open(folder, setup, labels=None), temperature_of(fitted), setup.labels)


def _kept_apart(codes: Numbers, share: float) -> npt.NDArray[np.bool_]:
    """Of each label every n-th example, never its first: a label is always trained on."""
    every = max(2, round(1 / min(share, 0.5)))
    apart: npt.NDArray[np.bool_] = rank_within_label(codes) % every == every - 1
    return apart


@dataclass(frozen=True, slots=True)
class _TransformerModel:
    opened: _Opened
    temperature: float
    labels: tuple[str, ...]

    def scores(self, items: Sequence[Unlabelled]) -> Scores:
        from scipy.special import softmax

        if not items:
            return np.zeros((0, len(self.labels)))
        logits = self.opened.logits([str(item.input[_FIELD]) for item in items])
        scores: Scores = softmax(logits / self.temperature, axis=1)
        return scores


@dataclass(frozen=True, slots=True)
class _Opened:
    """A network and its tokenizer, on the device where they compute."""

    network: Any
    tokenizer: Any
    device: str
    max_length: int

    def tokens(self, texts: Sequence[str]) -> Any:
        kinds = {"padding": True, "truncation": True, "max_length": self.max_length, "return_tensors": "pt"}
        return self.tokenizer(list(texts), **kinds).to(self.device)

    def logits(self, texts: Sequence[str]) -> Scores:
        """Shape (n, labels)."""
        import torch

        self.network.eval()
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        logits: Scores = np.zeros((len(texts), self.network.config.num_labels))
        told = Progress("Scored texts", len(texts))
        with torch.inference_mode():
            for start in range(0, len(order), _SCORED_AT_ONCE):
                places = order[start : start + _SCORED_AT_ONCE]
                found = self.network(**self.tokens([texts[place] for place in places])).logits
                logits[places] = found.float().cpu().numpy()
                told.reached(start + len(places))
        return logits

    def save(self, folder: Path) -> None:
        """Without the path that the network was loaded from: the same training gives the same files anywhere."""
        self.network.config._name_or_path = ""
        self.network.save_pretrained(folder)
        self.tokenizer.name_or_path = ""
        self.tokenizer.save_pretrained(folder)


def _open(folder: Path, setup: Setup, labels: int | None) -> _Opened:
    """With `labels` a head of so many is put on the checkpoint; without, it has its own. Raises UsageError."""
    try:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer
        from transformers.utils import logging
    except ImportError as error:
        remedy = "Install it: pip install 'hitl-bridge[transformers]'."
        raise UsageError("The trainer transformers needs the packages transformers and torch.", remedy=remedy) from error
    safely = {"local_files_only": True, "trust_remote_code": False}
    headed = {} if labels is None else {"num_labels": labels, "ignore_mismatched_sizes": True}
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.manual_seed(setup.seed)
    try:
        network = AutoModelForSequenceClassification.from_pretrained(folder, **safely, **headed, use_safetensors=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, **safely)
    except (OSError, ValueError, KeyError) as error:
        remedy = "train.base_model must be the folder of a transformers checkpoint with its tokenizer."
        raise UsageError(f"The checkpoint can't be opened ({type(error).__name__}).", remedy=remedy) from error
    device = device_of(setup)
    return _Opened(network.to(device), tokenizer, device, int(setup.number("max_length", 128)))


def _fit(opened: _Opened, texts: Sequence[str], codes: Numbers, setup: Setup) -> None:
    """Trains the whole network. Deterministic from the seed on one kind of machine."""
    import torch

    torch.manual_seed(setup.seed)
    size, epochs = int(setup.number("batch_size", 32)), int(setup.number("epochs", 3))
    steps = epochs * math.ceil(len(texts) / size)
    optimizer = torch.optim.AdamW(opened.network.parameters(), lr=setup.number("learning_rate", 5e-5), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _ramp(steps, setup.number("warm_up", 0.1)))
    told = Progress("Training steps", steps)
    opened.network.train()
    for step, places in enumerate(_batches(len(texts), size, epochs, setup.seed), start=1):
        right = torch.tensor(codes[places], device=opened.device)
        loss = opened.network(**opened.tokens([texts[place] for place in places]), labels=right).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(opened.network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        told.reached(step)


def _batches(n: int, size: int, epochs: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    chance = np.random.default_rng(seed)
    for _ in range(epochs):
        order = chance.permutation(n)
        yield from (order[start : start + size] for start in range(0, n, size))


def _ramp(steps: int, warm_up: float) -> Callable[[int], float]:
    """The share of the learning rate at a step: up for the first part of all steps, then down to 0."""
    rise = max(1, round(steps * min(warm_up, 1.0)))
    return lambda step: (step + 1) / rise if step < rise else max(0.0, (steps - step) / max(1, steps - rise))
