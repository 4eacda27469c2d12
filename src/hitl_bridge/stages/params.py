"""`params.yaml`, and the two lines of `hitl.yaml` that training needs, as frozen values; every mistake at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hitl_bridge.core.gating.policy import SLICES, GatePolicy
from hitl_bridge.core.model import JSON, NONE_OF_THESE
from hitl_bridge.core.task_types import TASK_TYPE_NAMES, TaskType, task_type
from hitl_bridge.errors import SettingsError, SettingsProblem, UsageError

if TYPE_CHECKING:
    from ruamel.yaml.comments import CommentedMap

_Default = TypeVar("_Default")
_APART = "review"
"""The folder in which `init` puts the pipeline where the root has one of somebody else's."""


@dataclass(frozen=True, slots=True)
class PrepareParams:
    """`holdout_share` of the base data is held out if there is no `data/base/holdout.*`. `group_by` names the attribute
    that keeps related items on one side of the split. `near_duplicates`: the share of its pieces that a text has in common
    with one that measures, from which it is left out of training (None: only equal texts are); `near_images`: the same for
    images, the correlation of their small pictures."""

    holdout_share: float = 0.2
    seed: int = 0
    group_by: str | None = None
    near_duplicates: float | None = 0.8
    near_images: float | None = 0.99


@dataclass(frozen=True, slots=True)
class TrainParams:
    """`trainer` is one of `stages.trainers.TRAINERS`; `options` are its own. `name` starts the model version."""

    trainer: str = "sklearn-text"
    name: str = "model"
    seed: int = 0
    base_model: str | None = None
    options: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EvaluateParams:
    """`bins`: bins of equal width for the calibration error and the reliability curve. `latency_items`: held-out items that
    each model is asked one by one, to time it."""

    bins: int = 15
    latency_items: int = 20


@dataclass(frozen=True, slots=True)
class ExamineParams:
    """`folds`: models that look for doubtful labels (below 2: none do). `points` of the learning curve (0: none). `twins`:
    cosine from which two inputs count as nearly the same (1: only where they are the same)."""

    folds: int = 5
    points: int = 5
    twins: float = 0.9


@dataclass(frozen=True, slots=True)
class StageParams:
    kind: TaskType
    labels: tuple[str, ...]
    prepare: PrepareParams
    train: TrainParams
    evaluate: EvaluateParams
    gate: GatePolicy
    examine: ExamineParams = ExamineParams()


def load_params(root: Path) -> StageParams:
    """Reads `hitl.yaml` and `params.yaml` below `root`. Raises SettingsError with everything that is wrong in one of them."""
    kind, labels = _task(_mapping(root, "hitl.yaml"))
    name = params_file(root)
    return _stage_params(_mapping(root, name), name, kind, labels)


def params_file(root: Path) -> str:
    """Beside our own `dvc.yaml`: in a repository that had a pipeline before, ours lies in a folder of its own."""
    return f"{_APART}/params.yaml" if (root / _APART / "dvc.yaml").is_file() else "params.yaml"


def _mapping(root: Path, name: str) -> CommentedMap:
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap
    from ruamel.yaml.error import YAMLError

    try:
        content = YAML(typ="rt").load((root / name).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"There is no {name} here.", remedy="Run the command in the root of a workspace.") from error
    except YAMLError as error:
        problem = SettingsProblem(0, name, str(error).splitlines()[0])
        raise SettingsError(name, (problem,)) from error
    if content is None:
        return CommentedMap()
    if not isinstance(content, CommentedMap):
        raise SettingsError(name, (SettingsProblem(1, name, "must be a mapping"),))
    return content


def _task(content: CommentedMap) -> tuple[TaskType, tuple[str, ...]]:
    section = _Section(content, "")
    name = section.one_of("task", TASK_TYPE_NAMES[0], TASK_TYPE_NAMES)
    labels = section.names("labels")
    section.raise_problems("hitl.yaml")
    return task_type(name), labels


def _stage_params(content: CommentedMap, name: str, kind: TaskType, labels: tuple[str, ...]) -> StageParams:
    top = _Section(content, "")
    parts = [top.section(part) for part in ("prepare", "train", "evaluate", "gate", "examine")]
    prepare, train, evaluate, gate, examine = parts
    trained = _train(train, kind)
    params = StageParams(kind, labels, _prepare(prepare), trained, _evaluate(evaluate), _gate(gate), _examine(examine))
    for part in parts:
        part.refuse_unknown()
    top.problems.extend(problem for part in parts for problem in part.problems)
    top.refuse_unknown()
    top.raise_problems(name)
    return params


def _prepare(section: _Section) -> PrepareParams:
    default = PrepareParams()
    return PrepareParams(
        holdout_share=section.number("holdout_share", default.holdout_share, 0.0, 0.9),
        seed=section.whole("seed", default.seed, 0),
        group_by=section.text("group_by", None),
        near_duplicates=section.share_or_none("near_duplicates", default.near_duplicates, 0.5),
        near_images=section.share_or_none("near_images", default.near_images, 0.9),
    )


def _train(section: _Section, kind: TaskType) -> TrainParams:
    from hitl_bridge.stages.trainers import MADE_FOR, TRAINERS

    default = TrainParams()
    trainer = section.one_of("trainer", default.trainer, TRAINERS)
    if MADE_FOR[trainer] not in (None, kind.name):
        fitting = ", ".join(name for name, made_for in MADE_FOR.items() if made_for in (None, kind.name))
        section.wrong("trainer", f"is made for {MADE_FOR[trainer]}; for {kind.name} take one of: {fitting}")
    return TrainParams(
        trainer=trainer,
        name=section.text("name", default.name) or default.name,
        seed=section.whole("seed", default.seed, 0),
        base_model=section.text("base_model", None),
        options=section.plain("options"),
    )


