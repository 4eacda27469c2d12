"""From a model to what it was made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hitl_bridge.adapters.dvc.past_models import DvcPastModels
from hitl_bridge.adapters.sql.store import open_store
from hitl_bridge.core.model import DatasetVersion
from hitl_bridge.ports import WorkspacePaths
from hitl_bridge.services.model.lineage import LineagePorts, is_in_snapshot, model_life


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_a_model_leads_to_its_versions_figures_and_sign_off(tmp_path: Path) -> None:
    paths = WorkspacePaths(tmp_path)
    store = open_store("sqlite:///bridge.db", tmp_path)
    card = {"model_version": "m-1", "trainer": "sklearn-text", "trained_on": {"rows": 7, "versions": ["v0.1.0", "v0.3.0"]}}
    write(tmp_path / "models/champion/model.json", card)
    write(tmp_path / "models/candidate/model.json", {**card, "model_version": "m-2"})
    write(paths.champion, {"model_version": "m-1", "by": "Dee", "sha256": {"model.json": "0"}})
    write(tmp_path / "reports/metrics.json", {"champion": {"model_version": "m-1", "overall": {"accuracy": 0.9}}})
    write(tmp_path / "reports/verdict.json", {"candidate": "m-2", "verdict": "hold"})
    versions = [version(number) for number in (1, 2, 3)]
    ports = LineagePorts(paths, versions, store.sign_offs(), DvcPastModels(tmp_path, "main"))

    life = told(ports, "m-1")
    assert (life["roles"], life["sign_off"], life["verdict"]) == (["champion"], {"by": "Dee"}, {})
    assert [each["tag"] for each in life["versions"]] == ["decisions@v0.1.0", "decisions@v0.3.0"]
    assert life["figures"]["overall"] == {"accuracy": 0.9}
    assert told(ports, "m-2")["verdict"]["verdict"] == "hold"
    assert model_life(ports, "t-0017") is None
    store.close()


def told(ports: LineagePorts, model_version: str) -> Mapping[str, Any]:
    life = model_life(ports, model_version)
    assert life is not None
    return life


def version(number: int) -> DatasetVersion:
    name = f"v0.{number}.0"
    return DatasetVersion(name, f"decisions@{name}", "c" * 40, 10, 0, 0, datetime(2026, 11, 22, tzinfo=UTC))


def test_the_very_file_that_a_model_was_trained_on_says_whether_an_item_is_in_it(tmp_path: Path) -> None:
    paths, snapshot = WorkspacePaths(tmp_path), tmp_path / "data/snapshot/train.parquet"
    assert is_in_snapshot(paths, {"snapshot_sha256": "0"}, "a") is None
    snapshot.parent.mkdir(parents=True)
    pq.write_table(pa.table({"item_id": ["a", "b"]}), snapshot)
    trained_on = {"snapshot_sha256": hashlib.sha256(snapshot.read_bytes()).hexdigest()}
    assert [is_in_snapshot(paths, trained_on, item) for item in ("a", "c")] == [True, False]
    assert is_in_snapshot(paths, {"snapshot_sha256": "0"}, "a") is None
