"""What can be asked of a daemon, and by whom."""

from __future__ import annotations

import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from hitl_bridge.core.notices import Notice
from hitl_bridge.errors import UnknownName, UsageError
from hitl_bridge.services.keeping.access import make_token, revoke_token
from hitl_bridge.services.keeping.health import Counted, Vitals, figures
from hitl_bridge.services.sync.webhooks import Nudges
from hitl_bridge.web.metrics import exposition
from hitl_bridge.web.server import is_loopback, serving
from tests.services.bench import COMPREHENSIVE, POLICY, Bench, row, without_git
from tests.web.conftest import Served

ROUTES = ("/livez", "/readyz", "/health", "/metrics")
ELSEWHERE = ("/", "/docs", "/openapi.json", "/redoc", "/favicon.ico", "/webhooks/label-studio/1", "/metrics/..", "/livez/")


@pytest.mark.parametrize("path", [*ROUTES, *ELSEWHERE])
@pytest.mark.parametrize("token", [None, "wrong", "hitlb_" + "A" * 43, "ü", "x" * 5000])
def test_without_a_token_in_force_every_path_says_the_same(served: Served, path: str, token: str | None) -> None:
    headers = {} if token is None else {b"Authorization": f"Bearer {token}".encode()}
    answer = httpx.get(served.url + path, headers=headers, timeout=10)
    assert (answer.status_code, answer.text, answer.headers["www-authenticate"]) == (401, '{"error":"unauthorized"}', "Bearer")


@pytest.mark.parametrize("path", ROUTES)
def test_with_a_token_every_route_answers(served: Served, path: str) -> None:
    answer = served.get(path)
    assert answer.status_code == 200
    for name in ("content-security-policy", "x-content-type-options", "x-frame-options", "referrer-policy", "cache-control"):
        assert answer.headers[name]
    assert "server" not in answer.headers


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/redoc", "/"])
def test_it_describes_itself_to_nobody(served: Served, path: str) -> None:
    assert served.get(path).status_code == 404


def test_a_revoked_token_is_refused_and_its_name_not_given_again(served: Served) -> None:
    tokens, clock = served.bench.bridge.access_tokens, served.bench.clock
    other = make_token(tokens, clock, "grafana", by="Ana")
    clock.turn(5)
    assert served.get("/livez", other.token).status_code == 200
    revoke_token(tokens, clock, "grafana", by="Ana")
    clock.turn(5)
    assert served.get("/livez", other.token).status_code == 401
    assert served.get("/livez").status_code == 200
    with pytest.raises(UsageError, match="grafana"):
        make_token(tokens, clock, "grafana", by="Ana")
    with pytest.raises(UnknownName, match="grafana"):
        revoke_token(tokens, clock, "grafana", by="Ana")


def test_only_the_digest_of_a_token_is_kept_and_who_made_it_is_in_the_audit_log(served: Served) -> None:
    with closing(sqlite3.connect(served.bench.root / ".hitl" / "bridge.db")) as connection:
        everything = "\n".join(connection.iterdump())
    assert served.token not in everything
    assert "access_token.made" in everything


@pytest.mark.parametrize("name", ["", "two words", "../etc", "x" * 64, "-begins", "new\nline"])
def test_a_token_has_a_plain_name(served: Served, name: str) -> None:
    with pytest.raises(UsageError, match="no name for a token"):
        make_token(served.bench.bridge.access_tokens, served.bench.clock, name, by="Ana")


def test_a_token_that_was_good_stays_good_while_the_store_is_away(served: Served) -> None:
    assert served.get("/livez").status_code == 200
    database = served.bench.root / ".hitl" / "bridge.db"
    database.rename(database.with_suffix(".aside"))
    database.mkdir()
    served.bench.clock.turn(60)
    assert served.get("/livez").status_code == 200
    assert served.get("/livez", "wrong").status_code == 401


def test_a_large_body_is_turned_away_unread(served: Served) -> None:
    headers = {"Authorization": f"Bearer {served.token}"}
    assert httpx.request("GET", served.url + "/livez", headers=headers, content=b"x" * 100_000).status_code == 413


