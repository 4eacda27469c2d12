"""A checkpoint in a local folder: what of it is safe to open, what pins it, and where it is copied to.

Opening a model must not run code. So of a checkpoint only safetensors weights and plain text are taken, never pickled weights
(`pytorch_model.bin`) nor Python files; and nothing is looked up on a network.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from hitl_bridge.errors import RefusedForSafety, UsageError
from hitl_bridge.stages.files import canonical, digests, sha256
from hitl_bridge.stages.trainers import Setup

_TAKEN = frozenset({".safetensors", ".json", ".txt", ".model"})
"""Weights, settings, vocabularies, sentencepiece models."""

_PINNED = re.compile(r"(?P<path>.+)@(?P<pin>[0-9a-f]{8,64})")
_MODULES = "modules.json"
_OWN_MODULES = "sentence_transformers."


def copy_checkpoint(setup: Setup, into: Path) -> str:
    """Copies what may be opened of `train.base_model` into the model's own folder; returns the digest that pins it.

    The model is whole then: it can be used where the checkpoint is not, and its files are held against their SHA-256 values
    like all others. `base_model` is a folder, below the workspace or absolute, with or without `@` and the beginning of its
    digest. Raises UsageError if there is no such folder, RefusedForSafety if it is another one than was pinned.
    """
    folder, pin = _folder(setup)
    taken = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix in _TAKEN]
    if not any(path.suffix == ".safetensors" for path in taken):
        remedy = "Save it anew with safetensors: pickled weights can run code when they are opened."
        raise UsageError(f"The checkpoint in {folder.name}/ has no .safetensors file.", remedy=remedy)
    for path in taken:
        target = into / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return _checked(into, pin, folder.name)


def _folder(setup: Setup) -> tuple[Path, str]:
    named = setup.base_model or ""
    pinned = _PINNED.fullmatch(named)
    folder = setup.root / (pinned["path"] if pinned else named)
    if not named or not folder.is_dir():
        where = f"There is no folder {pinned['path'] if pinned else named!r}." if named else "train.base_model is not set."
        remedy = "Set train.base_model in params.yaml to the folder of a checkpoint that is on this machine (docs/trainers.md)."
        raise UsageError(where, remedy=remedy)
    return folder, pinned["pin"] if pinned else ""


def _checked(copy: Path, pin: str, name: str) -> str:
    digest = sha256(canonical(digests(copy)).encode())
    if not digest.startswith(pin):
        raise RefusedForSafety(
            f"The checkpoint {name!r} is not the one that params.yaml pins: it is @{digest[:12]}.",
            remedy="Restore its files, or pin this one if you mean it.",
        )
    refuse_code(copy)
    return digest


def refuse_code(folder: Path) -> None:
    """Raises RefusedForSafety if opening the checkpoint would look for code: parts of it that are no part of
    sentence-transformers, or Python files."""
    foreign = [kind for kind in _parts(folder / _MODULES) if not kind.startswith(_OWN_MODULES)]
    foreign += [path.name for path in folder.rglob("*.py")]
    if foreign:
        raise RefusedForSafety(
            f"The checkpoint brings code of its own ({', '.join(foreign)}), which is not run.", remedy="Use another checkpoint."
        )


def _parts(modules: Path) -> list[str]:
    """The classes of which a sentence encoder is made; none where the checkpoint does not say."""
    if not modules.is_file():
        return []
    try:
        return [str(part["type"]) for part in json.loads(modules.read_text(encoding="utf-8"))]
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{modules.name} of the checkpoint can't be read.", remedy="Get the checkpoint anew.") from error


def device_of(setup: Setup) -> str:
    """Where to compute: `train.options.device`, by default a GPU if there is one. Raises UsageError where it is not there."""
    import torch

    asked, there = str(setup.option("device", "auto")), torch.cuda.is_available()
    if asked not in ("auto", "cpu", "cuda") or (asked == "cuda" and not there):
        raise UsageError(f"There is no device {asked!r} on this machine.", remedy="Set train.options.device to auto or cpu.")
    return "cuda" if there and asked != "cpu" else "cpu"
