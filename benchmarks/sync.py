"""Push, poll and latency on a real Label Studio, each against the bare HTTP calls in the same run.

    python benchmarks/sync.py [--full] [--tasks N] [--pairs N] [--store postgresql] [--label-studio postgresql] [--keep DIR]
    python benchmarks/sync.py --month          # a cycle over the 176,000 tasks that 20 reviewers do in a month

Bare calls and bridge take turns, and the figure is the median of their ratios: what the machine does meanwhile hits both.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import sqlalchemy as sa
from month import fill_label_studio
from report import Report, at_most, exactly
from servers import Database, NoPostgres, Postgres, label_studio, postgres_server
from workplace import open_folder

from hitl_bridge.adapters.clock import SystemClock
from hitl_bridge.adapters.label_studio import filters, payloads, remote, replies
from hitl_bridge.adapters.label_studio.client import LabelStudioClient, NotFound
from hitl_bridge.adapters.label_studio.gateway import BATCH_BYTES, BATCH_TASKS
from hitl_bridge.adapters.label_studio.label_configs import LabelConfig
from hitl_bridge.adapters.label_studio.local_server import LocalServer
from hitl_bridge.bootstrap import Bridge, make_workspace, open_bridge
from hitl_bridge.core.model import ItemState, Project, ProjectKey, PushKey, TaskId, TaskState
from hitl_bridge.core.page import page
from hitl_bridge.core.policy import criteria, instructions
from hitl_bridge.core.sync import OVERLAP
from hitl_bridge.core.task_types.controls import LABEL
from hitl_bridge.demo.labeling import free_port
from hitl_bridge.errors import BridgeError
from hitl_bridge.ports import ProjectPlan
from hitl_bridge.services.keeping.init import InitRequest

LABELS = ("refund", "billing", "cancel", "technical")
REVIEWER = "reviewer@example.com"
_SEED = 7
_WORDS = ("my card", "was charged", "twice", "for an order", "that never", "came", "please", "send", "the money", "back", "today")
_WORDS_A_TEXT = 100
"""About 600 bytes: what a customer's message has."""

_OVERLAP_IS_OVER = 305.0
"""Seconds after which what was pushed is no longer read again: a poll reads the last five minutes once more."""

_ANSWERS = 40
_CHANGED = 100
_BUSY_POLLS = 10
_THERE = 20
"""Tasks in a project before it is pushed to: making a project happens once, not at each push."""

_NO_SERVER = 2
_PAGE = 200


# -------------------------------------------------------------------------------------------------- the place


@dataclass
class Place:
    """A workspace with one review tier, and a pool of its own for each measurement: so each has a project of its own."""

    root: Path
    server: LocalServer
    store_url: str
    pools: Sequence[str]
    chance: random.Random = field(default_factory=lambda: random.Random(_SEED))

    def make(self, **daemon: str) -> None:
        if not (self.root / "hitl.yaml").exists():
            make_workspace(InitRequest(target=self.root, task="text-classification", labels=LABELS, label_studio_url=self.url))
        token = self.root / ".hitl" / "label-studio" / "token"
        token.parent.mkdir(exist_ok=True, mode=0o700)
        token.touch(mode=0o600)
        token.write_text(self.server.service_account().token)
        (self.root / "hitl.yaml").write_text(json.dumps(self._policy(daemon), indent=2), encoding="utf-8")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def client(self, token: str | None = None) -> LabelStudioClient:
        return LabelStudioClient(self.url, token or self.server.service_account().token, SystemClock())

    def reviewer(self) -> LabelStudioClient:
        return self.client(self.server.reviewer_token(REVIEWER))

    def bring_in(self, bridge: Bridge, pool: str, count: int, *, start: int = 0) -> None:
        path = self.root / ".hitl" / f"{pool}.jsonl"
        path.write_text("".join(json.dumps(self._prediction(pool, number)) + "\n" for number in range(start, count)))
        bridge.ingest(str(path))
        path.unlink()

    def _prediction(self, pool: str, number: int) -> Mapping[str, object]:
        scores = {label: self.chance.random() for label in LABELS}
        best = max(scores, key=lambda label: scores[label])
        total = sum(scores.values())
        return {
            "item_id": f"{pool}-{number:06}",
            "input": {"text": " ".join(self.chance.choices(_WORDS, k=_WORDS_A_TEXT))},
            "prediction": {"label": best},
            "scores": {label: round(score / total, 6) for label, score in scores.items()},
            "model_version": "intent-3",
            "scenario": pool,
        }

    def _policy(self, daemon: Mapping[str, str]) -> Mapping[str, object]:
        named = [{"name": pool, "when": f"scenario = '{pool}'", "reviewers": [REVIEWER]} for pool in self.pools]
        return {
            "task": "text-classification",
            "labels": list(LABELS),
            "label_studio": {"url": self.url},
            **({} if self.store_url.startswith("sqlite") else {"store": self.store_url}),
            "git": {"branch": "reviews"},
            "daemon": dict(daemon),
            "tiers": {"quick": {"reviewers": 1, "sla": "4h"}},
            "audit": {"rate": 0.0, "uniform": 0.0},
            "expertise": [*named, {"name": "general", "reviewers": [REVIEWER]}],
        }


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turn(number: int, bare: Callable[[], float], bridge: Callable[[], float]) -> tuple[float, float]:
    """(bare, bridge) seconds; who is first changes from pair to pair."""
    if number % 2:
        second, first = bridge(), bare()
        return first, second
    return bare(), bridge()


