"""`POST /v1/predictions`: how many single predictions a second one process answers durably, and what kill -9 loses.

    python benchmarks/online.py [--full] [--connections N] [--seconds S] [--kills N] [--store postgresql] [--known N]

The server is `hitl-bridge serve`; the client is another process on the loopback address, with a few connections that stay
open, each of which sends its next prediction when the last one is answered. Beside it stands what the disk can do: bare
SQLite transactions of one small row, forced to disk like ours (WAL, synchronous=FULL).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
from report import Report, at_least, at_most, exactly
from servers import Database, NoPostgres, Postgres, postgres_server
from workplace import open_folder

from hitl_bridge.bootstrap import Bridge, make_workspace, open_bridge
from hitl_bridge.core.model import BatchId
from hitl_bridge.core.triage.columns import RECEIPTS
from hitl_bridge.demo.labeling import free_port
from hitl_bridge.ports import Batch
from hitl_bridge.services.keeping.access import make_token
from hitl_bridge.services.keeping.init import InitRequest

LABELS = ("refund", "billing", "cancel", "technical")
RATE, P99_MS = 500.0, 50.0
_SEED = 11
_WORDS = tuple("my card was charged twice for an order that never came please send the money back today".split())  # noqa: SIM905
_WARM_UP = 2.0
_KNOWN = "b_known"
_NO_SERVER = 2


# ------------------------------------------------------------------------------------------------ the client's process


@dataclass
class Client:
    """Connections that each ask for one prediction after another, until `until` or until the server is gone."""

    port: int
    token: str
    run: str
    answered: list[tuple[str, str]] = field(default_factory=list)
    codes: Counter[int] = field(default_factory=Counter)
    waits: list[tuple[float, float]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def work(self, connections: int, seconds: float) -> None:
        until = time.perf_counter() + seconds
        threads = [threading.Thread(target=self._ask, args=(number, until)) for number in range(connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _ask(self, connection: int, until: float) -> None:
        chance, number = random.Random(f"{self.run}-{connection}"), 0
        answered, codes, waits = list[tuple[str, str]](), Counter[int](), list[tuple[float, float]]()
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=30) as line:
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while time.perf_counter() < until:
                    number += 1
                    item_id = f"{self.run}-{connection}-{number}"
                    body = json.dumps(prediction(item_id, chance)).encode()
                    began = time.perf_counter()
                    code, said = exchange(line, request(self.token, body))
                    waits.append((began, time.perf_counter() - began))
                    codes[code] += 1
                    if code == 200:
                        answered.append((item_id, digest_of(said)))
        except OSError:
            pass  # the server was killed: what was answered by then is what counts
        with self.lock:
            self.answered += answered
            self.codes += codes
            self.waits += waits


def prediction(item_id: str, chance: random.Random) -> Mapping[str, Any]:
    """About 600 bytes; a tenth of them is for people to see."""
    sure = chance.uniform(0.5, 0.9) if chance.random() < 0.1 else chance.uniform(0.95, 0.999)
    rest = (1 - sure) / (len(LABELS) - 1)
    return {
        "item_id": item_id,
        "input": {"text": " ".join(chance.choices(_WORDS, k=40))},
        "prediction": {"label": LABELS[0]},
        "scores": {label: sure if label == LABELS[0] else rest for label in LABELS},
        "model_version": "m-1",
        "attributes": {"amount": round(chance.uniform(1, 5_000), 2), "language": "en"},
        "predicted_at": "2026-11-22T10:00:00Z",
    }


def request(token: str, body: bytes) -> bytes:
    head = f"POST /v1/predictions HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def exchange(line: socket.socket, asked: bytes) -> tuple[int, bytes]:
    """Sends a request and reads its answer. Raises OSError if the server goes away meanwhile."""
    line.sendall(asked)
    read = b""
    while b"\r\n\r\n" not in read:
        read += _more(line)
    head, _, body = read.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += _more(line)
    return int(head[9:12]), body


def _more(line: socket.socket) -> bytes:
    part = line.recv(65_536)
    if not part:
        raise ConnectionResetError("closed")
    return part


def digest_of(answer: bytes) -> str:
    """Of an answered receipt, what tells it from another one."""
    receipt = json.loads(answer)["receipt"]
    return f"{receipt['content_digest']} {receipt['tier']} {receipt['uniform_draw']!r}"


def be_the_client(port: int, run: str, connections: int, seconds: float) -> None:
    """Prints what was answered, how long it took, and the client's own processor time."""
    client = Client(port, sys.stdin.readline().strip(), run)
    began = time.perf_counter()
    client.work(connections, seconds)
    told = {
        "answered": client.answered,
        "codes": client.codes,
        "waits": [(at - began, wait) for at, wait in client.waits],
        "cpu": time.process_time(),
    }
    print(json.dumps(told))


