"""Trainers that start from a checkpoint: what of it is taken, what pins it, and that it is not needed afterwards."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hitl_bridge.errors import RefusedForSafety, UsageError
from hitl_bridge.stages.files import digests
from hitl_bridge.stages.trainers import Labelled, Setup, Trainer, Unlabelled, trainer, with_scores
from hitl_bridge.stages.trainers.checkpoint import copy_checkpoint
from hitl_bridge.stages.trainers.sentence_embeddings import SentenceEmbeddings, Vectors
from tests.stages.workspaces import WORDS, texts

LABELS = (*WORDS, "never_seen")


def examples(n: int, seed: int = 1) -> list[Labelled]:
    return [Labelled(row["item_id"], row["input"], row["output"]["label"]) for row in texts(n, seed, "t")]


def right(trained: Trainer, folder: Path, setup: Setup, fitted: object) -> float:
    """The share of held-out texts that a model opened from its folder has right."""
    held_out = examples(45, seed=2)
    model = with_scores(trained.load(folder, setup, json.loads(json.dumps(fitted))))
    scores = model.scores([Unlabelled(e.item_id, e.input) for e in held_out])
    assert scores.shape == (45, 4)
    assert scores.sum(axis=1) == pytest.approx(1)
    return float(np.mean([LABELS[best] == e.label for best, e in zip(scores.argmax(axis=1), held_out, strict=True)]))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A folder that looks like a sentence-transformers checkpoint."""
    folder = tmp_path / "workspace/models/base/tiny"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "vocab.txt").write_text("a\n")
    (folder / "README.md").write_text("about it")
    (folder / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Transformer", "path": ""}]))
    return folder


@pytest.fixture
def setup(checkpoint: Path) -> Setup:
    return Setup(checkpoint.parents[2], LABELS, base_model="models/base/tiny")


def test_a_checkpoint_is_copied_without_what_is_not_needed_and_its_digest_pins_it(setup: Setup, tmp_path: Path) -> None:
    pin = copy_checkpoint(setup, tmp_path / "one")

    assert sorted(digests(tmp_path / "one")) == ["model.safetensors", "modules.json", "vocab.txt"]
    assert copy_checkpoint(replace(setup, base_model=f"models/base/tiny@{pin[:12]}"), tmp_path / "two") == pin


def test_another_checkpoint_than_was_pinned_is_refused_with_its_own_digest(
    setup: Setup, checkpoint: Path, tmp_path: Path
) -> None:
    pin = copy_checkpoint(setup, tmp_path / "one")
    (checkpoint / "model.safetensors").write_bytes(b"Weights")

    with pytest.raises(RefusedForSafety, match=r"not the one that params\.yaml pins: it is @[0-9a-f]{12}"):
        copy_checkpoint(replace(setup, base_model=f"models/base/tiny@{pin}"), tmp_path / "two")


def test_pickled_weights_and_code_of_a_checkpoint_s_own_are_refused(setup: Setup, checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / "modules.json").write_text(json.dumps([{"type": "my_module.Mine"}]))
    with pytest.raises(RefusedForSafety, match=r"my_module\.Mine"):
        copy_checkpoint(setup, tmp_path / "one")

    (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")
    with pytest.raises(UsageError, match=r"no \.safetensors"):
        copy_checkpoint(setup, tmp_path / "two")


@pytest.mark.parametrize(("named", "message"), [(None, "is not set"), ("models/none", "no folder 'models/none'")])
def test_a_checkpoint_that_is_not_there_is_said_in_words(setup: Setup, tmp_path: Path, named: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        copy_checkpoint(replace(setup, base_model=named), tmp_path / "one")


@dataclass
class CountingEncoder:
    """Counts words of each label; and what it was asked to encode."""

    encoded: list[str] = field(default_factory=list)

    def vectors(self, texts: Sequence[str]) -> Vectors:
        self.encoded.extend(texts)
        return np.array([[any(word in text for word in WORDS[label]) for label in WORDS] for text in texts], np.float32)


def test_a_linear_head_is_trained_on_the_encoder_s_vectors_and_the_model_is_whole_without_the_checkpoint(
    setup: Setup, checkpoint: Path, tmp_path: Path
) -> None:
    made, folder = SentenceEmbeddings(lambda folder, setup: CountingEncoder()), tmp_path / "model"
    folder.mkdir()
    fitted = made.train(examples(60), setup, folder)
    shutil.rmtree(checkpoint)

    assert right(made, folder, setup, fitted) > 0.95
    assert sorted(digests(folder)) == [
        "encoder/model.safetensors", "encoder/modules.json", "encoder/vocab.txt", "model.skops",
    ]  # fmt: skip


def test_folds_and_learning_curves_encode_a_text_once(setup: Setup, tmp_path: Path) -> None:
    encoder = CountingEncoder()
    made = SentenceEmbeddings(lambda folder, setup: encoder, remember=True)
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        fitted = made.train(examples(30), setup, folder)
        right(made, folder, setup, fitted)

    assert len(encoder.encoded) == len(set(encoder.encoded)) == 75


# --------------------------------------------------------------------------- with the real libraries, where they are installed


def tiny_bert(folder: Path, words: Sequence[str]) -> None:
    """A transformer of two small layers that knows these words, with random weights."""
    transformers = pytest.importorskip("transformers", reason="the extra `transformers` is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *sorted({word for text in words for word in text.lower().split()}),
    ]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    settings = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = transformers.BertConfig(vocab_size=len(vocabulary), max_position_embeddings=64, **settings)
    transformers.set_seed(0)
    transformers.BertModel(config).save_pretrained(folder)
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)


def said(rows: Sequence[Labelled]) -> list[str]:
    return [str(row.input["text"]) for row in rows]


def test_a_transformer_is_fine_tuned_from_a_local_checkpoint(tmp_path: Path) -> None:
    rows = examples(60)
    tiny_bert(tmp_path / "tiny", said(rows))
    options: dict[str, Any] = {"epochs": 20, "batch_size": 8, "learning_rate": 0.005, "max_length": 24, "device": "cpu"}
    setup, folder = Setup(tmp_path, LABELS, base_model="tiny", options=options), tmp_path / "model"
    folder.mkdir()

    fitted = trainer("transformers").train(rows, setup, folder)

    shutil.rmtree(tmp_path / "tiny")
    assert right(trainer("transformers"), folder, setup, fitted) > 0.7


def test_the_same_fine_tuning_gives_the_same_files_and_no_path_is_in_them(tmp_path: Path) -> None:
    rows = examples(24)
    tiny_bert(tmp_path / "tiny", said(rows))
    setup, found = Setup(tmp_path, LABELS, base_model="tiny", options={"epochs": 1, "device": "cpu"}), []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        found.append(trainer("transformers").train(rows, setup, tmp_path / name))

    assert found[0] == found[1]
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    assert str(tmp_path) not in "".join(path.read_text() for path in (tmp_path / "one").glob("*.json"))


def test_a_sentence_encoder_is_opened_from_a_local_folder(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers", reason="the extra `embeddings` is not installed")
    rows, checkpoint = examples(60), tmp_path / "tiny"
    tiny_bert(checkpoint, said(rows))
    parts = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    parts += [{"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]
    (checkpoint / "modules.json").write_text(json.dumps(parts))
    (checkpoint / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}
    (checkpoint / "1_Pooling/config.json").write_text(json.dumps(pooling))
    (tmp_path / "model").mkdir()
    setup = Setup(tmp_path, LABELS, base_model="tiny", options={"device": "cpu", "C": 1000})

    fitted = trainer("sentence-embeddings").train(rows, setup, tmp_path / "model")

    shutil.rmtree(checkpoint)
    assert right(trainer("sentence-embeddings"), tmp_path / "model", setup, fitted) > 0.5