# ------------------------------------------------------------------------------------------------------- push


def measure_push(place: Place, bridge: Bridge, report: Report, tasks: int, pairs: int) -> None:
    bare_seconds, ratios = [], []
    for number in range(pairs):
        pool = f"push{number}"
        place.bring_in(bridge, pool, _THERE)
        bridge.push()
        place.bring_in(bridge, pool, _THERE + tasks, start=_THERE)
        send = _bare_import(place, bridge, pool)
        bare, ours = in_turn(number, lambda send=send: timed(send), lambda: timed(bridge.push))  # type: ignore[misc]
        print(f"  push {number + 1}/{pairs}: bare {bare:.1f} s, bridge {ours:.1f} s", flush=True)
        bare_seconds.append(bare)
        ratios.append(ours / bare)
    ratio = statistics.median(ratios)
    report.add("push_tasks", "tasks pushed a pair", tasks)
    report.add("push_bare_a_second", "tasks a second of the bare import calls", tasks / statistics.median(bare_seconds))
    report.add("push_ratio", f"push: bridge ÷ bare import, median of {pairs} pairs", ratio, at_most(ratio, 1.10))
    report.add("push_ratios", "· each pair", "; ".join(f"{each:.3f}" for each in ratios))


def _bare_import(place: Place, bridge: Bridge, pool: str) -> Callable[[], None]:
    """The same tasks (under other keys) in the same batches, their bodies made beforehand: nothing but the POSTs is left. The
    project is there and has a few tasks already, as the bridge's."""
    client, policy = place.client(), bridge.policy
    tier = policy.tier("quick")
    key = ProjectKey(pool, "quick", 9)
    config = LabelConfig(bridge.label_config("quick"))
    plan = ProjectPlan(key, f"bare {pool}", bridge.label_config("quick"), instructions(key, tier, policy.kind, policy.labels), 1)
    made: Any = client.post("/api/projects/", payloads.project_json(plan, f"bare {pool}"))
    waiting = [item for item in bridge.store.items_in(ItemState.QUEUED) if item.route.pool == pool]
    contents = [page(PushKey(f"bare-{item.item_id}"), item, (), policy.kind, criteria(tier, policy.kind)) for item in waiting]
    ready = [payloads.prepare(content, config) for content in contents]
    bodies = [payloads.joined(batch) for batch in payloads.batches(_all_prepared(ready), BATCH_TASKS, BATCH_BYTES)]

    def send(some: Sequence[bytes] = bodies) -> None:
        for body in some:
            client.post(f"/api/projects/{made['id']}/import", body, {"return_task_ids": "true"})

    send([payloads.joined(_all_prepared(ready[:_THERE]))])
    return send


def _all_prepared(ready: Sequence[payloads.Prepared | object]) -> list[payloads.Prepared]:
    assert all(isinstance(each, payloads.Prepared) for each in ready)
    return [each for each in ready if isinstance(each, payloads.Prepared)]


# ------------------------------------------------------------------------------------------------------- poll


