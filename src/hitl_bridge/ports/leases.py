"""One bridge at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write in `scope`, until somebody takes it over: whose `token` is not the newest is refused."""

    scope: str
    token: int
    holder: str


@dataclass(frozen=True, slots=True)
class LeaseSeen:
    """How a lease stands: whose it is, and a number that moves while the holder lives. No `holder`: it is free."""

    token: int
    holder: str
    beat: int


class Leases(Protocol):
    """Who may write in a scope. No clock is shared: whoever waits judges by its own watch whether `beat` still moves."""

    def look(self, scope: str) -> LeaseSeen: ...
    def check(self, lease: Lease) -> None:
        """Raises LeaseLost if somebody has taken over."""

    def take(self, scope: str, holder: str, seen: LeaseSeen) -> Lease | None:
        """Takes the lease with the next token, if it still stands as it was seen; None if somebody was faster."""

    def beat(self, lease: Lease) -> bool:
        """Shows that the holder lives; False if the lease is not its own any more."""

    def give_back(self, lease: Lease) -> None:
        """Frees the lease, unless it is somebody else's by now."""
