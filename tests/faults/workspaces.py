"""Workspaces to put to the test: with git, DVC and a DVC remote, or without, which is much faster to make and to copy."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.faults.people import ADJUDICATOR, LABELS, REVIEWERS, truth
from tests.live.command_line import CommandLine
from tests.services.bench import with_git, without_git, write_rows

TEXT_CANARY: Final = "canary-of-a-text"
"""Stands in every input text: it may be in the payloads, and nowhere else."""

POLICY: Final = """\
task: text-classification
labels: [{labels}]
label_studio: {{url: "{url}"}}
git: {{branch: reviews}}
daemon: {{every: 1s, commit_every: 5s, sweep_every: 20s}}
tiers:
  auto: {{max_risk: 0.1}}
  quick: {{max_risk: 0.4, reviewers: 1, sla: 4h}}
  comprehensive: {{reviewers: 2, sla: 24h, consensus: unanimous}}
audit: {{rate: 0.5, uniform: 0.1, sla: 48h}}
expertise:
  - {{name: payments, when: "scenario = 'payments'", reviewers: [{reviewers}], adjudicators: [{adjudicator}]}}
  - {{name: general, reviewers: [{reviewers}], adjudicators: [{adjudicator}]}}
"""

_CONFIDENCES: Final = (0.95, 0.7, 0.7, 0.5)


def policy(url: str) -> str:
    return POLICY.format(labels=", ".join(LABELS), url=url, reviewers=", ".join(REVIEWERS), adjudicator=ADJUDICATOR)


def predictions(prefix: str, count: int) -> list[dict[str, Any]]:
    """A model that is right two times of three, over all tiers and both pools."""
    chance, rows = random.Random(prefix), []
    for number in range(count):
        text = f"{TEXT_CANARY} {prefix} {number}"
        label = truth(text) if chance.random() < 0.67 else chance.choice(LABELS)
        row = {"item_id": f"{prefix}-{number}", "input": {"text": text}, "prediction": {"label": label}, "model_version": "m1"}
        rows.append({**row, "confidence": _CONFIDENCES[number % 4], "scenario": "payments" if number % 3 == 0 else "other"})
    return rows


@dataclass(frozen=True, slots=True)
class Scenario:
    """What `one_cycle` does in a workspace: take in `inputs`, then cycles with people in between, until all is quiet.

    `people` are tokens by e-mail, for the Label Studio at `url`; without any, nobody works. Without `commits` no dataset
    versions are made.
    """

    url: str
    inputs: tuple[str, ...] = ()
    people: Mapping[str, str] = field(default_factory=dict, repr=False)
    commits: bool = False

    def save(self, root: Path) -> None:
        (root / ".hitl" / "scenario.json").write_text(json.dumps(asdict(self)), encoding="utf-8")

    @staticmethod
    def load(root: Path) -> Scenario:
        known = json.loads((root / ".hitl" / "scenario.json").read_text("utf-8"))
        return Scenario(known["url"], tuple(known["inputs"]), known["people"], known["commits"])


def make_workspace(root: Path, url: str, token: str, *, remote: Path | None = None) -> Path:
    """A workspace for the Label Studio at `url`; with a DVC remote it has git and DVC, without it has neither.

    The remote's address is relative, so that a copy of the folder that holds both has a remote of its own.
    """
    if remote is None:
        without_git(root, policy(url))
    else:
        with_git(root, policy(url))
        shell = CommandLine(root)
        shell.dvc("remote", "add", "--quiet", "--default", "storage", os.path.relpath(remote, root))
        shell.git("commit", "--quiet", "--all", "--message", "Where the data goes")
    folder = root / ".hitl" / "label-studio"
    folder.mkdir(mode=0o700, exist_ok=True)
    kept = folder / "token"
    kept.touch(mode=0o600)
    kept.write_text(token, encoding="utf-8")
    return root


def write_predictions(folder: Path, prefix: str, count: int, *, bad_rows: Sequence[str] = ()) -> Path:
    """An input file. `bad_rows` are lines that no prediction is in."""
    return write_rows(folder / f"{prefix}.jsonl", [*predictions(prefix, count), *bad_rows])
