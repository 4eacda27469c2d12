"""Everything that can go wrong on purpose, in one tree.

    BridgeError                      what happened, and what to do next
    ├── UsageError            (2)    wrong use or configuration
    │   ├── SettingsError            every mistake in hitl.yaml at once
    │   ├── UnknownName              an item, project, version or task type that does not exist
    │   └── WebhookRefused           the labeling service will not call the daemon's address
    ├── OutsideUnavailable    (3)    an outside system is away: try again
    │   ├── LabelingUnavailable      the labeling service does not answer, or answers 5xx
    │   ├── StoreUnavailable         the database can't be opened or is locked
    │   └── LeaseLost                another bridge has taken over meanwhile
    └── RefusedForSafety      (4)    going on could lose or double something
        ├── AccessRefused            401/403: the token is wrong, revoked or lacks rights
        ├── RemoteGone               a project that was there is not
        ├── ProjectChanged           a project is not as it was left: emptied, restored, its label config changed
        └── RepositoryRefused        wrong branch, merge under way, files in the way

The number is the exit code of the command line. Bad *data* is never an exception: it is a `Problem`,
returned beside the good rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class BridgeError(Exception):
    """What happened (`message`) and what the reader can do about it (`remedy`); `much` is how much of it there is (0: that can't
    be counted), as `message` itself may change with that."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, remedy: str = "", much: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.much = much


class UsageError(BridgeError):
    """Wrong use or configuration."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class SettingsProblem:
    """One mistake in `hitl.yaml`: the line it stands on (1-based, 0 if unknown), where, and what is wrong."""

    line: int
    where: str
    what: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.where}: {self.what}"


class SettingsError(UsageError):
    """All the mistakes of a settings file, so that they are mended in one go."""

    def __init__(self, path: str, problems: tuple[SettingsProblem, ...]) -> None:
        self.path = path
        self.problems = problems
        listed = "\n".join(f"  {problem}" for problem in problems)
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        super().__init__(f"{path} has {count}:\n{listed}", remedy=f"Mend {path} and run the command again.")


class UnknownName(UsageError):
    """A name that nothing answers to."""

    def __init__(self, kind: str, name: str, *, remedy: str = "") -> None:
        self.kind = kind
        self.name = name
        super().__init__(f"There is no {kind} {name!r} here.", remedy=remedy)


class WebhookRefused(UsageError):
    """The labeling service will not call the address that it is told to call."""


class OutsideUnavailable(BridgeError):
    """An outside system is away or broken; nothing was lost, the same command can be run again."""

    exit_code = 3


class LabelingUnavailable(OutsideUnavailable):
    """The labeling service did not answer, or not with anything that can be believed."""


class StoreUnavailable(OutsideUnavailable):
    """The bridge's database can't be opened, or another process holds it."""


class LeaseLost(OutsideUnavailable):
    """Another bridge has taken over while this one stood still; what it writes late is refused."""


class RefusedForSafety(BridgeError):
    """Going on could lose, double or overwrite something: a person has to decide."""

    exit_code = 4


class AccessRefused(RefusedForSafety):
    """The labeling service knows us not (401) or lets us not (403)."""


class RemoteGone(RefusedForSafety):
    """A project that the bridge knows is no longer there."""


class ProjectChanged(RefusedForSafety):
    """A project is not as the bridge left it, in a way that no reviewer's work explains; nothing was touched."""


class RepositoryRefused(RefusedForSafety):
    """The git repository is not in a state in which a dataset version can be committed."""
