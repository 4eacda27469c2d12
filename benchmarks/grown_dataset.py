"""A workspace with as many decisions as wanted, as years of commits would have left it.

One item goes through the bridge from prediction to decision; every row that this left in the store is then copied, by the
database, under other ids. Dataset versions hold 1,000 decisions each: files, cache, DVC remote, manifest, commits and tags are
written as publishing them one by one would have left them, in a thousandth of the time. DVC has to agree at the end.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from hitl_bridge.adapters.dvc.dataset import NOTES
from hitl_bridge.adapters.memory import InMemoryLabeling
from hitl_bridge.bootstrap import Bridge, make_workspace, open_bridge
from hitl_bridge.core.dataset.schema import from_parquet, to_parquet
from hitl_bridge.core.model import DatasetVersion, TaskState
from hitl_bridge.core.task_types.controls import LABEL
from hitl_bridge.services.dataset.commit import DECISIONS, PAYLOADS
from hitl_bridge.services.keeping.init import InitRequest

LABELS = ("refund", "billing", "cancel", "technical")
IN_A_VERSION = 1_000
BRANCH = "reviews"
FOLDERS = (DECISIONS, PAYLOADS)
_FIRST = "first"
_REVIEWER = "reviewer@example.com"
_SEED = 11
_MADE = ".dvc/tmp/grown"
_WORDS = ("my card", "was charged", "twice", "for an order", "that never", "came", "please", "send", "the money", "back", "today")
_POLICY = {
    "task": "text-classification",
    "labels": LABELS,
    "label_studio": {"url": "http://127.0.0.1:9"},
    "git": {"branch": BRANCH},
    "tiers": {"auto": {"max_risk": 0.02}, "quick": {"reviewers": 1, "sla": "4h"}},
    "audit": {"rate": 0.05, "uniform": 0.0, "sla": "48h"},
    "expertise": [{"name": "general", "reviewers": [_REVIEWER], "adjudicators": ["expert@example.com"]}],
}
_PREDICTION = {
    "item_id": _FIRST,
    "input": {"text": "I was charged twice"},
    "prediction": {"label": "refund"},
    "scores": {"refund": 0.51, "billing": 0.42, "cancel": 0.05, "technical": 0.02},
    "confidence": 0.51,
    "model_version": "intent-3",
    "scenario": "payments",
}


@dataclass
class GrownDataset:
    """The workspace at `root`, with a DVC remote beside it; `decisions` is how many the store holds by now."""

    root: Path
    decisions: int = 0

    def make(self, decisions: int) -> None:
        """With `decisions` in versions. Raises RuntimeError where DVC does not see what it would have made itself."""
        make_workspace(InitRequest(target=self.root, task="text-classification", labels=LABELS))
        (self.root / "hitl.yaml").write_text(json.dumps(_POLICY), encoding="utf-8")
        self.run("git", "config", "user.name", "Benchmark")
        self.run("git", "config", "user.email", "benchmark@example.com")
        self.run("dvc", "remote", "add", "--default", "store", str(self.remote))
        self.run("git", "commit", "--quiet", "--all", "--message=Begin")
        with closing(self.opened()) as bridge:
            _decide_one(bridge)
            bridge.commit()
        self._fill_store(decisions)
        self._write_versions(decisions // IN_A_VERSION)
        self._check()

    def decide(self, count: int) -> None:
        """As many more are decided and wait for a commit."""
        with closing(self._database()) as database:
            self._copy_rows(database, range(self.decisions, self.decisions + count), version=None)

    def opened(self) -> Bridge:
        return open_bridge(self.root, labeling=InMemoryLabeling())

    def bare_copy(self, root: Path) -> GrownDataset:
        """The same dataset without the bridge's state, with a remote of its own."""
        copy = GrownDataset(root)
        shutil.copytree(self.root, root, ignore=shutil.ignore_patterns(".hitl"))
        shutil.copytree(self.remote, copy.remote)
        copy.run("dvc", "remote", "modify", "store", "url", str(copy.remote))
        copy.run("git", "commit", "--quiet", "--all", "--message=A remote of its own")
        (copy.root / _MADE).touch()
        return copy

    @property
    def is_there(self) -> bool:
        """Whether it was made before, to the end."""
        return (self.root / _MADE).is_file()

    @property
    def remote(self) -> Path:
        return self.root.parent / f"{self.root.name}-remote"

    @property
    def environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        site = str((self.root / ".hitl" / "dvc-site").absolute())
        return {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": site}

    def run(self, *command: str, stdin: bytes = b"") -> str:
        """What the command said. Raises CalledProcessError."""
        done = subprocess.run(command, cwd=self.root, env=self.environment, input=stdin, capture_output=True, check=True)
        return done.stdout.decode()

    def _check(self) -> None:
        changed = json.loads(self.run("dvc", "status", "--json", *(f"{folder}.dvc" for folder in FOLDERS)))
        unpushed = json.loads(self.run("dvc", "status", "--cloud", "--json", *(f"{folder}.dvc" for folder in FOLDERS)))
        if changed or unpushed:
            raise RuntimeError(f"The dataset is not as DVC would have made it: {changed or list(unpushed)[:3]}")

    # ----------------------------------------------------------------------------------------------- the store

    def _database(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.root / ".hitl" / "bridge.db", isolation_level=None)
        database.execute("PRAGMA synchronous = OFF")  # for these copies; the bridge opens it with its own
        return database

    def _fill_store(self, decisions: int) -> None:
        with closing(self._database()) as database:
            for start in range(0, decisions, IN_A_VERSION):
                version = _version(start // IN_A_VERSION)
                self._copy_rows(database, range(start, start + IN_A_VERSION), version=version)
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _copy_rows(self, database: sqlite3.Connection, numbers: range, *, version: str | None) -> None:
        numbered = "WITH RECURSIVE numbers(i) AS (SELECT ? UNION ALL SELECT i + 1 FROM numbers WHERE i + 1 < ?)"
        (push_key,) = database.execute("SELECT push_key FROM review_tasks WHERE item_id = ?", [_FIRST]).fetchone()
        (last,) = database.execute("SELECT MAX(seq) FROM events").fetchone()
        database.execute("BEGIN")
        for table, columns in _tables_with_items(database):
            key, value = ("item_id", _FIRST) if "item_id" in columns else ("push_key", push_key)
            made = _copied_columns(table, columns, last, version)
            rows = f"{numbered} SELECT {', '.join(made.values())} FROM {table}, numbers WHERE {key} = ?"  # noqa: S608 (ours)
            database.execute(f"INSERT INTO {table} ({', '.join(made)}) {rows}", [numbers.start, numbers.stop, value])
        chance = random.Random(_SEED + numbers.start)
        texts = [(_payload(chance), _item_id(number)) for number in numbers]
        database.executemany("UPDATE payloads SET input = ? WHERE item_id = ?", texts)
        database.execute("COMMIT")
        self.decisions = numbers.stop

    # -------------------------------------------------------------------------------------------- the versions

    def _write_versions(self, versions: int) -> None:
        """Beside the one that the bridge made: they take its place in the history, and it comes first."""
        history = _History(self)
        for number in range(versions):
            history.add(number)
        self.run("git", "fast-import", "--quiet", "--force", stdin=history.stream())
        self.run("git", "reset", "--quiet", "--hard", BRANCH)
        self.run("git", "pack-refs", "--all")
        tags = self.run("git", "for-each-ref", "--format=%(refname:strip=2) %(*objectname)", "refs/tags").split()
        commits = dict(zip(tags[::2], tags[1::2], strict=True))
        with closing(self.opened()) as bridge:
            for number in range(versions):
                version = _version(number)
                tag = f"decisions@{version}"
                row = DatasetVersion(version, tag, commits[tag], IN_A_VERSION, 0, 0, bridge.clock.now())
                bridge.store.record_version(row, [])


@dataclass
class _History:
    """Versions after the first, one commit and one tag each, as text for `git fast-import`."""

    place: GrownDataset
    commits: list[bytes] = field(default_factory=list)
    listings: dict[str, dict[str, str]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)

    def add(self, number: int) -> None:
        version = _version(number)
        for folder in FOLDERS:
            path = f"{folder}/{version}.parquet"
            content = to_parquet(_renamed(self._first[folder], number))
            (self.place.root / path).write_bytes(content)
            self._listing(folder)[f"{version}.parquet"] = self._keep(content)
            self.sizes[folder] = self.sizes.get(folder, self._first_sizes[folder]) + len(content)
            self._manifest[path] = hashlib.sha256(content).hexdigest()
        self.commits.append(self._commit(version))

    def stream(self) -> bytes:
        return b"".join(self.commits)

    def _commit(self, version: str) -> bytes:
        files = {f"{folder}.dvc": self._pointer(folder) for folder in FOLDERS}
        manifest = "".join(f"{self._manifest[path]}  {path}\n" for path in sorted(self._manifest))
        files["data/decisions.sha256"] = manifest.encode()
        digest = hashlib.sha256(version.encode()).hexdigest()[:32]
        message = f"decisions@{version}: 1000 added\n\nBridge-Batch: {digest}\n".encode()
        who = b"committer Benchmark <benchmark@example.com> 1700000000 +0000\n"
        begin = f"from refs/heads/{BRANCH}^0\n".encode() if not self.commits else b""
        lines = [f"commit refs/heads/{BRANCH}\n".encode(), who, _data(message), begin]
        if not self.commits:  # the first version's card tells of it alone: the next commit of the bridge's counts anew
            lines += [f"D {path}\n".encode() for path in NOTES]
        lines += [f"M 100644 inline {path}\n".encode() + _data(content) for path, content in files.items()]
        tag = f"tag decisions@{version}\nfrom refs/heads/{BRANCH}\n".encode()
        return b"".join([*lines, b"\n", tag, who.replace(b"committer", b"tagger"), _data(message)])

    def _pointer(self, folder: str) -> bytes:
        listing = self._listing(folder)
        entries = [{"md5": listing[name], "relpath": name} for name in sorted(listing)]
        md5 = self._keep(json.dumps(entries, sort_keys=True).encode(), ".dir")
        text = f"outs:\n- md5: {md5}\n  size: {self.sizes[folder]}\n  nfiles: {len(entries)}\n  hash: md5\n"
        return f"{text}  path: {Path(folder).name}\n".encode()

    def _keep(self, content: bytes, ending: str = "") -> str:
        """In the cache and on the remote."""
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest() + ending
        for store in (self.place.root / ".dvc" / "cache", self.place.remote):
            path = store / "files" / "md5" / md5[:2] / md5[2:]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(0o444)
        return md5

    def _listing(self, folder: str) -> dict[str, str]:
        if folder not in self.listings:
            first = self._files(folder)
            self.listings[folder] = {path.name: self._keep(path.read_bytes()) for path in first}
        return self.listings[folder]

    def _files(self, folder: str) -> list[Path]:
        return sorted((self.place.root / folder).glob("v0.1.0.parquet"))

    @cached_property
    def _first_sizes(self) -> Mapping[str, int]:
        return {folder: sum(path.stat().st_size for path in self._files(folder)) for folder in FOLDERS}

    @cached_property
    def _manifest(self) -> dict[str, str]:
        paths = [path for folder in FOLDERS for path in self._files(folder)]
        return {str(path.relative_to(self.place.root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}

    @cached_property
    def _first(self) -> Mapping[str, pa.Table]:
        return {folder: from_parquet(path.read_bytes()) for folder in FOLDERS for path in self._files(folder)}


def _decide_one(bridge: Bridge) -> None:
    inbox = bridge.settings.root / ".hitl" / "first.jsonl"
    inbox.write_text(json.dumps(_PREDICTION) + "\n", encoding="utf-8")
    bridge.ingest(str(inbox))
    bridge.push()
    (task,) = bridge.store.tasks_in(*TaskState)
    labeling: Any = bridge.labeling
    labeling.answer(task.task_id, _REVIEWER, {LABEL: ("billing",)})
    bridge.pull()
    bridge.resolve()


def _version(number: int) -> str:
    """v0.1.0 is the one that the bridge itself made."""
    return f"v0.{number + 2}.0"


def _item_id(number: int) -> str:
    return f"item-{number:07}"


def _payload(chance: random.Random) -> str:
    return json.dumps({"text": " ".join(chance.choices(_WORDS, k=20))})


def _data(content: bytes) -> bytes:
    return f"data {len(content)}\n".encode() + content + b"\n"


def _renamed(first: pa.Table, number: int) -> pa.Table:
    """The first version's row a thousand times, under other ids and with other texts."""
    chance = random.Random(_SEED + number)
    numbers = range(number * IN_A_VERSION, (number + 1) * IN_A_VERSION)
    table = first.take(pa.array([0] * len(numbers)))
    changed = {"item_id": [_item_id(each) for each in numbers]}
    if "input" in table.column_names:
        changed["input"] = [_payload(chance) for _ in numbers]
    for name, values in changed.items():
        place = table.column_names.index(name)
        table = table.set_column(place, table.schema.field(place), pa.array(values))
    return table


def _tables_with_items(database: sqlite3.Connection) -> Iterator[tuple[str, list[str]]]:
    """Each table that tells of an item, and its columns; those that others refer to come first."""
    names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for name in sorted(names, key=lambda name: (name != "items", name)):
        columns = [row[1] for row in database.execute(f"PRAGMA table_info({name})")]
        if {"item_id", "push_key"} & set(columns):
            yield name, columns


def _copied_columns(table: str, columns: list[str], last: int, version: str | None) -> dict[str, str]:
    """SQL by column: what the copy number `i` of a row says there."""
    unlike = {
        "item_id": "printf('item-%07d', i)",
        "push_key": "push_key || printf('-%07d', i)",
        "task_id": "task_id + i + 1",
        "annotation_id": "annotation_id + i + 1",
    }
    if table == "items":
        unlike["state"] = "'decided'" if version is None else "'committed'"
    if table == "decisions":
        unlike["version"] = "NULL" if version is None else f"'{version}'"
        unlike["annotations"] = "replace(annotations, '@', printf('%07d@', i))"
    if table == "events":
        # Several of one item: numbered through by where they stand. The copies make no chain, and nobody asks them to.
        unlike["seq"] = f"{last} + ROW_NUMBER() OVER ()"
        unlike |= dict.fromkeys(("fingerprint", "prev_hash", "hash"), "lower(hex(randomblob(32)))")
    return {name: unlike.get(name, name) for name in columns if name != "id"}
