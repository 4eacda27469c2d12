"""What the test of the whole loop is made of: a workspace with its people, and what can be seen of it from outside."""

from __future__ import annotations

import hashlib
import json
import random
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hitl_bridge.adapters.label_studio.local_server import LocalServer
from hitl_bridge.core.model import Project, ProjectId, ProjectKey, TaskId
from hitl_bridge.core.task_types.controls import CHECKLIST, CONFIDENCE, LABEL, RATIONALE
from hitl_bridge.demo.reviewers import Manner, SimulatedReviewer
from tests.live.command_line import CommandLine
from tests.live.conftest import LiveLabelStudio, LiveReviewers

ANA, BEN, DEE = "ana@example.com", "ben@example.com", "dee@example.com"
WORDS = {
    "refund": ("money back", "charged twice", "a refund", "return the payment"),
    "cancel": ("end my contract", "stop the subscription", "cancel everything", "close the account"),
    "technical": ("the app crashes", "an error", "a black screen", "the login fails"),
}
FILLING = ("please", "today", "I think", "again", "since Monday", "hello", "urgent", "on my phone", "why")
POOLS = ("payments", "delivery", "account")
SECONDS = 60.0

POLICY = """\
task: text-classification
labels: [refund, cancel, technical]
label_studio: {{url: "{url}"}}
git: {{branch: reviews}}
attributes: {{amount: float, language: string}}
triage:
  rules:
    - {{when: "amount > 1000", tier: comprehensive, reason: "much money"}}
    - {{when: "language <> 'en'", tier: quick, reason: "not in English"}}
tiers:
  auto: {{max_risk: 0.9}}
  quick: {{max_risk: 0.95, reviewers: 1, sla: 4h}}
  comprehensive: {{reviewers: 2, sla: 24h, consensus: unanimous, rationale: required, checklist: [I read all of it]}}
audit: {{rate: 0.5, uniform: 0.2, sla: 24h}}
expertise:
  - {{name: payments, when: "scenario = 'payments'", reviewers: [{ana}, {ben}], adjudicators: [{dee}]}}
  - {{name: delivery, when: "scenario = 'delivery'", reviewers: [{ana}, {ben}], adjudicators: [{dee}]}}
  - {{name: account, reviewers: [{ana}, {ben}], adjudicators: [{dee}]}}
"""


def messages(count: int, prefix: str) -> list[dict[str, Any]]:
    """Texts that say what they mean: every fourth is about much money, every fourth not in English, in three pools."""
    chance = random.Random(prefix)
    rows = []
    for number in range(count):
        meaning = list(WORDS)[number % len(WORDS)]
        text = f"{chance.choice(FILLING)} {chance.choice(WORDS[meaning])} {chance.choice(FILLING)} {prefix}{number}"
        known = {"amount": 5000.0 if number % 4 == 1 else 10.0, "language": "de" if number % 4 == 2 else "en"}
        row = {"item_id": f"{prefix}{number}", "input": {"text": text}, "attributes": known}
        rows.append({**row, "scenario": POOLS[number % 3], "output": {"label": meaning}})
    return rows


ARRIVED = messages(40, "new ")
MEANINGS = {row["input"]["text"]: row["output"]["label"] for row in ARRIVED}
MEANT = {row["item_id"]: row["output"]["label"] for row in ARRIVED}


def another(label: str) -> str:
    return next(each for each in WORDS if each != label)


def write_rows(path: Path, rows: list[dict[str, Any]], *, without: str = "") -> Path:
    kept = [{name: value for name, value in row.items() if name != without} for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    return path


def eventually(what: str, holds: Callable[[], bool], seconds: float = SECONDS) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.2)


@dataclass(frozen=True, slots=True)
class Task:
    """A review task as the store knows it."""

    item_id: str
    round: int
    tier: str
    project: Project
    task_id: TaskId
    push_key: str
    purpose: str
    blind: bool
    label: str