def measure_poll(place: Place, report: Report, sizes: Sequence[int], rounds: int) -> None:
    """What a pull costs, beside the same requests made by hand: where nothing is new, and after 100 answers. Each poll that
    brings answers has a project to itself: a second one would read those of the first again."""
    with open_bridge(place.root) as bridge:
        for pool, size in _polled(sizes):
            place.bring_in(bridge, pool, size)
            timed(bridge.push)
            _answer(place, bridge, pool, 20)
            bridge.pull()
    print(f"  waiting {_OVERLAP_IS_OVER:.0f} s, until a poll no longer reads again what was just pushed", flush=True)
    time.sleep(_OVERLAP_IS_OVER)
    with open_bridge(place.root) as bridge:
        bridge.pull()
        for size in sizes:
            _poll_one(place, bridge, report, size, rounds)


def _polled(sizes: Sequence[int]) -> list[tuple[str, int]]:
    """The pools of which each has a project of its own, and how many tasks."""
    return [(f"poll{size}x{copy}", size) for size in sizes for copy in range(_BUSY_POLLS)]


def _poll_one(place: Place, bridge: Bridge, report: Report, size: int, rounds: int) -> None:
    pools = [pool for pool, _ in _polled([size])]
    project = _project(bridge, pools[0])
    quiet, busy, requests, own = [], [], [], []
    for number in range(rounds):
        quiet.append(in_turn(number, _bare_poll(place, bridge, project), _pull(bridge, project)))
        requests.append(bridge.pull(only=[project.project_id]).requests)
    for number, pool in enumerate(pools):
        project = _project(bridge, pool)
        _answer(place, bridge, pool, _CHANGED)
        ask = _bare_poll(place, bridge, project)  # with the cursor as it stands before the answers are brought back
        ask()  # who asks first after a change waits for what Label Studio does then: that is neither's
        worked = time.process_time()
        bare, ours = in_turn(number, ask, _pull(bridge, project))
        own.append(time.process_time() - worked)
        busy.append((bare, ours))
        print(f"  poll {size:,} tasks, {_CHANGED} changed: bare {bare:.2f} s, bridge {ours:.2f} s", flush=True)
    still, moved = _ratio(quiet), _ratio(busy)
    report.add(f"poll_{size}_requests", f"{size:,} tasks, nothing new: requests", max(requests), at_most(max(requests), 2))
    report.add(f"poll_{size}_bare", "· seconds of the same requests made by hand", statistics.median(b for b, _ in quiet))
    report.add(f"poll_{size}_ratio", "· bridge ÷ by hand", still, at_most(still, 1.2))
    report.add(f"poll_{size}_changed_bare", f"· with {_CHANGED} changed: seconds by hand", statistics.median(b for b, _ in busy))
    report.add(f"poll_{size}_changed_own", "· · seconds of processor time, both of them", statistics.median(own))
    report.add(f"poll_{size}_changed_ratio", f"· with {_CHANGED} changed: bridge ÷ by hand", moved, at_most(moved, 1.2))


def _pull(bridge: Bridge, project: Project) -> Callable[[], float]:
    return lambda: timed(lambda: bridge.pull(only=[project.project_id]))


def _ratio(pairs: Sequence[tuple[float, float]]) -> float:
    """Of the medians: a pause of the server falls on one of the two."""
    return statistics.median(ours for _, ours in pairs) / statistics.median(bare for bare, _ in pairs)


def _bare_poll(place: Place, bridge: Bridge, project: Project) -> Callable[[], float]:
    """The project, and the pages of what changed since the cursor less its overlap, asked for by hand."""
    client = place.client()
    client.get("/api/version")  # signs in
    since = bridge.store.cursor(project.project_id)
    assert since is not None
    query = json.dumps(filters.changed_query(replies.filter_time(since, OVERLAP)), separators=(",", ":"))
    columns: dict[str, str | int] = {
        "include": remote.STATE_ROW,
        "fields": "all",
        "page": 1,
        "page_size": 200,
        "resolve_uri": "false",
    }

    def ask() -> None:
        client.get(f"/api/projects/{project.project_id}/")
        rows, page_number = _PAGE, 1
        while rows == _PAGE:
            asked = {"project": int(project.project_id), **columns, "page": page_number, "query": query}
            try:
                reply: Any = client.get("/api/tasks/", asked)
            except NotFound:  # past the end
                return
            rows, page_number = len(reply["tasks"]), page_number + 1

    return lambda: timed(ask)


def _project(bridge: Bridge, pool: str) -> Project:
    return next(project for project in bridge.store.projects() if project.key.pool == pool)


