"""One bridge writes at a time, and one that stood still and wakes up late is refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from hitl_bridge.adapters.processes import is_dead, this_process
from hitl_bridge.adapters.sql.store import SqlStore, open_store
from hitl_bridge.core.model import ItemState
from hitl_bridge.errors import LeaseLost, OutsideUnavailable
from hitl_bridge.ports import Event
from hitl_bridge.services.keeping.leases import LeaseTerms, held, kept_alive, wait_for
from tests.services.bench import Bench, Watch, row

pytestmark = pytest.mark.catalogue("A10")
SCOPE = "projects"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    store = open_store("sqlite:///bridge.db", tmp_path)
    yield store
    store.close()


def terms(store: SqlStore, holder: str, *, dead: bool = False, ttl: float = 30.0) -> LeaseTerms:
    return LeaseTerms(store.leases(), holder, lambda name: dead, Watch(), ttl)


def test_a_lease_that_was_given_back_is_had_at_once_with_a_higher_token(store: SqlStore) -> None:
    with held(terms(store, "first"), SCOPE) as first:
        pass
    clock = Watch()
    with held(LeaseTerms(store.leases(), "second", is_dead, clock), SCOPE) as second:
        assert (first.token, second.token) == (1, 2)
    assert clock.now() == Watch().now()  # nobody waited


def test_of_a_holder_that_is_surely_dead_it_is_taken_at_once(store: SqlStore) -> None:
    assert wait_for(terms(store, "first"), SCOPE) is not None
    after = terms(store, "second", dead=True)
    assert wait_for(after, SCOPE) is not None
    assert after.clock.now() == Watch().now()


def test_of_a_holder_that_shows_no_life_it_is_taken_within_a_minute(store: SqlStore) -> None:
    wait_for(terms(store, "first"), SCOPE)
    after = terms(store, "second")
    lease = wait_for(after, SCOPE, patience=60)
    assert lease is not None
    assert timedelta(seconds=30) <= after.clock.now() - Watch().now() < timedelta(seconds=60)


def test_a_holder_that_shows_life_keeps_it_and_the_other_says_who_it_is(store: SqlStore) -> None:
    first = terms(store, "first", ttl=0.2)
    lease = wait_for(first, SCOPE)
    assert lease is not None

    class Impatient(Watch):
        def sleep(self, seconds: float) -> None:
            time.sleep(0.06)  # the holder's heart beats in real time
            super().sleep(seconds)

    second = LeaseTerms(store.leases(), "second", lambda name: False, Impatient(), 0.5)
    with kept_alive(first, lease), pytest.raises(OutsideUnavailable, match="first"), held(second, SCOPE, patience=4.0):
        pass


def test_what_a_late_one_writes_is_refused_and_nothing_of_it_is_there(bench: Bench) -> None:
    """Two daemons: the first stood still in the middle of a push, the second took over and finished it."""
    bench.ingest(row("t-1"), row("t-2"))
    late = bench.opened()
    late.store.fence = wait_for(late._lease_terms, SCOPE)
    assert late.store.fence is not None
    assert bench.bridge.store.leases().take(SCOPE, "second", bench.bridge.store.leases().look(SCOPE)) is not None
    events = bench.bridge.store.audit_head()
    for write in (
        lambda: late.store.record_events([Event(bench.clock.now(), "late")]),
        lambda: late.store.mark_unknown([], bench.clock.now()),
        lambda: late.store.intend([]),
        late.push,
    ):
        with pytest.raises(LeaseLost):
            write()
    late.close()
    assert bench.bridge.store.audit_head() == events
    assert {item.state for item in bench.bridge.store.items_in(*ItemState)} == {ItemState.QUEUED}


def test_the_lease_is_free_again_after_an_error_within(store: SqlStore) -> None:
    with pytest.raises(ZeroDivisionError), held(terms(store, "first"), SCOPE):
        raise ZeroDivisionError
    assert store.leases().look(SCOPE).holder == ""


def test_many_at_once_hold_it_one_after_the_other(store: SqlStore) -> None:
    at_work: list[str] = []
    most: list[int] = []

    def work(name: str) -> None:
        class Brief(Watch):
            def sleep(self, seconds: float) -> None:
                time.sleep(0.01)

        for _ in range(5):
            with held(LeaseTerms(store.leases(), name, lambda other: False, Brief(), 30), SCOPE, patience=1e9):
                at_work.append(name)
                most.append(len(at_work))
                at_work.remove(name)

    threads = [threading.Thread(target=work, args=(f"bridge {n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert (len(most), set(most)) == (20, {1})
    assert store.leases().look(SCOPE).token == 20


def test_a_process_knows_the_living_and_the_dead_of_its_own_machine_and_judges_no_other() -> None:
    me = this_process()
    assert not is_dead(me)
    host, space, pid, _start = me.split("/")
    assert is_dead(f"{host}/{space}/{pid}/1.00")  # the number was given to another process since
    assert is_dead(f"{host}/{space}/{2**22 - 1}/1.00")
    assert not is_dead(f"elsewhere/{space}/{pid}/1.00")
    assert not is_dead("a name of another version")
