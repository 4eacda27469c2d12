"""Stage 4: the paired results → `reports/verdict.json`. The judgement itself is `core.gate`; a person still signs off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from hitl_bridge.core.gate import PairedResults, judge
from hitl_bridge.core.model import JSON, Split
from hitl_bridge.errors import UsageError
from hitl_bridge.stages.entry import run_stage
from hitl_bridge.stages.evaluate import PAIRED
from hitl_bridge.stages.files import read_json, write_json
from hitl_bridge.stages.params import load_params

if TYPE_CHECKING:
    import pyarrow as pa

_REMEDY = "Run `dvc repro`: the stages before the gate make it."


def gate(root: Path) -> str:
    """Judges the candidate of the workspace at `root`; returns the verdict with its first reason."""
    params = load_params(root)
    proof = _object(read_json(root / "reports/data.json", remedy=_REMEDY), "leakage")
    metrics = read_json(root / "reports/metrics.json", remedy=_REMEDY)
    table = _read_paired(root / PAIRED)
    facts = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items() if not key.startswith(b"ARROW")}
    report = judge(_results(table, facts, metrics, _leaks(proof, facts)), params.gate)
    write_json(
        root / "reports/verdict.json",
        {
            "format": 1,
            "verdict": report.verdict.value,
            "reasons": list(report.reasons),
            "candidate": report.candidate_version,
            "champion": report.champion_version,
            "n": report.n,
            "negative_flips": report.negative_flips,
            "tests": [asdict(test) for test in report.tests],
            "policy": asdict(params.gate),
            "leakage": {**proof, "candidate_trained_on": facts["candidate_trained_on"], "measured_on": facts["holdout_sha256"]},
        },
    )
    return f"Verdict: {report.verdict.value}. {' '.join(report.reasons)}"


def _read_paired(path: Path) -> pa.Table:
    import pyarrow.parquet as pq

    if not path.is_file():
        raise UsageError(f"There is no {path.name} in {path.parent.name}/.", remedy=_REMEDY)
    return pq.read_table(path)


def _results(table: pa.Table, facts: Mapping[str, str], metrics: Mapping[str, JSON], leaks: int) -> PairedResults:
    columns = table.to_pydict()
    commonest = min(Counter(columns["label"]).items(), key=lambda each: (-each[1], each[0]), default=("", 0))[0]
    ece = _object(_object(metrics, "candidate"), "overall").get("ece")
    return PairedResults(
        candidate_version=facts["candidate_version"],
        champion_version=facts.get("champion_version"),
        candidate=columns["candidate_right"],
        champion=columns.get("champion_right", []),
        floor=[label == commonest for label in columns["label"]],
        edge=columns["edge"],
        scenario=columns["scenario"],
        candidate_ece=float(ece) if isinstance(ece, int | float) else None,
        leaks=leaks,
    )


def _leaks(proof: Mapping[str, JSON], facts: Mapping[str, str]) -> int:
    """Items on both sides, by the proof of `prepare`; a proof about other files than were used proves nothing."""
    sha256 = _object(proof, "sha256")
    used = (facts["candidate_trained_on"], facts["holdout_sha256"])
    if used != (sha256.get(Split.TRAIN.value), sha256.get(Split.HOLDOUT.value)):
        raise UsageError("reports/data.json is about another snapshot than the models were run on.", remedy="Run `dvc repro`.")
    counts = _object(_object(proof, "shared_with_train"), Split.HOLDOUT.value).values()
    return sum(count for count in counts if isinstance(count, int))


def _object(content: Mapping[str, JSON], name: str) -> Mapping[str, JSON]:
    value = content.get(name)
    if not isinstance(value, Mapping):
        raise UsageError(f"A report of the stages before the gate lacks {name!r}.", remedy=_REMEDY)
    return value


if __name__ == "__main__":
    run_stage(gate)