@dataclass
class Workspace:
    """The workspace with its Label Studio, the people in it, and what can be read without asking the bridge."""

    shell: CommandLine
    server: LocalServer
    studio: LiveLabelStudio
    people: LiveReviewers

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self.shell.root}/.hitl/bridge.db?mode=ro", uri=True)) as store:
            return list(store.execute(query))

    def tasks(self) -> list[Task]:
        found = self.rows(
            "SELECT t.item_id, t.round, t.pool, t.tier, t.part, t.project_id, t.task_id, t.push_key, i.purpose, i.blind, i.output"
            " FROM review_tasks t JOIN items i USING (item_id, revision) ORDER BY t.item_id, t.round"
        )
        return [task_of(*row) for row in found]

    def task(self, item_id: str, round_number: int = 1) -> Task:
        return next(task for task in self.tasks() if (task.item_id, task.round) == (item_id, round_number))

    def remote(self) -> list[dict[str, Any]]:
        """Every task in Label Studio, as its own interface tells it."""
        client = self.studio.client()
        found: list[dict[str, Any]] = []
        for (project_id,) in self.rows("SELECT project_id FROM projects ORDER BY project_id"):
            listed: Any = client.get("/api/tasks/", {"project": str(project_id), "page_size": "500", "fields": "all"})
            found += listed["tasks"]
        return found

    def counts(self) -> dict[str, Any]:
        """All there is to count: in Label Studio, in the store, in git."""
        remote = self.remote()
        tables = [
            str(name)
            for (name,) in self.rows("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
            if name not in ("events", "cursors")
        ]
        return {
            "tasks": len(remote),
            "predictions": sum(len(task["predictions"]) for task in remote),
            "annotations": sum(len(task["annotations"]) for task in remote),
            **{name: self.rows(f"SELECT count(*) FROM {name}") for name in tables},  # noqa: S608
            "states": sorted(self.rows("SELECT item_id, state, round FROM items")),
            "commit": self.shell.git("rev-parse", "HEAD"),
            "tags": self.shell.git("tag"),
        }

    def answer(self, task: Task, reviewer: str, label: str, why: str = "Because it says so.") -> Any:
        controls: dict[str, tuple[Any, ...]] = {LABEL: (label,), RATIONALE: (why,)}
        if task.tier == "comprehensive":
            controls |= {CONFIDENCE: (4,), CHECKLIST: ("I read all of it",)}
        return self.people.answer(task.project, task.task_id, reviewer, controls)

    def everybody_answers(self, *reviewers: str) -> int:
        """Each goes through all projects and answers what is open, truly."""
        projects = self.rows("SELECT DISTINCT project_id, tier FROM projects ORDER BY 1")
        given = 0
        for email in reviewers:
            person = SimulatedReviewer(email, self.people.client(email), MEANINGS, Manner(error_rate=0.0))
            given += sum(person.work_through(number) for number, tier in projects if (tier == "adjudication") is (email == DEE))
        return given

    def hashes(self) -> dict[str, str]:
        return data_hashes(self.shell.root)


def task_of(*row: Any) -> Task:
    item_id, number, pool, tier, part, project_id, task_id, push_key, purpose, blind, output = row
    project = Project(ProjectKey(pool, tier, part), ProjectId(project_id), "", "", "")
    label = json.loads(output)[LABEL]
    return Task(item_id, number, tier, project, TaskId(task_id), push_key, purpose, bool(blind), label)


def data_hashes(root: Path) -> dict[str, str]:
    files = sorted(path for kind in ("decisions", "payloads") for path in (root / "data" / kind).glob("*.parquet"))
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def write_policy_and_base_data(shell: CommandLine, url: str, remote: Path) -> None:
    (shell.root / "hitl.yaml").write_text(POLICY.format(url=url, ana=ANA, ben=BEN, dee=DEE), encoding="utf-8")
    params = shell.root / "params.yaml"
    params.write_text(params.read_text("utf-8").replace("min_first_items: 100", "min_first_items: 20"), "utf-8")
    base = shell.root / "data" / "base"
    write_rows(base / "train.jsonl", messages(32, "train "), without="attributes")
    write_rows(base / "holdout.jsonl", messages(28, "held out "), without="attributes")
    shell.dvc("remote", "add", "--quiet", "--default", "storage", str(remote))
    shell.dvc("add", "--quiet", "data/base/train.jsonl", "data/base/holdout.jsonl")
    shell.git("add", "--all")
    shell.git("commit", "--quiet", "--message", "Our policy and base data")


def more_predictions(folder: Path, name: str, count: int) -> Path:
    """Predictions of an outside pipeline that go to the tier `quick`: one answer settles them."""
    rows = [
        {
            "item_id": f"{name} {number}",
            "input": {"text": f"{name} {number}: bitte mein Geld"},
            "prediction": {"label": "refund"},
            "confidence": 0.6,
            "model_version": "outside-1",
            "scenario": "payments",
            "attributes": {"amount": 1.0, "language": "de"},
        }
        for number in range(count)
    ]
    return write_rows(folder / f"{name}.jsonl", rows)
