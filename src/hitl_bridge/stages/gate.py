"""Stage 4: what was measured → `reports/verdict.json` and `.md`. `core.gating` judges; a person still signs off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hitl_bridge.core.gating.gate import judge
from hitl_bridge.core.gating.page import page
from hitl_bridge.core.gating.report import GateReport, Leakage, Measured, PairedResults
from hitl_bridge.core.model import JSON, Split
from hitl_bridge.errors import UsageError
from hitl_bridge.stages.checks import RESULTS, from_json
from hitl_bridge.stages.entry import run_stage
from hitl_bridge.stages.evaluate import LATENCY, PAIRED
from hitl_bridge.stages.files import read_json, write_bytes, write_json
from hitl_bridge.stages.params import load_params

if TYPE_CHECKING:
    import pyarrow as pa

_REMEDY = "Run `dvc repro`: the stages before the gate make it."


def gate(root: Path) -> str:
    """Judges the candidate of the workspace at `root`; returns the verdict with its first reason."""
    params = load_params(root)
    proof = _object(read_json(root / "reports/data.json", remedy=_REMEDY), "leakage")
    table = _read_paired(root / PAIRED)
    facts = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items() if not key.startswith(b"ARROW")}
    results = replace(
        _paired(table, facts),
        candidate_measured=_measured(root, "candidate"),
        champion_measured=_measured(root, "champion"),
        leakage=_leakage(proof, facts),
        checks=from_json(read_json(root / RESULTS, remedy=_REMEDY)),
    )
    report = judge(results, params.gate)
    cited = {**proof, "candidate_trained_on": facts["candidate_trained_on"], "measured_on": facts["holdout_sha256"]}
    checks = [{**asdict(check), "passed": check.passed} for check in results.checks]
    told = {**_told(report), "checks": checks, "policy": asdict(params.gate), "leakage": cited}
    write_json(root / "reports/verdict.json", told)
    write_bytes(root / "reports/verdict.md", page(report, results, cited).encode())
    return f"Verdict: {report.verdict.value}. {' '.join(report.reasons)}"


def _told(report: GateReport) -> Mapping[str, Any]:
    return {
        "format": 2,
        "verdict": report.verdict.value,
        "reasons": list(report.reasons),
        "candidate": report.candidate_version,
        "champion": report.champion_version,
        "n": report.n,
        "negative_flips": report.negative_flips,
        "tests": [asdict(test) for test in report.tests],
        "slices": [asdict(row) for row in report.slices],
    }


def _read_paired(path: Path) -> pa.Table:
    import pyarrow.parquet as pq

    if not path.is_file():
        raise UsageError(f"There is no {path.name} in {path.parent.name}/.", remedy=_REMEDY)
    return pq.read_table(path)


def _paired(table: pa.Table, facts: Mapping[str, str]) -> PairedResults:
    columns = table.to_pydict()
    commonest = min(Counter(columns["label"]).items(), key=lambda each: (-each[1], each[0]), default=("", 0))[0]
    return PairedResults(
        candidate_version=facts["candidate_version"],
        champion_version=facts.get("champion_version"),
        candidate=columns["candidate_right"],
        champion=columns.get("champion_right", []),
        floor=[label == commonest for label in columns["label"]],
        named=[edge and not doubted for edge, doubted in zip(columns["edge"], columns["doubted"], strict=True)],
        candidate_confidence=columns["candidate_confidence"],
        champion_confidence=columns.get("champion_confidence", []),
        slices={"scenario": columns["scenario"], "label": columns.get("labels", columns["label"])},
    )


def _measured(root: Path, name: str) -> Measured:
    """What `evaluate` measured of a model; nothing where there is no such model."""
    metrics = read_json(root / "reports/metrics.json", remedy=_REMEDY).get(name)
    latency = read_json(root / LATENCY, remedy=_REMEDY).get(name)
    if not isinstance(metrics, Mapping) or not isinstance(latency, Mapping):
        return Measured()
    ece, size, single = _object(metrics, "overall").get("ece"), metrics.get("size_bytes"), latency.get("milliseconds_single")
    return Measured(
        ece=float(ece) if isinstance(ece, int | float) else None,
        latency_ms=float(single) if isinstance(single, int | float) else None,
        size_bytes=size if isinstance(size, int) else None,
    )


def _leakage(proof: Mapping[str, JSON], facts: Mapping[str, str]) -> Leakage:
    """What `prepare` found on both sides; a proof about other files than were used proves nothing."""
    sha256 = _object(proof, "sha256")
    used = (facts["candidate_trained_on"], facts["holdout_sha256"])
    if used != (sha256.get(Split.TRAIN.value), sha256.get(Split.HOLDOUT.value)):
        raise UsageError("reports/data.json is about another snapshot than the models were run on.", remedy="Run `dvc repro`.")
    shared = _object(_object(proof, "shared_with_train"), Split.HOLDOUT.value)
    return Leakage({name: count for name, count in shared.items() if isinstance(count, int)})


def _object(content: Mapping[str, JSON], name: str) -> Mapping[str, JSON]:
    value = content.get(name)
    if not isinstance(value, Mapping):
        raise UsageError(f"A report of the stages before the gate lacks {name!r}.", remedy=_REMEDY)
    return value


if __name__ == "__main__":
    run_stage(gate)