def test_health_tells_since_when_an_outside_system_has_been_away(served: Served) -> None:
    served.bench.labeling.fail_next(times=100)
    told = {each["name"]: each for each in served.get("/health").json()["outside"]}
    assert (told["store"]["up"], told["label_studio"]["up"]) == (True, False)
    assert told["label_studio"]["since"] == "2026-11-22T10:00:00+00:00"
    assert "away" in told["label_studio"]["reason"]
    assert served.get("/health").json()["healthy"] is False


def test_a_client_that_hammers_health_does_not_hammer_label_studio(served: Served) -> None:
    served.get("/health")
    before = served.bench.labeling.requests_made
    assert {served.get("/health").status_code for _ in range(50)} == {200}
    assert served.bench.labeling.requests_made == before


def test_readiness_says_whether_it_leads_or_stands_by(served: Served) -> None:
    assert served.get("/readyz").json() == {"ready": True, "role": "leader"}
    served.vitals.lease_held = False
    assert served.get("/readyz").json() == {"ready": True, "role": "standby"}


def test_metrics_are_prometheus_and_say_what_the_alerts_need(served: Served) -> None:
    served.bench.pushed(row("t-1"), row("t-2"))
    served.vitals.count("cycle", "good", 1.5)
    served.vitals.note("label_studio", up=False, reason="away")
    served.bench.clock.turn(90)
    found = {
        sample.name: sample.value
        for family in text_string_to_metric_families(served.get("/metrics").text)
        for sample in family.samples
        if sample.labels.get("state", "pushed") == "pushed" and sample.labels.get("result", "good") == "good"
    }
    assert found["hitl_bridge_items"] == 2
    assert found["hitl_bridge_runs_total"] == 1
    assert found["hitl_bridge_run_seconds_total"] == 1.5
    assert found["hitl_bridge_outside_up"] == 0
    assert found["hitl_bridge_seconds_since_good_cycle"] == 90
    assert found["hitl_bridge_lease_held"] == 1
    assert found["hitl_bridge_audit_seq"] > 0
    names = ("items_overdue", "notices_waiting", "notices_not_taken")
    assert [found[f"hitl_bridge_{name}"] for name in names] == [0, 0, 0]
    for name in ("quarantined", "failures", "projects_stopped", "access_refused", "label_studio_requests_total"):
        assert f"hitl_bridge_{name}" in found


def test_metrics_tell_how_deadlines_stand_by_tier_and_what_nobody_was_told_of(tmp_path: Path) -> None:
    bench = Bench(without_git(tmp_path / "workspace", POLICY + "notices: {lead: [boss], every: 1m}\n"))
    bench.pushed(row("t-1"), row("t-2"), row("c", COMPREHENSIVE))
    bench.clock.turn(3.5 * 3600)
    store, now = bench.bridge.store, bench.clock.now()
    store.notices().add([Notice("lot", each, "boss", {"lot_id": each}) for each in ("l-1", "l-2")], now)
    assert (_gauges(bench)["notices_waiting"], _gauges(bench)["notices_not_taken"]) == (2, 0)
    assert bench.bridge.send_notices().troubles  # there is no address for the channel
    found = _gauges(bench)
    assert (found["notices_waiting"], found["notices_not_taken"]) == (2, 2)
    assert (found["deadlines at_risk quick"], found["deadlines due comprehensive"], found["items_overdue"]) == (2, 1, 0)
    bench.clock.turn(3600)
    assert (_gauges(bench)["deadlines overdue quick"], _gauges(bench)["items_overdue"]) == (2, 2)


def _gauges(bench: Bench) -> dict[str, float]:
    store = bench.bridge.store
    counted = Counted(store, store.insights(), store.escalations(), store.notices(), bench.bridge.policy)
    text = exposition(Vitals(bench.clock), Nudges(), figures(counted, bench.clock)).decode()
    return {
        " ".join([sample.name.removeprefix("hitl_bridge_"), *(value for _, value in sorted(sample.labels.items()))]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_an_address_that_is_taken_is_a_mistake_of_the_settings() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UsageError, match="can't listen"), serving(lambda *_: None, f"127.0.0.1:{taken.getsockname()[1]}"):  # type: ignore[arg-type]
            pass


@pytest.mark.parametrize(
    ("listen", "loopback"), [("127.0.0.1:1", True), ("[::1]:1", True), ("localhost:1", True), ("0.0.0.0:1", False)]
)
def test_what_is_loopback(listen: str, loopback: bool) -> None:
    assert is_loopback(listen) is loopback
