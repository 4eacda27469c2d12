"""One bridge writes at a time: waiting for the lease of a scope, showing that its holder lives, giving it back.

A lease is taken over when its holder is known to be dead, or when for `TTL` seconds nothing was heard of it. Whoever waits
judges that by its own watch: no clock is compared with another machine's (as in Kubernetes' leader election). A holder that
stood still and wakes up late is refused by the store, whatever it believes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hitl_bridge.errors import OutsideUnavailable, StoreUnavailable
from hitl_bridge.ports import Clock, Lease, Leases, LeaseSeen

TTL = 30.0
"""Seconds without a sign of life after which a lease may be taken over."""

PATIENCE = 60.0
"""Seconds that a command waits for another one to finish."""

_PAUSE = 0.2
_BEATS_A_TTL = 4


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """How this process takes leases: its own name as a holder, whether another holder is surely dead, and its watch."""

    leases: Leases
    holder: str
    is_dead: Callable[[str], bool]
    clock: Clock
    ttl: float = TTL


@contextmanager
def held(terms: LeaseTerms, scope: str, *, patience: float = PATIENCE) -> Iterator[Lease]:
    """Holds the lease of `scope`. Raises OutsideUnavailable if after `patience` seconds another one is still at work."""
    lease = wait_for(terms, scope, patience=patience)
    if lease is None:
        raise OutsideUnavailable(
            f"Another hitl-bridge ({terms.leases.look(scope).holder}) has been at work for more than {patience:.0f} s.",
            remedy="Wait for it, or stop it first. Nothing was changed.",
        )
    with kept_alive(terms, lease):
        yield lease


@contextmanager
def kept_alive(terms: LeaseTerms, lease: Lease) -> Iterator[None]:
    """Shows signs of life until the end, then gives the lease back."""
    ended = threading.Event()
    heart = threading.Thread(target=_beat, args=(terms, lease, ended), name=f"lease-{lease.scope}", daemon=True)
    heart.start()
    try:
        yield
    finally:
        ended.set()
        heart.join()
        terms.leases.give_back(lease)


def wait_for(
    terms: LeaseTerms, scope: str, *, patience: float | None = None, stop: Callable[[], bool] = lambda: False
) -> Lease | None:
    """The lease, as soon as it can be had; None after `patience` seconds (None: no limit) or when `stop` says so."""
    waited = unchanged = 0.0
    before: LeaseSeen | None = None
    while not stop():
        seen = terms.leases.look(scope)
        unchanged = unchanged + _PAUSE if seen == before else 0.0
        if not seen.holder or unchanged >= terms.ttl or terms.is_dead(seen.holder):
            lease = terms.leases.take(scope, terms.holder, seen)
            if lease is not None:
                return lease
        if patience is not None and waited >= patience:
            return None
        before = seen
        terms.clock.sleep(_PAUSE)
        waited += _PAUSE
    return None


def _beat(terms: LeaseTerms, lease: Lease, ended: threading.Event) -> None:
    while not ended.wait(terms.ttl / _BEATS_A_TTL):
        try:
            held_still = terms.leases.beat(lease)
        except StoreUnavailable:
            continue  # the work itself comes upon that, and tells; a beat that is missed is made up for by the next
        if not held_still:
            return  # the store refuses our writes from now on
