"""The daemon's figures in Prometheus' text form, made anew for each scrape."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import version
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from hitl_bridge.services.intake.online_desk import BUCKETS, RESULTS, OnlineFigures
from hitl_bridge.services.keeping.health import Figures, Vitals
from hitl_bridge.services.sync.webhooks import Nudges

_PREFIX = "hitl_bridge_"


def exposition(vitals: Vitals, nudges: Nudges, figures: Figures | None, online: OnlineFigures | None = None) -> bytes:
    """Everything that can be told now; without `figures` (the store is away) what the daemon knows by itself."""
    registry = CollectorRegistry()
    stored = _of_the_store(figures) if figures else ()
    answered = _online(online) if online else ()
    registry.register(_Once([*_of_the_daemon(vitals, nudges), *_outside(vitals), *stored, *answered]))
    return generate_latest(registry)


class _Once(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics


def _of_the_daemon(vitals: Vitals, nudges: Nudges) -> Iterator[Metric]:
    yield InfoMetricFamily(f"{_PREFIX}build", "The version that runs.", {"version": version("hitl-bridge")})
    yield _gauge("lease_held", "1: this daemon works; 0: it stands by.", vitals.lease_held)
    yield _gauge("access_refused", "1: Label Studio does not accept the bridge's token.", vitals.access_refused)
    yield _gauge("commit_refused", "1: no dataset version can be committed in the repository.", vitals.commit_refused)
    yield _gauge("webhooks_refused", "1: Label Studio will not call daemon.webhook_url.", vitals.webhooks_refused)
    yield _gauge("projects_stopped", "Projects that wait for a person, by a tripwire or a deletion.", vitals.projects_stopped)
    good = vitals.last_good_cycle
    since: datetime = good or vitals.started_at
    ago = max(0.0, (vitals.clock.now() - since).total_seconds())
    yield _gauge("seconds_since_good_cycle", "Since the last cycle without trouble (else since the start).", ago)
    yield _gauge("last_cycle_seconds", "How long the last good cycle took.", vitals.last_cycle_seconds)
    yield _gauge("loop_silent_seconds", "Since the loop last showed that it lives.", vitals.seconds_since_sign())
    yield _counted(vitals)
    yield _seconds(vitals)
    yield CounterMetricFamily(f"{_PREFIX}label_studio_requests", "Requests made to Label Studio.", vitals.requests)
    calls = CounterMetricFamily(f"{_PREFIX}webhook_calls", "Webhooks with the right secret.", labels=["result"])
    calls.add_metric(["accepted"], nudges.accepted)
    calls.add_metric(["turned_away"], nudges.turned_away)
    yield calls


def _counted(vitals: Vitals) -> Metric:
    runs = CounterMetricFamily(
        f"{_PREFIX}runs", "What the daemon did (cycle, nudge, commit), by how it went.", labels=["what", "result"]
    )
    for (what, result), count in sorted(vitals.counts.items()):
        runs.add_metric([what, result], count)
    return runs


def _seconds(vitals: Vitals) -> Metric:
    seconds = CounterMetricFamily(f"{_PREFIX}run_seconds", "Seconds that it took.", labels=["what"])
    for what, spent in sorted(vitals.seconds.items()):
        seconds.add_metric([what], spent)
    return seconds


def _outside(vitals: Vitals) -> Iterator[Metric]:
    up = GaugeMetricFamily(f"{_PREFIX}outside_up", "Whether an outside system was there when last asked.", labels=["system"])
    for name, each in sorted(vitals.outside.items()):
        up.add_metric([name], float(bool(each.up)))
    yield up


def _of_the_store(figures: Figures) -> Iterator[Metric]:
    items = GaugeMetricFamily(f"{_PREFIX}items", "Items by state.", labels=["state"])
    for state, count in sorted(figures.items.items()):
        items.add_metric([state], count)
    yield items
    yield _deadlines(figures)
    yield _gauge("items_overdue", "Items past their deadline.", sum(each["overdue"] for each in figures.deadlines.values()))
    yield _gauge("notices_waiting", "Notices that no channel has taken yet.", figures.notices_waiting)
    yield _gauge("notices_not_taken", "Of these: sent, and not taken by their channel.", figures.notices_not_taken)
    yield _gauge("quarantined", "Answers in quarantine.", figures.quarantined)
    yield _gauge("failures", "Items that were put aside and wait for a person.", figures.failures)
    yield _gauge("audit_seq", "Rows of the audit log.", figures.audit_seq)


def _deadlines(figures: Figures) -> Metric:
    stand = GaugeMetricFamily(
        f"{_PREFIX}deadlines",
        "Unfinished items by how their deadline stands (due, at_risk, overdue).",
        labels=["tier", "standing"],
    )
    for tier, counts in sorted(figures.deadlines.items()):
        for standing, count in counts.items():
            stand.add_metric([tier, standing], count)
    return stand


def _online(figures: OnlineFigures) -> Iterator[Metric]:
    rows = CounterMetricFamily(f"{_PREFIX}online_predictions", "Predictions by what became of them.", labels=["result"])
    for result in RESULTS:
        rows.add_metric([result], figures.rows[result])
    yield rows
    yield CounterMetricFamily(f"{_PREFIX}online_groups", "Durable writes, each for all that had gathered.", figures.groups)
    turned = CounterMetricFamily(f"{_PREFIX}online_turned_away", "Requests answered 503 as too many waited.", figures.turned_away)
    yield turned
    ends = [*map(str, BUCKETS), "+Inf"]
    seconds, buckets = figures.waited()
    histogram = HistogramMetricFamily(f"{_PREFIX}online_seconds", "From a request's arrival to its durable answer.")
    histogram.add_metric([], list(zip(ends, accumulate(buckets), strict=True)), seconds)
    yield histogram


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(_PREFIX + name, help_text, float(value))
