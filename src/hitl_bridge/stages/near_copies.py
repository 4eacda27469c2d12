"""Which training examples are all but copies of what measures: by their words, or by their pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from hitl_bridge.core.dataset import near_duplicates, near_images
from hitl_bridge.core.dataset.splits import input_key
from hitl_bridge.stages.images import UnreadableImage, grey
from hitl_bridge.stages.params import StageParams
from hitl_bridge.stages.progress import Progress
from hitl_bridge.stages.snapshot import Example


class NearCopies(Protocol):
    def of(self, measured: Sequence[Example], train: Sequence[Example]) -> list[bool]:
        """For each of `train` whether it is nearly one of `measured`."""

    def told(self) -> Mapping[str, object]:
        """How it was found out, for the proof."""


def near_copies(root: Path, params: StageParams) -> NearCopies:
    """As `params.yaml` and the task have it."""
    words = params.kind.input_field == "text"
    threshold = params.prepare.near_duplicates if words else params.prepare.near_images
    if threshold is None:
        return _Equal()
    return _Words(threshold) if words else _Pictures(threshold, root, params.kind.input_field)


@dataclass(frozen=True, slots=True)
class _Equal:
    """Nothing is nearly another: what is equal has been left out before."""

    def of(self, measured: Sequence[Example], train: Sequence[Example]) -> list[bool]:
        return [False] * len(train)

    def told(self) -> Mapping[str, object]:
        return {"threshold": None, "method": "equal inputs only"}


@dataclass(frozen=True, slots=True)
class _Words:
    threshold: float

    def of(self, measured: Sequence[Example], train: Sequence[Example]) -> list[bool]:
        known = near_duplicates.NearDuplicates(map(_words, measured), self.threshold)
        return [known.has(_words(example)) for example in train]

    def told(self) -> Mapping[str, object]:
        return {"threshold": self.threshold, "method": near_duplicates.METHOD}


def _words(example: Example) -> str:
    return input_key(str(example.input["text"]))


@dataclass(frozen=True, slots=True)
class _Pictures:
    """Each image is read once. One that can't be read here is like no other, and counted in the proof."""

    threshold: float
    root: Path
    input_field: str
    _read: dict[str, near_images.Picture | None] = field(default_factory=dict)

    def of(self, measured: Sequence[Example], train: Sequence[Example]) -> list[bool]:
        known = [picture for picture in self._pictures(measured) if picture is not None]
        asked = self._pictures(train)
        near = iter(near_images.NearImages(known, self.threshold).have([picture for picture in asked if picture is not None]))
        return [picture is not None and next(near) for picture in asked]

    def told(self) -> Mapping[str, object]:
        unread = sum(picture is None for picture in self._read.values())
        return {"threshold": self.threshold, "method": near_images.METHOD, "images_not_read": unread}

    def _pictures(self, examples: Sequence[Example]) -> list[near_images.Picture | None]:
        progress = Progress("Images read", len(examples))
        found = []
        for done, example in enumerate(examples):
            progress.reached(done)
            found.append(self._picture(str(example.input[self.input_field])))
        return found

    def _picture(self, image: str) -> near_images.Picture | None:
        if image not in self._read:
            try:
                self._read[image] = grey(image, self.root, near_images.SIDE)
            except UnreadableImage:
                self._read[image] = None
        return self._read[image]
