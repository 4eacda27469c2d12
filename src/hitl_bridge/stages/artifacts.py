"""A model as a folder: the trainer's files and `model.json`, which says what they are and what they were trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

from hitl_bridge.core.dataset.change import version_order
from hitl_bridge.core.model import JSON
from hitl_bridge.core.task_types import TaskType, task_type
from hitl_bridge.errors import RefusedForSafety, UsageError
from hitl_bridge.stages.files import canonical, digests, read_json, sha256, write_json
from hitl_bridge.stages.params import StageParams
from hitl_bridge.stages.snapshot import DECISIONS, Example, labels_of
from hitl_bridge.stages.trainers import AnsweringModel, Model, Predicted, Scores, Setup, Unlabelled, trainer, with_scores

MODEL_JSON = "model.json"
CANDIDATE = Path("models/candidate")
CHAMPION = Path("models/champion")
POINTER = Path("models/champion.json")
_FORMAT = 1
_LIBRARIES = ("hitl-bridge", "numpy", "scikit-learn")


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that can score. `labels` are the columns of its scores, in the order of the workspace's labels."""

    model_version: str
    snapshot_sha256: str
    labels: tuple[str, ...]
    model: Model | AnsweringModel
    own_labels: tuple[str, ...]
    kind: TaskType

    def scores(self, items: Sequence[Unlabelled]) -> Scores:
        """In columns of `labels`: a label that the model does not know has 0, one that the workspace dropped is left out."""
        import numpy as np

        own = with_scores(self.model).scores(items)
        scores = np.zeros((len(items), len(self.labels)))
        for column, label in enumerate(self.labels):
            if label in self.own_labels:
                scores[:, column] = own[:, self.own_labels.index(label)]
        return scores

    def answers(self, items: Sequence[Unlabelled]) -> list[Predicted]:
        """What it says of each item; parts whose label the workspace dropped are left out."""
        if isinstance(self.model, AnsweringModel):
            return [self._of_today(said) for said in self.model.answers(items)]
        return from_scores(self.scores(items), self.labels, self.kind)

    def _of_today(self, said: Predicted) -> Predicted:
        parts = self.kind.parts(said.output)
        kept = [part for part in parts if self.kind.label_of(part) in self.labels]
        return said if len(kept) == len(parts) else replace(said, output=self.kind.whole(kept))


def from_scores(scores: Scores, labels: Sequence[str], kind: TaskType) -> list[Predicted]:
    """What rows of scores say, in columns of `labels`."""
    by_label = ({label: float(score) for label, score in zip(labels, row, strict=True)} for row in scores)
    return [Predicted(*kind.answer(row), row) for row in by_label]


def describe(
    folder: Path, params: StageParams, fitted: Mapping[str, JSON], examples: Sequence[Example], snapshot_sha256: str
) -> str:
    """Writes `model.json` beside the trainer's files; returns the model version, which names exactly this content."""
    recipe = {
        "format": _FORMAT,
        "task": params.kind.name,
        "labels": list(params.labels),
        "trainer": params.train.trainer,
        "params": asdict(params.train),
        "fitted": dict(fitted),
        "trained_on": _trained_on(examples, snapshot_sha256, params.kind),
        "files": digests(folder),
        "libraries": {name: version(name) for name in _LIBRARIES},
    }
    model_version = f"{params.train.name}-{sha256(canonical(recipe).encode())[:12]}"
    write_json(folder / MODEL_JSON, {"model_version": model_version, **recipe})
    return model_version


def _trained_on(examples: Sequence[Example], snapshot_sha256: str, kind: TaskType) -> dict[str, object]:
    return {
        "rows": len(examples),
        "sources": dict(Counter(example.source for example in examples)),
        "labels": dict(Counter(label for example in examples for label in labels_of(example, kind))),
        "versions": sorted({e.version for e in examples if e.source == DECISIONS}, key=version_order),
        "snapshot_sha256": snapshot_sha256,
    }


def load_candidate(root: Path, labels: tuple[str, ...]) -> LoadedModel:
    """The model that `finetune` made last. Raises UsageError if there is none, RefusedForSafety if its files are not its own."""
    folder = root / CANDIDATE
    described = read_json(folder / MODEL_JSON, remedy="Run `dvc repro`: its second stage trains a candidate.")
    files = described.get("files")
    _verify(folder, files if isinstance(files, Mapping) else {}, besides=(MODEL_JSON,))
    return _load(root, folder, described, labels)


def load_champion(root: Path, labels: tuple[str, ...]) -> LoadedModel | None:
    """The model in use; None while there is none.

    Raises RefusedForSafety if its files are not those of which `champion.json` holds the SHA-256.
    """
    pointer = read_json(root / POINTER, remedy='Write {"model_version": null} into models/champion.json, or `git checkout` it.')
    if pointer.get("model_version") is None:
        return None
    pledged = pointer.get("sha256")
    _verify(root / CHAMPION, pledged if isinstance(pledged, Mapping) else {})
    described = read_json(root / CHAMPION / MODEL_JSON, remedy="Run `dvc pull models/champion`.")
    if described.get("model_version") != pointer["model_version"]:
        remedy = "Promote a candidate again, or restore models/ from git and DVC."
        raise RefusedForSafety("models/champion/ is another model than models/champion.json names.", remedy=remedy)
    return _load(root, root / CHAMPION, described, labels)


def _verify(folder: Path, pledged: Mapping[str, JSON], besides: tuple[str, ...] = ()) -> None:
    """Before anything is opened. Every file must be pledged, and every pledged file there and unchanged."""
    if not folder.is_dir():
        raise UsageError(f"There is no models/{folder.name}/.", remedy=f"Run `dvc pull models/{folder.name}`.")
    found = {name: digest for name, digest in digests(folder).items() if name not in besides}
    wrong = sorted(name for name in found.keys() | pledged.keys() if found.get(name) != pledged.get(name))
    if wrong or not pledged:
        raise RefusedForSafety(
            f"models/{folder.name}/ is not as it was written: {', '.join(wrong) or 'no SHA-256 is on record'}.",
            remedy=f"Restore it with `dvc checkout --force models/{folder.name}`; it was not opened.",
        )


def _load(root: Path, folder: Path, described: Mapping[str, JSON], labels: tuple[str, ...]) -> LoadedModel:
    if described.get("format") != _FORMAT:
        raise UsageError(f"models/{folder.name}/model.json has an unknown format.", remedy="Update hitl-bridge.")
    own, params, trained, fitted = (described.get(name) for name in ("labels", "params", "trained_on", "fitted"))
    if not isinstance(own, list) or not isinstance(params, Mapping) or not isinstance(trained, Mapping):
        raise UsageError(f"models/{folder.name}/model.json is incomplete.", remedy="Train again.")
    own_labels = tuple(str(label) for label in own)
    options = params.get("options")
    kind = task_type(str(described.get("task")))
    setup = Setup(root, own_labels, options=options if isinstance(options, Mapping) else {}, kind=kind)
    model = trainer(str(described.get("trainer"))).load(folder, setup, fitted if isinstance(fitted, Mapping) else {})
    snapshot = str(trained.get("snapshot_sha256"))
    return LoadedModel(str(described["model_version"]), snapshot, labels, model, own_labels, kind)