def _evaluate(section: _Section) -> EvaluateParams:
    default = EvaluateParams()
    return EvaluateParams(
        bins=section.whole("bins", default.bins, 2),
        latency_items=section.whole("latency_items", default.latency_items, 0),
    )


def _examine(section: _Section) -> ExamineParams:
    default = ExamineParams()
    return ExamineParams(
        folds=section.whole("folds", default.folds, 0),
        points=section.whole("points", default.points, 0),
        twins=section.number("twins", default.twins, 0.5, 1.0),
    )


def _gate(section: _Section) -> GatePolicy:
    default = GatePolicy()
    return GatePolicy(
        margin=section.number("margin", default.margin, 0.0001, 0.5),
        alpha=section.number("alpha", default.alpha, 0.0001, 0.5),
        require_improvement=section.flag("require_improvement", default.require_improvement),
        edge_share=section.number("edge_share", default.edge_share, 0.0, 1.0),
        edge_gain=section.number("edge_gain", default.edge_gain, 0.0001, 1.0),
        edge_margin=section.number("edge_margin", default.edge_margin, 0.0001, 0.5),
        slices=section.some_of("slices", default.slices, SLICES),
        max_ece=section.optional_number("max_ece", 1.0),
        max_latency_ms=section.optional_number("max_latency_ms", 1e9),
        max_slower=section.optional_number("max_slower", 1e6),
        max_size_mb=section.optional_number("max_size_mb", 1e9),
        min_items=section.whole("min_items", default.min_items, 1),
        min_first_items=section.whole("min_first_items", default.min_first_items, 1),
        min_edge_items=section.whole("min_edge_items", default.min_edge_items, 1),
        min_slice_items=section.whole("min_slice_items", default.min_slice_items, 1),
    )


class _Section:
    """A mapping that is read key by key; what is wrong is collected, not raised."""

    def __init__(self, content: CommentedMap, where: str) -> None:
        self.content = content
        self.where = where
        self.problems: list[SettingsProblem] = []
        self._read: set[str] = set()

    def number(self, key: str, default: float, low: float, high: float) -> float:
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            return self._wrong(key, f"must be a number from {low} to {high}", default)
        return float(value)

    def optional_number(self, key: str, high: float) -> float | None:
        return None if self._get(key, None) is None else self.number(key, 0.0, 0.0, high)

    def share_or_none(self, key: str, default: float | None, low: float) -> float | None:
        """Unlike `optional_number`, what is not there has a default; `null` says that none is wanted."""
        return None if self._get(key, default) is None else self.number(key, default or low, low, 1.0)

    def whole(self, key: str, default: int, low: int) -> int:
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            return self._wrong(key, f"must be a whole number, {low} or more", default)
        return int(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self._get(key, default)
        return value if isinstance(value, bool) else self._wrong(key, "must be true or false", default)

    def text(self, key: str, default: str | None) -> str | None:
        value = self._get(key, default)
        if value is None or isinstance(value, str):
            return None if value is None else str(value)
        return self._wrong(key, "must be a text", default)

    def one_of(self, key: str, default: str, names: tuple[str, ...]) -> str:
        value = self._get(key, default)
        return str(value) if value in names else self._wrong(key, f"must be one of: {', '.join(names)}", default)

    def some_of(self, key: str, default: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
        value = self._get(key, list(default))
        if not isinstance(value, list) or not all(each in names for each in value) or len(set(value)) < len(value):
            return self._wrong(key, f"must be a list of some of: {', '.join(names)}", default)
        return tuple(str(each) for each in value)

    def names(self, key: str) -> tuple[str, ...]:
        value = self._get(key, None)
        if not isinstance(value, list) or len(value) < 2 or not all(isinstance(each, str) and each for each in value):
            return self._wrong(key, "must be a list of at least two texts", ())
        if len(set(value)) < len(value) or NONE_OF_THESE in value:
            return self._wrong(key, f"must not repeat a label, nor use {NONE_OF_THESE!r}", ())
        return tuple(str(each) for each in value)

    def plain(self, key: str) -> Mapping[str, JSON]:
        value = self._get(key, {})
        return _plain(value) if isinstance(value, dict) else self._wrong(key, "must be a mapping", {})

    def section(self, key: str) -> _Section:
        from ruamel.yaml.comments import CommentedMap

        value = self._get(key, CommentedMap())
        if isinstance(value, CommentedMap):
            return _Section(value, f"{key}.")
        self._wrong(key, "must be a mapping", None)
        return _Section(CommentedMap(), f"{key}.")

    def refuse_unknown(self) -> None:
        for key in self.content:
            if key not in self._read:
                self._wrong(str(key), f"is not known; known are: {', '.join(sorted(self._read))}", None)

    def raise_problems(self, path: str) -> None:
        if self.problems:
            raise SettingsError(path, tuple(sorted(self.problems, key=lambda problem: problem.line)))

    def _get(self, key: str, default: object) -> object:
        self._read.add(key)
        return self.content.get(key, default)

    def wrong(self, key: str, what: str) -> None:
        """Notes what only somebody who knows more than this section can see."""
        self._wrong(key, what, None)

    def _wrong(self, key: str, what: str, default: _Default) -> _Default:
        line = self.content.lc.key(key)[0] + 1 if key in self.content else 0
        self.problems.append(SettingsProblem(line, f"{self.where}{key}", what))
        return default


def _plain(value: Mapping[object, object]) -> Mapping[str, JSON]:
    """Without ruamel's own types, so that it can be written as JSON."""
    import json

    plain: Mapping[str, JSON] = json.loads(json.dumps(value))
    return plain
