"""A circuit breaker: a server that fails again and again is left alone for a while, and then asked once.

Closed: calls go through. After `MOST_FAILURES` in a row it opens: calls are refused at once, without a request. When the pause
is over it is half open: calls go through again, the first success closes it, the first failure opens it for twice as long.
(M. Nygard, Release It!, 2nd ed. 2018, chapter 5, "Circuit Breaker".) Pure: time and chance are given.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

MOST_FAILURES: Final = 5
FIRST_PAUSE: Final = 5.0
LONGEST_PAUSE: Final = 300.0


@dataclass(frozen=True, slots=True)
class Circuit:
    """`failures` in a row, how many times it was `opened` since the last success, and `until` when it stays open."""

    failures: int = 0
    opened: int = 0
    until: datetime | None = None

    def seconds_left(self, now: datetime) -> float:
        """How long calls are still refused; 0 if they are not.

        A clock that was set back must not keep it open for longer than its longest pause.
        """
        left = 0.0 if self.until is None else (self.until - now).total_seconds()
        return left if 0 < left <= LONGEST_PAUSE else 0.0

    def succeeded(self) -> Circuit:
        return CLOSED

    def failed(self, now: datetime, chance: float, told: float = 0.0) -> Circuit:
        """After one more failure. `chance` lies in [0, 1); `told` are the seconds of `Retry-After`, which the pause is never
        shorter than, up to `LONGEST_PAUSE`."""
        failures = self.failures + 1
        if failures < MOST_FAILURES and not self.opened:
            return Circuit(failures, 0, None)
        whole = min(FIRST_PAUSE * 2.0**self.opened, LONGEST_PAUSE)
        pause = min(max(told, whole * (1 + chance) / 2), LONGEST_PAUSE)
        return Circuit(failures, min(self.opened + 1, 30), now + timedelta(seconds=pause))


CLOSED: Final = Circuit()