# ------------------------------------------------------------------------------------------------ the server's process


@dataclass
class Place:
    """A workspace, a token, and the server over it."""

    root: Path
    token: str
    port: int = field(default_factory=free_port)

    @contextmanager
    def server(self) -> Iterator[subprocess.Popen[bytes]]:
        command = [sys.executable, "-m", "hitl_bridge", "-C", str(self.root), "serve", "--listen", f"127.0.0.1:{self.port}"]
        with (self.root.parent / "serve.log").open("ab") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
            try:
                self._wait(process)
                yield process
            finally:
                process.terminate()
                process.wait(timeout=30)

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        for _ in range(600):
            if process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise SystemExit(f"The server did not start; {self.root.parent / 'serve.log'} says why.")

    def client(self, run: str, connections: int, seconds: float) -> subprocess.Popen[str]:
        options = ["--client", str(self.port), run, str(connections), str(seconds)]
        process = subprocess.Popen([sys.executable, __file__, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdin is not None
        process.stdin.write(self.token + "\n")  # not on its command line, which everybody can read
        process.stdin.flush()
        return process


def make(root: Path, store: str) -> Place:
    make_workspace(InitRequest(target=root, task="text-classification", labels=LABELS))
    policy = {
        "task": "text-classification",
        "labels": LABELS,
        "label_studio": {"url": "http://127.0.0.1:9"},
        "store": store,
        "git": {"branch": "reviews"},
        "attributes": {"amount": "float", "language": "string"},
        "triage": {"rules": [{"when": "amount > 4900", "tier": "comprehensive", "reason": "high stakes"}]},
        "tiers": {
            "auto": {"max_risk": 0.05},
            "quick": {"max_risk": 0.3, "reviewers": 1, "sla": "4h"},
            "comprehensive": {"reviewers": 2, "sla": "24h", "consensus": "unanimous"},
        },
        "audit": {"rate": 0.05, "uniform": 0.01, "sla": "48h"},
        "expertise": [{"name": "general", "reviewers": ["ana@example.com", "ben@example.com"]}],
    }
    (root / "hitl.yaml").write_text(json.dumps(policy, indent=2), encoding="utf-8")
    with open_bridge(root) as bridge:
        return Place(root, make_token(bridge.access_tokens, bridge.clock, "pipeline", by="benchmark").token)


def finish(client: subprocess.Popen[str]) -> Mapping[str, Any]:
    said, _ = client.communicate(timeout=300)
    told: Mapping[str, Any] = json.loads(said)
    return told


# ------------------------------------------------------------------------------------------------ what is measured


def measure_disk(folder: Path, report: Report, seconds: float = 3.0) -> None:
    with closing(sqlite3.connect(folder / "bare.db", isolation_level=None)) as connection:
        for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "CREATE TABLE bare (text)"):
            connection.execute(statement)
        commits, began = 0, time.perf_counter()
        while (spent := time.perf_counter() - began) < seconds:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO bare VALUES ('x')")
            connection.execute("COMMIT")
            commits += 1
    report.add("bare_commits_per_second", "bare SQLite transactions a second, one at a time", commits / spent)


def measure_kills(place: Place, report: Report, kills: int, connections: int) -> None:
    """Each time in the middle of the load, at a moment of chance; then the server is started again over the same store."""
    answered, chance = list[tuple[str, str]](), random.Random(_SEED)
    for number in range(kills):
        with place.server() as server:
            client = place.client(f"kill{number}", connections, 60.0)
            time.sleep(chance.uniform(1.5, 4.0))
            server.send_signal(signal.SIGKILL)
            answered += [(item_id, digest) for item_id, digest in finish(client)["answered"]]
    again = 0
    with place.server(), socket.create_connection(("127.0.0.1", place.port), timeout=30) as line:
        for item_id, digest in chance.sample(answered, min(200, len(answered))):
            code, said = exchange(line, request(place.token, json.dumps(_again(item_id)).encode()))
            again += code == 200 and json.loads(said)["again"] and digest_of(said) == digest
    with open_bridge(place.root) as bridge:
        bridge.flush_online()
        kept = _kept(bridge)
    lost = [item_id for item_id, digest in answered if kept[item_id] != [digest]]
    doubled = [item_id for item_id, digests in kept.items() if len(digests) > 1]
    report.add("killed", "times that the server was killed (-9) under load", kills)
    report.add("answered", "predictions answered by then", len(answered))
    report.add("unanswered", "that were in the store without their answer having arrived", len(kept) - len(answered))
    report.add("lost", "answered, and not found as answered in the receipts", len(lost), exactly(len(lost), 0))
    report.add("doubled", "found twice", len(doubled), exactly(len(doubled), 0))
    asked = min(200, len(answered))
    report.add("asked_again", f"of {asked} asked again, answered word for word as before", again, exactly(again, asked))


def _again(item_id: str) -> Mapping[str, Any]:
    """The prediction that the client made for this item, number by number."""
    run, connection, number = item_id.rsplit("-", 2)
    chance = random.Random(f"{run}-{connection}")
    for _ in range(int(number) - 1):
        prediction("", chance)
    return prediction(item_id, chance)


def _kept(bridge: Bridge) -> dict[str, list[str]]:
    kept: dict[str, list[str]] = {}
    for file in bridge.store.receipt_files():
        if file.path.startswith(_KNOWN):
            continue
        columns = ["item_id", "content_mac", "tier", "uniform_draw"]
        for row in pq.read_table(bridge.paths.receipts / file.path, columns=columns).to_pylist():
            digest = f"{row['content_mac'].hex()} {row['tier']} {row['uniform_draw']!r}"
            kept.setdefault(row["item_id"], []).append(digest)
    return kept


def measure_rate(place: Place, report: Report, connections: int, seconds: float) -> None:
    with place.server() as server:
        finish(place.client("warm", connections, _WARM_UP))
        began = _processor_time(server.pid)
        told = finish(place.client("rate", connections, seconds))
        spent = _processor_time(server.pid) - began
    waits = sorted(wait for _, wait in told["waits"])
    rate = len(told["answered"]) / seconds
    cuts = statistics.quantiles(waits, n=1000)
    report.add("connections", "connections that stay open", connections)
    report.add("load_average", "load average of the machine at the end", os.getloadavg()[0])
    report.add("rate", "single predictions answered a second", rate, at_least(rate, RATE))
    report.add("p50_ms", "half were answered within, ms", 1000 * cuts[499])
    report.add("p99_ms", "99 % within, ms", 1000 * cuts[989], at_most(1000 * cuts[989], P99_MS))
    report.add("p999_ms", "99.9 % within, ms", 1000 * cuts[998])
    report.add("slowest_ms", "the slowest, ms", 1000 * waits[-1])
    report.add("server_cpu", "processors that the server kept busy", spent / seconds)
    report.add("client_cpu", "processors that the client kept busy", told["cpu"] / seconds)
    others = {code: count for code, count in told["codes"].items() if code != "200"}
    report.add("other_answers", "answers other than 200", sum(others.values()), exactly(sum(others.values()), 0))


def measure_beside_flushes(place: Place, report: Report, connections: int, seconds: float, every: float = 5.0) -> None:
    """The same while another process flushes, as a daemon's cycle does (each minute; here far more often)."""
    over, lengths = threading.Event(), list[float]()

    def flushes() -> None:
        with open_bridge(place.root) as bridge:
            while not over.wait(every):
                began = time.perf_counter()
                bridge.flush_online()
                lengths.append(time.perf_counter() - began)

    with place.server():
        flusher = threading.Thread(target=flushes)
        client = place.client("beside", connections, seconds)
        flusher.start()
        told = finish(client)
        over.set()
        flusher.join()
    waits = sorted(wait for _, wait in told["waits"])
    report.add("rate_beside_flushes", f"a second, while a flush was made every {every:.0f} s", len(waits) / seconds)
    report.add("p99_beside_flushes_ms", "99 % within, ms", 1000 * statistics.quantiles(waits, n=100)[98])
    report.add("slowest_beside_flushes_ms", "the slowest, ms", 1000 * waits[-1])
    report.add("longest_flush_s", "the longest flush, s", max(lengths, default=None))


def _processor_time(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def know(place: Place, rows: int) -> None:
    """As if so many other items had been ingested before."""
    blank = {"VARCHAR": pa.nulls(rows, pa.string()), "DOUBLE": pa.nulls(rows, pa.float64())}
    blank |= {"INTEGER": pa.nulls(rows, pa.int32()), "BOOLEAN": pa.nulls(rows, pa.bool_())}
    ids = pa.array([f"known-{number:010}" for number in range(rows)])
    table = pa.table({name: ids if name == "item_id" else blank[kind] for name, kind in RECEIPTS.items()})
    with open_bridge(place.root) as bridge:
        at = bridge.clock.now()
        batch = Batch(BatchId(_KNOWN), "known", "", rows, rows, 0, 0, {"auto": rows}, 0, at)
        bridge.store.record_batch(batch, bridge.receipts.write(batch.batch_id, table), [])


def main() -> int:
    wanted = _arguments()
    if wanted.client:
        port, run, connections, seconds = wanted.client
        be_the_client(int(port), run, int(connections), float(seconds))
        return 0
    report = Report("online")
    with ExitStack() as open_:
        try:
            postgres = open_.enter_context(postgres_server()) if wanted.store == "postgresql" else None
        except NoPostgres as missing:
            print(missing)
            return _NO_SERVER
        root = open_.enter_context(open_folder(wanted.keep))
        report.add("store", "store", wanted.store)
        measure_disk(_made(root.parent), report)
        place = make(root, _store_url(postgres))
        if wanted.known:
            know(place, wanted.known)
            report.add("known", "items known before", wanted.known)
        measure_kills(place, report, wanted.kills, wanted.connections)
        measure_rate(place, report, wanted.connections, wanted.seconds)
        measure_beside_flushes(place, report, wanted.connections, wanted.seconds)
    return report.finish()


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _store_url(postgres: Postgres | None) -> str:
    if postgres is None:
        return "sqlite:///.hitl/bridge.db"
    postgres.create("bridge")
    return postgres.url("bridge")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="20 kills, a minute of load, 10 million items known before")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--kills", type=int)
    parser.add_argument("--known", type=int, help="items in the receipts beforehand")
    parser.add_argument("--store", choices=get_args(Database), default="sqlite")
    parser.add_argument("--keep", type=Path, help="keep the workspace there")
    parser.add_argument("--client", nargs=4, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    wanted.seconds = wanted.seconds or (60.0 if wanted.full else 20.0)
    wanted.kills = 5 if wanted.kills is None and not wanted.full else 20 if wanted.kills is None else wanted.kills
    wanted.known = wanted.known if wanted.known is not None else (10_000_000 if wanted.full else 0)
    return wanted


if __name__ == "__main__":
    raise SystemExit(main())