def _answer(place: Place, bridge: Bridge, pool: str, count: int) -> None:
    """So many open tasks of a pool are answered, as the page would."""
    project, client = _project(bridge, pool), place.reviewer()
    for task_id in _open_tasks(bridge, project, count):
        client.post(f"/api/tasks/{task_id}/annotations/", _answer_body(bridge))


def _open_tasks(bridge: Bridge, project: Project, count: int) -> list[TaskId]:
    waiting = {item.item_id for item in bridge.store.items_in(ItemState.PUSHED)}
    there = [task for task in bridge.store.tasks_in(TaskState.LIVE) if task.project_key == project.key]
    return [task.task_id for task in there if task.item_id in waiting and task.task_id is not None][:count]


def _answer_body(bridge: Bridge) -> Any:
    region = LabelConfig(bridge.label_config("quick")).region(LABEL, ("billing",))
    return {"result": [{**region, "id": "page1"}], "lead_time": 3.0}


# ---------------------------------------------------------------------------------------------------- latency


def measure_latency(place: Place, report: Report, answers: int, *, webhooks: bool) -> None:
    """From the moment that Label Studio has taken an answer until its decision is in the bridge's store."""
    port = free_port()
    listen = {"listen": f"127.0.0.1:{port}", "webhook_url": f"http://127.0.0.1:{port}"} if webhooks else {}
    place.make(every="30s" if webhooks else "5s", commit_every="60s", **listen)
    pool = "hooked" if webhooks else "polled"
    with open_bridge(place.root) as bridge:
        place.bring_in(bridge, pool, answers)
        bridge.push()
        with _daemon(place), _watch(bridge) as seen:
            time.sleep(15)  # it takes its lease, registers its webhooks and goes round once
            waits, submits = _latencies(place, bridge, pool, answers, seen)
    told = "with webhooks" if webhooks else "polling every 5 s"
    p95 = statistics.quantiles(waits, n=20)[-1]
    name = "hooked" if webhooks else "polled"
    report.add(f"latency_{name}_p50", f"answer → decision, {told}: median seconds", statistics.median(waits))
    report.add(f"latency_{name}_p95", "· 95 of 100 within", p95, at_most(p95, 2.0) if webhooks else None)
    report.add(f"submit_{name}_p50", "· seconds that the reviewer waits for Label Studio", statistics.median(submits))


def _latencies(
    place: Place, bridge: Bridge, pool: str, answers: int, seen: Callable[[str], bool]
) -> tuple[list[float], list[float]]:
    project, client, waits, submits = _project(bridge, pool), place.reviewer(), [], []
    items = {task.task_id: task.item_id for task in bridge.store.tasks_in(TaskState.LIVE)}
    chance = random.Random(_SEED)
    for task_id in _open_tasks(bridge, project, answers):
        submits.append(timed(lambda: client.post(f"/api/tasks/{task_id}/annotations/", _answer_body(bridge))))  # noqa: B023
        start = time.perf_counter()
        while not seen(items[task_id]):
            if time.perf_counter() - start > 120:
                raise BridgeError(f"The answer to {items[task_id]} was not seen within two minutes.")
            time.sleep(0.01)
        waits.append(time.perf_counter() - start)
        time.sleep(chance.uniform(0.5, 2.5))
    return waits, submits


@contextmanager
def _watch(bridge: Bridge) -> Iterator[Callable[[str], bool]]:
    """Looks into the store, and at nothing else."""
    engine = sa.create_engine(bridge.store.engine.url)

    def seen(item_id: str) -> bool:
        with engine.connect() as connection:
            found = connection.execute(sa.text("SELECT 1 FROM decisions WHERE item_id = :item"), {"item": item_id})
            return found.first() is not None

    yield seen
    engine.dispose()


@contextmanager
def _daemon(place: Place) -> Iterator[None]:
    command = [str(Path(sys.executable).parent / "hitl-bridge"), "-C", str(place.root), "daemon"]
    with (place.root / ".hitl" / "daemon.log").open("ab") as log, subprocess.Popen(command, stdout=log, stderr=log) as daemon:
        try:
            yield
        finally:
            daemon.send_signal(signal.SIGTERM)
            ended = timed(lambda: daemon.wait(timeout=60))
            print(f"  the daemon ended {ended:.1f} s after SIGTERM", flush=True)


# ---------------------------------------------------------------------------------------------------- a month


