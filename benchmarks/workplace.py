"""A workspace of its own for a benchmark: policy, base data, an embedded Label Studio and simulated reviewers.

Everything lies in one folder, which is gone afterwards unless it is kept.
"""

from __future__ import annotations

import json
import math
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from queries import Queries, Query

from hitl_bridge.adapters.clock import SystemClock
from hitl_bridge.adapters.dvc.pipeline import DvcPipeline
from hitl_bridge.adapters.label_studio.client import LabelStudioClient
from hitl_bridge.bootstrap import Bridge, make_workspace
from hitl_bridge.core.model import ADJUDICATION
from hitl_bridge.demo.labeling import DemoLabeling, open_labeling
from hitl_bridge.demo.reviewers import Manner, SimulatedReviewer
from hitl_bridge.errors import UsageError
from hitl_bridge.services.keeping.init import InitRequest

ERROR_RATE = 0.05
REVIEWERS_A_POOL = 2
_PAGE = 200
_BRANCH = "reviews"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The risk above which a person looks, and the one above which two do; the rates of the two draws."""

    auto: float
    quick: float
    audit: float
    uniform: float


@contextmanager
def open_folder(keep: Path | None) -> Iterator[Path]:
    """The workspace's folder: `keep`, which must not be in use, or one that is removed at the end, also on SIGTERM."""
    signal.signal(signal.SIGTERM, _end)
    if keep is not None:
        if keep.exists() and any(keep.iterdir()):
            raise UsageError(f"{keep} is in use.", remedy="Name a folder that is empty or not there yet.")
        yield keep.resolve()
        return
    above = Path(tempfile.mkdtemp(prefix="hitl-loop-"))
    try:
        yield above / "workspace"
    finally:
        shutil.rmtree(above, ignore_errors=True)


def _end(signum: int, frame: object) -> None:
    raise SystemExit(128 + signum)


