"""From a model back to what it was made from: the dataset versions and their decisions, the recipe, the figures, the sign-off."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from hitl_bridge.core.model import JSON, DatasetVersion
from hitl_bridge.ports import WorkspacePaths
from hitl_bridge.services.model.reports import read_json, texts

_ROLES = ("candidate", "champion")
_RECIPE = ("trainer", "params", "libraries", "files")


def model_life(paths: WorkspacePaths, versions: Sequence[DatasetVersion], model_version: str) -> Mapping[str, JSON] | None:
    """What the workspace knows of its candidate or champion of that version; None for any other model.

    Keys: `model_version, roles[], trained_on{}, versions[{version, tag, git_commit, added, changed, removed}], figures,
    verdict{}, sign_off{}, recipe{}`. An empty object where there is no such thing.
    """
    cards = {role: read_json(paths.root / "models" / role / "model.json") for role in _ROLES}
    roles = [role for role in _ROLES if cards[role].get("model_version") == model_version]
    if not roles:
        return None
    card = cards[roles[0]]
    trained_on = card.get("trained_on")
    trained = trained_on if isinstance(trained_on, Mapping) else {}
    used = texts(trained.get("versions"))
    return {
        "model_version": model_version,
        "roles": list(roles),
        "trained_on": dict(trained),
        "versions": [_told(version) for version in versions if version.version in used],
        "figures": _figures(paths, model_version),
        "verdict": _verdict(paths, model_version),
        "sign_off": _sign_off(paths, model_version),
        "recipe": {name: card.get(name) for name in _RECIPE},
    }


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


def _figures(paths: WorkspacePaths, model_version: str) -> JSON:
    measured = read_json(paths.root / "reports" / "metrics.json").values()
    return next((each for each in measured if isinstance(each, Mapping) and each.get("model_version") == model_version), {})


def _verdict(paths: WorkspacePaths, model_version: str) -> JSON:
    verdict = read_json(paths.root / "reports" / "verdict.json")
    names = ("verdict", "reasons", "champion", "leakage")
    return {name: verdict.get(name) for name in names} if verdict.get("candidate") == model_version else {}


def _sign_off(paths: WorkspacePaths, model_version: str) -> JSON:
    pointer = read_json(paths.champion)
    told = {name: value for name, value in pointer.items() if name not in ("model_version", "sha256")}
    return told if pointer.get("model_version") == model_version else {}
