"""What test workspaces are made of."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from hitl_bridge.core.dataset.schema import decision_schema, payload_schema, to_parquet
from hitl_bridge.stages.files import digests, write_json

PROJECT = Path(__file__).parents[2]
WORDS = {
    "refund": ["refund", "money back", "charged twice", "return the payment"],
    "cancel": ["cancel", "end my contract", "stop the subscription", "close the account"],
    "technical": ["error", "app crashes", "login fails", "screen stays black"],
}
LABELS = (*WORDS, "never_seen")
FILLING = ["please", "today", "I think", "again", "since monday", "hello", "urgent", "on my phone", "why", "can you help"]

Row = dict[str, Any]


def texts(n: int, seed: int, prefix: str) -> list[Row]:
    """`n` labelled rows, all with words of their own."""
    chance = random.Random(seed)
    rows: list[Row] = []
    for number in range(n):
        label = list(WORDS)[number % len(WORDS)]
        text = f"{chance.choice(FILLING)} {chance.choice(WORDS[label])} {chance.choice(FILLING)} {prefix}{number}"
        edge = number % 4 == 0
        row = {"item_id": f"{prefix}{number}", "input": {"text": text}, "output": {"label": label}, "edge": edge}
        rows.append({**row, "scenario": ("shop", "bank")[number % 2]})
    return rows


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def decision(item_id: str, label: str | None, **changes: Any) -> Row:
    """A record of the dataset's schema; what is not named has a value that does not matter."""
    filling: Row = {
        field.name: 0 if pa.types.is_integer(field.type) else None for field in decision_schema() if field.name != "edge"
    }
    text = None if label is None else json.dumps({"label": label})
    record = {"op": "add", "item_id": item_id, "outcome": "corrected", "decision": text, "edge": False}
    return {**filling, **record, "purpose": "review", "split": "train", "attributes": "{}", **changes}


def write_version(root: Path, version: str, records: Sequence[Row], inputs: Mapping[str, str]) -> None:
    """One dataset version: its decisions, and the payloads of the items that `inputs` has a text for."""
    payloads = [
        {"item_id": item_id, "revision": 0, "input": json.dumps({"text": text}), "rationale": ""}
        for item_id, text in inputs.items()
    ]
    tables = {
        "decisions": pa.Table.from_pylist(list(records), schema=decision_schema()),
        "payloads": pa.Table.from_pylist(payloads, schema=payload_schema()),
    }
    for kind, table in tables.items():
        (root / "data" / kind / f"{version}.parquet").write_bytes(to_parquet(table))


def environment() -> dict[str, str]:
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}


def run(root: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=root, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def promote(root: Path) -> str:
    """What `hitl-bridge promote` does to the files; returns the model version."""
    shutil.rmtree(root / "models/champion", ignore_errors=True)
    shutil.copytree(root / "models/candidate", root / "models/champion", copy_function=shutil.copyfile)
    version = str(json.loads((root / "models/champion/model.json").read_text())["model_version"])
    pointer = {"model_version": version, "sha256": digests(root / "models/champion")}
    write_json(root / "models/champion.json", {**pointer, "promoted_at": "2026-01-01T00:00:00Z", "by": "x", "reason": "y"})
    return version


def report(root: Path, name: str) -> Any:
    return json.loads((root / "reports" / name).read_text())
