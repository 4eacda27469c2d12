"""Dataset versions, the pipeline that trains on them, and the model in use."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from hitl_bridge.core.model import JSONObject


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file of a dataset version: its path in the workspace and its bytes."""

    path: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Published:
    """A version that is there: its annotated tag, and the full SHA of the commit that it stands on."""

    tag: str
    git_commit: str


class DatasetStore(Protocol):
    """Where dataset versions live. Raises RepositoryRefused."""

    def check(self) -> None:
        """Raises RepositoryRefused unless a version could be committed now."""

    def published(self, tag: str) -> Published | None: ...
    def versions(self) -> list[str]:
        """The tags that are there, oldest version first."""

    def publish(
        self, tag: str, files: Sequence[NewFile], message: str, batch_id: str, trailers: Mapping[str, str] | None = None
    ) -> Published:
        """Tracks `files` with DVC, commits just them on the configured branch, tags. Repeating it after a crash is safe:
        a commit with the trailer `Bridge-Batch: batch_id` is found and used. `trailers` stand in the commit's message.
        The card and the description among the files are kept by git itself."""

    def notes(self, tag: str) -> Mapping[str, bytes]:
        """The version's card and description, as far as it has them, by path. Raises UnknownName."""

    def anchors(self) -> list[tuple[str, int, str]]:
        """The audit heads that versions were committed with, as far as they are known here: tag, number, hash."""

    def read(self, tag: str, paths: Collection[str] | None = None) -> Mapping[str, bytes]:
        """The data files of a version by path; of `paths` alone, if given."""


class Pipeline(Protocol):
    """The workspace's `dvc repro`."""

    def repro(self, *, force: bool = False) -> bool:
        """Runs what is out of date; returns whether anything ran."""

    def track_base(self) -> Sequence[str]:
        """Keeps labelled base data that is new or changed; returns the paths to save."""

    def save(self, message: str, paths: Sequence[str]) -> str | None:
        """Commits these paths if they changed; returns the commit."""


class Champions(Protocol):
    """The model in use: a pointer in git, its files kept by the dataset store. `files` are SHA-256 by path; `subject` is the
    first line of the commit, and `key` its trailer, by which it is found again after a crash. Raises RefusedForSafety where
    files are not what they should be."""

    def candidate_files(self) -> Mapping[str, str]: ...
    def champion_files(self) -> Mapping[str, str]: ...
    def committed_by(self, key: str) -> str | None:
        """The commit that carries out what has this key, if there is one."""

    def install_candidate(self, pointer: JSONObject, files: Mapping[str, str], subject: str, key: str) -> str:
        """Makes the candidate's files the champion's, writes the pointer, and commits; returns the commit."""

    def restore(self, commit: str, pointer: JSONObject, files: Mapping[str, str], subject: str, key: str) -> str:
        """The same with the champion that `commit` had."""