def measure_month(place: Place, report: Report, tasks: int, projects: int) -> None:
    """A cycle with a month's tasks there, in projects of at most 10,000: nothing new, and after half an hour's answers."""
    with open_bridge(place.root) as bridge:
        for pool in place.pools:
            place.bring_in(bridge, pool, 1)
        bridge.push()  # makes the projects
        for pool in place.pools:
            place.bring_in(bridge, pool, tasks // projects, start=1)
        filled = fill_label_studio(place.server, bridge)
        report.add("month_tasks", "tasks there", filled, exactly(filled, projects * (tasks // projects - 1)))
        report.add("month_projects", "projects", len(bridge.store.projects()))
        for pool in place.pools:
            _answer(place, bridge, pool, 1)  # without a cursor there is nothing to poll from
        report.add("month_first", "first pull, an answer a project (seconds)", timed(bridge.pull))
        quiet = [timed(bridge.pull) for _ in range(3)]
        report.add("month_quiet", "pull with nothing new (seconds)", statistics.median(quiet))
        report.add("month_requests", "· requests a project", bridge.pull().requests / projects)
        bare = [sum(_bare_poll(place, bridge, project)() for project in bridge.store.projects()) for _ in range(3)]
        report.add("month_bare", "· the same requests by hand (seconds)", statistics.median(bare))
        one = [bridge.store.projects()[0].project_id]
        report.add("month_sweep", "comparing one project as a whole (seconds)", timed(lambda: bridge.pull(sweep=True, only=one)))
        for pool in list(place.pools)[:10]:
            _answer(place, bridge, pool, 20)
        report.add("month_cycle", "pull and resolve after 200 answers in 10 projects (seconds)",
                   timed(lambda: (bridge.pull(), bridge.resolve())))  # fmt: skip


# ------------------------------------------------------------------------------------------------------- main


def main() -> int:
    wanted = _arguments()
    pools = [f"push{number}" for number in range(wanted.pairs)] + [pool for pool, _ in _polled(wanted.sizes)]
    if wanted.month:
        pools = [f"month{number:02}" for number in range(1, 19)]
    report = Report("sync")
    report.add("databases", "bridge · Label Studio on", f"{wanted.store} · {wanted.label_studio}")
    with ExitStack() as open_:
        try:
            root = open_.enter_context(open_folder(wanted.keep))
            needs_postgres = "postgresql" in (wanted.store, wanted.label_studio)
            postgres = open_.enter_context(postgres_server()) if needs_postgres else None
            (root / ".hitl").mkdir(parents=True, exist_ok=True)
            home = root.parent / "label-studio"
            server = open_.enter_context(label_studio(home, wanted.label_studio, postgres))
        except NoPostgres as missing:
            print(missing)
            return _NO_SERVER
        place = Place(root / "workspace", server, _store_url(wanted.store, postgres), [*pools, "hooked", "polled"])
        place.make()
        if wanted.month:
            place.pools = pools
            place.make()
            measure_month(place, report, 176_000, len(pools))
            return report.finish()
        with open_bridge(place.root) as bridge:
            measure_push(place, bridge, report, wanted.tasks, wanted.pairs)
        measure_poll(place, report, wanted.sizes, wanted.rounds)
        measure_latency(place, report, _ANSWERS, webhooks=True)
        measure_latency(place, report, _ANSWERS // 2, webhooks=False)
    return report.finish()


def _store_url(database: Database, postgres: Postgres | None) -> str:
    if database == "sqlite" or postgres is None:
        return "sqlite:///.hitl/bridge.db"
    postgres.create("bridge")
    return postgres.url("bridge")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="5,000 tasks a push, polls of 1,000 and 10,000 tasks")
    parser.add_argument("--month", action="store_true", help="instead: a cycle over 176,000 tasks in 18 projects")
    parser.add_argument("--tasks", type=int, help="tasks a push")
    parser.add_argument("--pairs", type=int, help="how often bare calls and bridge take turns")
    parser.add_argument("--store", choices=get_args(Database), default="sqlite")
    parser.add_argument("--label-studio", choices=get_args(Database), default="sqlite")
    parser.add_argument("--keep", type=Path, help="keep the workspace there")
    wanted = parser.parse_args()
    wanted.tasks = wanted.tasks or (5_000 if wanted.full else 1_000)
    wanted.pairs = wanted.pairs or (7 if wanted.full else 5)
    wanted.sizes = [1_000, 10_000] if wanted.full else [200, 2_000]
    wanted.rounds = 12 if wanted.full else 9
    return wanted


if __name__ == "__main__":
    raise SystemExit(main())
