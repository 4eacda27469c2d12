"""Sign-offs, champions, and where they are published: what the store keeps, and what git shows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from hitl_bridge.core.model import JSONObject
from hitl_bridge.core.signing import Kind, Method
from hitl_bridge.ports.audit import AuditProblem


@dataclass(frozen=True, slots=True)
class SignOff:
    """A yes, and how it is known whose. `statement` is what was said yes to; `number` counts within its kind and is used once.
    `proof` is a seal, or the id of the signed tag (an empty text where none was needed)."""

    kind: Kind
    subject: str
    number: int
    statement: JSONObject
    approver: str
    method: Method
    proof: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Champion:
    """A model that was put into production: the `number`-th time anything was. `files` are SHA-256 by path, `tags` the ids of
    the tag objects by name, `git_commit` the one that holds the pointer; `signed_off` is the number of the sign-off."""

    number: int
    artifact: str
    model_version: str
    version: str
    files: Mapping[str, str]
    signed_off: int
    git_commit: str
    tags: Mapping[str, str]
    by: str
    reason: str
    rolled_back: bool
    at: datetime


@dataclass(frozen=True, slots=True)
class Training:
    """Who had which candidate trained, and what the gate said of it."""

    candidate: str
    verdict: str | None
    by: str
    git_commit: str | None
    at: datetime
    detail: JSONObject = field(default_factory=dict)


class SignOffs(Protocol):
    """Append-only; every row comes with its event in the audit log."""

    def of_kind(self, kind: Kind) -> Sequence[SignOff]:
        """In the order in which they were given."""

    def record(self, sign_off: SignOff) -> bool:
        """False if that number of its kind is taken."""

    def champions(self) -> Sequence[Champion]:
        """In the order in which they took over; the last is in use."""

    def record_champion(self, champion: Champion) -> None: ...
    def record_training(self, training: Training) -> None: ...
    def trained(self, candidate: str) -> Sequence[Training]:
        """Every time that this candidate was trained, oldest first."""

    def last_training(self) -> Training | None: ...
    def corrections_in(self, versions: Collection[str]) -> int:
        """Decisions of these dataset versions that said otherwise than the model."""

    def unlike_the_log(self) -> Sequence[AuditProblem]:
        """Rows that are not what the audit log says was written."""


@dataclass(frozen=True, slots=True)
class SignedTag:
    """A tag whose signature holds: by whom, on which commit, saying what, and the id of the tag object."""

    signer: str
    commit: str
    message: str
    tag_id: str


class Registry(Protocol):
    """The tags of the repository. Raises RepositoryRefused."""

    def tags(self) -> Sequence[str]:
        """The names of all tags."""

    def tag_id(self, name: str) -> str | None:
        """The id of the object that the tag names: of an annotated tag, itself. None if there is no such tag."""

    def commit_of(self, name: str) -> str | None:
        """The commit that a tag names; None if there is no such tag."""

    def tag(self, name: str, commit: str, message: str) -> str:
        """An annotated tag, made unless it is there already at this commit; returns its id."""

    def signed(self, name: str, signers: str) -> SignedTag | None:
        """The tag of this name, if there is one. `signers` is the text of a file as in ssh-keygen(1), ALLOWED SIGNERS.

        Raises RefusedForSafety, saying why, where it is not signed, not by one of them, or was signed under another name.
        """

    def sign(self, name: str, commit: str, message: str) -> None:
        """Makes a tag, signed with the key that git is configured with. Raises RefusedForSafety."""

    def content(self, revision: str, path: str) -> bytes | None:
        """A file as a commit or tag has it."""

    def head(self) -> str: ...


class PipelineApart(Protocol):
    """The pipeline in a clone, away from whatever is under way in the workspace. Raises as `Pipeline` does."""

    def refresh(self) -> None:
        """Puts the clone to where the workspace's branch is, its data with it."""

    def repro(self) -> bool:
        """Runs what is out of date; returns whether anything ran."""

    @property
    def root(self) -> Path:
        """Where the clone lies."""

    def bring_home(self, message: str, paths: Sequence[str]) -> str | None:
        """Commits on the workspace's branch what the stages wrote to these paths, and puts the candidate in its place; returns
        the commit, None if nothing changed. Raises RepositoryRefused where somebody changed them there meanwhile."""


class PipelineOutputs(Protocol):
    """What the pipeline wrote, held against what it committed."""

    def altered(self, paths: Sequence[str]) -> Sequence[str]:
        """Those of these outputs that are not what the committed `dvc.lock` says, each with what is wrong."""


class PastModels(Protocol):
    """What git and DVC still hold of models that are in the workspace no more."""

    def report(self, commit: str, path: str) -> bytes | None:
        """A file as the commit has it; None where it has none, or is gone itself."""

    def card(self, commit: str, role: str) -> bytes | None:
        """`model.json` of `models/<role>` at the commit; None where there was none, or DVC's cache here does not hold it."""


class TagRemote(Protocol):
    """Where tags of models and sign-offs are published."""

    def publish(self, tags: Mapping[str, str]) -> None:
        """Ids of tag objects by name; what is there already stays. Raises OutsideUnavailable where the remote is away, and
        RepositoryRefused where it has another object under one of the names, or does not take it."""

    def lacking(self, tags: Mapping[str, str]) -> Mapping[str, str]:
        """Of these, those that are here and that it has not taken from here yet. Asks nobody outside."""
