"""The files that `init` copies: package resources in an installed wheel, the project's own root in a checkout."""

from __future__ import annotations

import io
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

import hitl_bridge
from hitl_bridge.errors import UsageError
from hitl_bridge.ports import NewFile

_CHECKS = "checks/must-pass.yaml"
_TRAINERS = {"image-classification": "sklearn-image", "multi-label-text": "sklearn-multi-label", "entities": "sklearn-entities"}


class PackagedTemplate:
    """A workspace's files as this version of the bridge brings them. `home` is where they lie, if not in their usual place."""

    def __init__(self, home: Traversable | None = None) -> None:
        self._home = home if home is not None else _home()

    def settings(self) -> str:
        """`hitl.yaml`, to be filled in."""
        return self._read("hitl.yaml").decode("utf-8")

    def label_configs(self, task: str) -> list[NewFile]:
        """The review pages of that task type; of `image-classification` say `label_configs/image-classification.quick.xml`."""
        folder = self._home / "label_configs"
        pages = sorted(page.name for page in folder.iterdir() if page.name.startswith(f"{task}."))
        return [NewFile(f"label_configs/{name}", (folder / name).read_bytes()) for name in pages]

    def pipeline(self, task: str, folder: str | None = None) -> list[NewFile]:
        """`dvc.yaml`, `params.yaml` and the checks, for the workspace's root or a folder in it, from which they work the same.

        Checks are always in the root. They have to be there, since DVC refuses to depend on what is not.
        """
        pipeline, params = self._read("dvc.yaml"), _with_trainer(self._read("params.yaml"), task)
        checks = NewFile(_CHECKS, self._read(_CHECKS))
        if folder is None:
            return [NewFile("dvc.yaml", pipeline), checks, NewFile("params.yaml", params)]
        return [NewFile(f"{folder}/dvc.yaml", _moved(pipeline, folder)), checks, NewFile(f"{folder}/params.yaml", params)]

    def _read(self, name: str) -> bytes:
        try:
            return (self._home / name).read_bytes()
        except OSError:
            raise UsageError(f"This installation lacks its template {name}.", remedy="Install hitl-bridge again.") from None


def _home() -> Traversable:
    packaged = files("hitl_bridge") / "workspace_template"
    if packaged.is_dir():
        return packaged
    return Path(hitl_bridge.__file__).parents[2]


def _with_trainer(params: bytes, task: str) -> bytes:
    """The template trains on texts; a task of another kind begins with the trainer made for it."""
    return params.replace(b"trainer: sklearn-text ", f"trainer: {_TRAINERS.get(task, 'sklearn-text')} ".encode())


def _moved(pipeline: bytes, folder: str) -> bytes:
    """The pipeline for a folder below the root: its stages work in the root, and read the folder's own params.yaml."""
    yaml = YAML()
    yaml.width = 10_000
    document: Any = yaml.load(pipeline) or {}
    up = "/".join([".."] * len(folder.split("/")))
    for stage in (document.get("stages") or {}).values():
        # With `foreach` and `matrix` the stage proper stands one step down.
        body = stage.get("do", stage)
        body["wdir"] = up
        if "params" in body:
            body["params"] = [*_params_of(body["params"], f"{folder}/params.yaml")]
    for section in ("metrics", "plots"):
        if section in document:
            document[section] = [_up(entry, up) for entry in document[section]]
    text = io.BytesIO()
    yaml.dump(document, text)
    return text.getvalue()


def _params_of(params: list[Any], ours: str) -> Iterator[Any]:
    """Entries without a file are of the default `params.yaml`, which here is the user's."""
    keys = [entry for entry in params if isinstance(entry, str)]
    if keys:
        yield {ours: keys}
    for entry in params:
        if not isinstance(entry, str):
            yield {ours if name == "params.yaml" else name: value for name, value in entry.items()}


def _up(entry: Any, up: str) -> Any:
    """Metrics and plots of the whole file, unlike those of a stage, are named from where the file lies."""
    if isinstance(entry, str):
        return f"{up}/{entry}"
    return {name if _is_title(options) else f"{up}/{name}": options for name, options in entry.items()}


def _is_title(options: Any) -> bool:
    """A plot that says what goes on its axes from which file has a title for a name."""
    return isinstance(options, dict) and isinstance(options.get("y"), dict)
