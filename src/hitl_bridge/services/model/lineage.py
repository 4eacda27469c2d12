"""From a model back to what it was made from: the dataset versions and their decisions, the recipe, the figures, the sign-off."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hitl_bridge.core.model import JSON, DatasetVersion
from hitl_bridge.ports import Champion, PastModels, SignOffs, Training, WorkspacePaths
from hitl_bridge.services.model.reports import read_json, text, texts

_ROLES = ("candidate", "champion")
_RECIPE = ("trainer", "params", "libraries", "files")
_METRICS, _VERDICT, _POINTER = "reports/metrics.json", "reports/verdict.json", "models/champion.json"


@dataclass(frozen=True, slots=True)
class LineagePorts:
    """`versions`: all dataset versions."""

    paths: WorkspacePaths
    versions: Sequence[DatasetVersion]
    sign_offs: SignOffs
    past: PastModels


@dataclass(frozen=True, slots=True)
class _Known:
    """A model's card, figures, verdict and pointer, wherever they were found."""

    roles: Sequence[str]
    card: Mapping[str, JSON]
    measured: Mapping[str, JSON]
    verdict: Mapping[str, JSON]
    pointer: Mapping[str, JSON]


def model_life(ports: LineagePorts, model_version: str) -> Mapping[str, JSON] | None:
    """What is known of a model: the candidate, the champion, or any that was trained or in use here before; None for any other.

    Keys: `model_version, roles[], trained_on{}, versions[{version, tag, git_commit, added, changed, removed}], figures,
    verdict{}, sign_off{}, recipe{}, trainings[], in_production[]`. An empty object where there is no such thing, or where
    neither git nor DVC's cache here holds it any more.
    """
    trainings = ports.sign_offs.trained(model_version)
    champions = [each for each in ports.sign_offs.champions() if each.model_version == model_version]
    known = _here(ports.paths, model_version)
    if known is None and not (trainings or champions):
        return None
    known = known or _before(ports.past, model_version, trainings, champions)
    trained = found if isinstance(found := known.card.get("trained_on"), Mapping) else {}
    used = texts(trained.get("versions"))
    return {
        "model_version": model_version,
        "roles": list(known.roles),
        "trained_on": dict(trained),
        "versions": [_told(version) for version in ports.versions if version.version in used],
        "figures": _figures(known.measured, model_version),
        "verdict": _verdict(known.verdict, model_version),
        "sign_off": _sign_off(known.pointer, model_version),
        "recipe": {name: known.card.get(name) for name in _RECIPE},
        "trainings": [_training(each) for each in trainings],
        "in_production": [_in_production(each) for each in champions],
    }


def _here(paths: WorkspacePaths, model_version: str) -> _Known | None:
    """The candidate or the champion, as the workspace has it."""
    cards = {role: read_json(paths.root / "models" / role / "model.json") for role in _ROLES}
    roles = [role for role in _ROLES if cards[role].get("model_version") == model_version]
    if not roles:
        return None
    measured, verdict = (read_json(paths.root / path) for path in (_METRICS, _VERDICT))
    return _Known(roles, cards[roles[0]], measured, verdict, read_json(paths.champion))


def _before(past: PastModels, model_version: str, trainings: Sequence[Training], champions: Sequence[Champion]) -> _Known:
    """One that was replaced since, as the commits of its training and promotion have it: the latest that says something."""
    trained = [each.git_commit for each in reversed(trainings) if each.git_commit is not None]
    promoted = [each.git_commit for each in reversed(champions)]
    places = [*((commit, "champion") for commit in promoted), *((commit, "candidate") for commit in trained)]
    cards = (_object(past.card(commit, role)) for commit, role in places)
    return _Known(
        roles=[f"earlier {role}" for role, found in zip(_ROLES, (trainings, champions), strict=True) if found],
        card=_first(card for card in cards if card.get("model_version") == model_version),
        measured=_first(_object(past.report(commit, _METRICS)) for commit in trained),
        verdict=_first(_object(past.report(commit, _VERDICT)) for commit in trained),
        pointer=_first(_object(past.report(commit, _POINTER)) for commit in promoted),
    )


def _first(found: Iterator[Mapping[str, JSON]]) -> Mapping[str, JSON]:
    return next((each for each in found if each), {})


def _object(content: bytes | None) -> Mapping[str, JSON]:
    """A JSON object; empty for anything else."""
    try:
        said = json.loads(content or b"")
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def is_in_snapshot(paths: WorkspacePaths, trained_on: Mapping[str, JSON], item_id: str) -> bool | None:
    """Whether the item is in the very file that a model was trained on; None where that file is another one by now."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    snapshot = paths.root / "data" / "snapshot" / "train.parquet"
    if not snapshot.is_file() or hashlib.sha256(snapshot.read_bytes()).hexdigest() != trained_on.get("snapshot_sha256"):
        return None
    ids = pq.read_table(snapshot, columns=["item_id"])["item_id"]
    return bool(pc.any(pc.equal(ids, item_id)).as_py())


def _told(version: DatasetVersion) -> Mapping[str, JSON]:
    counts = {"added": version.added, "changed": version.changed, "removed": version.removed}
    return {"version": version.version, "tag": version.tag, "git_commit": version.git_commit, **counts}


def _figures(measured: Mapping[str, JSON], model_version: str) -> JSON:
    mine = (each for each in measured.values() if isinstance(each, Mapping) and each.get("model_version") == model_version)
    return next(mine, {})


def _verdict(verdict: Mapping[str, JSON], model_version: str) -> JSON:
    names = ("verdict", "reasons", "champion", "leakage")
    return {name: verdict.get(name) for name in names} if verdict.get("candidate") == model_version else {}


def _sign_off(pointer: Mapping[str, JSON], model_version: str) -> JSON:
    told = {name: value for name, value in pointer.items() if name not in ("model_version", "sha256")}
    return told if pointer.get("model_version") == model_version else {}


def _training(training: Training) -> Mapping[str, JSON]:
    return {
        "at": training.at.isoformat(),
        "by": training.by,
        "verdict": training.verdict,
        "dataset_version": text(training.detail.get("dataset_version")),
        "git_commit": training.git_commit,
    }


def _in_production(champion: Champion) -> Mapping[str, JSON]:
    return {
        "number": champion.number,
        "version": champion.version,
        "since": champion.at.isoformat(),
        "by": champion.by,
        "reason": champion.reason,
        "rolled_back": champion.rolled_back,
        "git_commit": champion.git_commit,
        "tags": sorted(champion.tags),
    }