@dataclass
class Workplace:
    """The workspace at `root` and everybody who works in it."""

    root: Path
    queries: Queries
    thresholds: Thresholds
    labeling: DemoLabeling = field(init=False)
    people: dict[str, SimulatedReviewer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.labeling = open_labeling(self.root, None, lambda line: print(f"  {line}", flush=True))

    def make(self) -> None:
        """The workspace with its policy and its base data under DVC."""
        url = self.labeling.url
        make_workspace(
            InitRequest(target=self.root, task="text-classification", labels=self.queries.labels, label_studio_url=url)
        )
        (self.root / "hitl.yaml").write_text(self._policy(), encoding="utf-8")
        rare = self.queries.rare()
        base = self.root / "data" / "base"
        _write_rows(base / "train.jsonl", [self._example(query, rare) for query in self.queries.base])
        _write_rows(base / "holdout.jsonl", [self._example(query, rare) for query in self.queries.holdout])
        pipeline = DvcPipeline(self.root, _BRANCH)
        tracked = [path for name in ("train", "holdout") for path in pipeline.track(f"data/base/{name}.jsonl")]
        pipeline.save("Set up the benchmark", ["hitl.yaml", *sorted(set(tracked))])

    def open_label_studio(self) -> None:
        """Starts it, and makes an account for each reviewer and adjudicator."""
        self.labeling.start()
        emails = [email for pool in self.queries.fields for email in (*reviewers_of(pool), adjudicator_of(pool))]
        meanings = {query.text: query.intent for query in self.queries.arriving}
        for email in emails:
            self.people[email] = SimulatedReviewer(email, self.client(email), meanings, Manner(error_rate=ERROR_RATE))

    def client(self, email: str) -> LabelStudioClient:
        return LabelStudioClient(self.labeling.url, self.labeling.reviewer_token(email), SystemClock())

    def write_arrivals(self, path: Path) -> None:
        """What the pipeline knows of the arriving queries: their texts, and nothing of what they mean."""
        _write_rows(path, [{"item_id": query.item_id, "input": {"text": query.text}} for query in self.queries.arriving])

    def answer(self, bridge: Bridge, *, adjudicate: bool) -> int:
        """Everybody answers what is open to them; returns how many answers were given."""
        given = 0
        for project in bridge.store.projects():
            if (project.key.tier == ADJUDICATION) is adjudicate:
                given += self._answer_project(bridge, project.key.pool, project.key.tier, project.project_id)
        return given

    def _answer_project(self, bridge: Bridge, pool: str, tier: str, project_id: int) -> int:
        """The reviewers of a pool share what one answer is enough for, half each; of a task for two, each answers all."""
        if tier == ADJUDICATION:
            return self.people[adjudicator_of(pool)].work_through(project_id)
        first, second = (self.people[email] for email in reviewers_of(pool))
        if bridge.policy.tier(tier).reviewers == 1:
            tasks = bridge.store.task_counts()
            share = math.ceil(sum(n for key, n in tasks.items() if (key.pool, key.tier) == (pool, tier)) / 2)
            return first.work_through(project_id, most=share) + second.work_through(project_id)
        return first.work_through(project_id) + second.work_through(project_id)

    def _example(self, query: Query, rare: frozenset[str]) -> Mapping[str, object]:
        return {
            "item_id": query.item_id,
            "input": {"text": query.text},
            "output": {"label": query.intent},
            "scenario": self.queries.field_of(query.intent),
            "edge": query.intent in rare,
        }

    def _policy(self) -> str:
        """hitl.yaml. JSON is YAML, and needs no thought about quotes."""
        limits = self.thresholds
        return json.dumps(
            {
                "task": "text-classification",
                "labels": self.queries.labels,
                "label_studio": {"url": self.labeling.url},
                "store": "sqlite:///.hitl/bridge.db",
                "git": {"branch": _BRANCH},
                "triage": {"rules": []},
                "tiers": {
                    "auto": {"max_risk": limits.auto},
                    "quick": {"max_risk": limits.quick, "reviewers": 1, "sla": "4h"},
                    "comprehensive": {
                        "reviewers": REVIEWERS_A_POOL,
                        "sla": "24h",
                        "consensus": "unanimous",
                        "rationale": "required",
                        "checklist": ["I read the whole query", "No other intent fits as well"],
                    },
                },
                "audit": {"rate": limits.audit, "uniform": limits.uniform, "sla": "24h"},
                "expertise": [self._pool(name) for name in self.queries.fields],
            },
            indent=2,
            ensure_ascii=False,
        )

    def _pool(self, name: str) -> Mapping[str, object]:
        """A pool judges what the model takes for one of its intents; the last one takes the rest."""
        pool: dict[str, object] = {"name": name, "reviewers": reviewers_of(name), "adjudicators": [adjudicator_of(name)]}
        if name != list(self.queries.fields)[-1]:
            quoted = ", ".join("'" + label.replace("'", "''") + "'" for label in self.queries.fields[name])
            pool["when"] = f"label IN ({quoted})"
        return pool


def reviewers_of(pool: str) -> list[str]:
    return [f"{_slug(pool)}-{number}@example.com" for number in range(1, REVIEWERS_A_POOL + 1)]


def adjudicator_of(pool: str) -> str:
    return f"{_slug(pool)}-expert@example.com"


def _slug(pool: str) -> str:
    return pool.replace(" ", "-")


def _write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


# --------------------------------------------------------------------------------- what stands on either side


def tasks_shown(client: LabelStudioClient, project_id: int) -> Iterator[Any]:
    """Every task of a project as Label Studio itself lists it, with predictions and annotations."""
    page, total, seen = 1, 1, 0
    while seen < total:
        query: dict[str, str | int] = {
            "project": project_id,
            "page": page,
            "page_size": _PAGE,
            "fields": "all",
            "resolve_uri": "false",
        }
        listed: Any = client.get("/api/tasks/", query)
        if not listed["tasks"]:
            return
        total, page, seen = listed["total"], page + 1, seen + len(listed["tasks"])
        yield from listed["tasks"]


def standing(bridge: Bridge, client: LabelStudioClient) -> Mapping[str, object]:
    """All that a command could have changed: git, the store, and Label Studio's own counts. Equal means nothing happened."""
    status = bridge.status()
    return {
        "git": _git(bridge, "rev-parse", "HEAD") + _git(bridge, "tag", "--list") + _git(bridge, "status", "--porcelain"),
        "items": dict(status.items),
        "decisions": dict(status.decisions),
        "projects": [dict(each) for each in status.projects],
        "versions": [each.tag for each in bridge.store.dataset_versions()],
        "champion": status.champion,
        "label studio": [_remote_counts(client, project.project_id) for project in bridge.store.projects()],
    }


def _remote_counts(client: LabelStudioClient, project_id: int) -> tuple[int, int, int]:
    project: Any = client.get(f"/api/projects/{project_id}/")
    return project["task_number"], project["total_annotations_number"], project["total_predictions_number"]


def _git(bridge: Bridge, *arguments: str) -> str:
    command = ["git", "-C", str(bridge.settings.root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
