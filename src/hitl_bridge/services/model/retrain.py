"""`dvc repro` on what reviewers decided, and what the gate says of the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from hitl_bridge.core.model import JSON
from hitl_bridge.ports import Clock, Pipeline, SignOffs, Training, WorkspacePaths
from hitl_bridge.services.model.reports import read_json, text, texts

CHECKS = "checks"
"""The user's own must-pass cases, by which the gate judges."""

REPORTS = "reports"
"""Where a retraining leaves what git keeps beside the lock file: metrics, plots, verdict."""


@dataclass(frozen=True, slots=True)
class RetrainPorts:
    """`by` is who has it trained, so that somebody else signs it off; `version` is the newest dataset version (None without)."""

    pipeline: Pipeline
    sign_offs: SignOffs
    clock: Clock
    paths: WorkspacePaths
    pipeline_file: str
    by: str
    version: str | None = None


@dataclass(frozen=True, slots=True)
class RetrainResult:
    """`ran` is False where nothing was new. `verdict` is the gate's; `git_commit` is None where nothing changed."""

    ran: bool
    verdict: str | None
    candidate: str | None
    reasons: tuple[str, ...]
    metrics: Mapping[str, JSON]
    git_commit: str | None


def retrain(ports: RetrainPorts, *, force: bool = False) -> RetrainResult:
    """Runs the pipeline, and commits what it reports together with all that it was made from: base data, policy, parameters.

    A verdict whose gate was loosened in an uncommitted file could not be explained later.
    """
    base = ports.pipeline.track_base()
    ran = ports.pipeline.repro(force=force)
    verdict = read_json(ports.paths.root / "reports" / "verdict.json")
    name = text(verdict.get("candidate")) or "the candidate"
    saved = (*made_from(ports.pipeline_file), CHECKS, *base, REPORTS)
    result = RetrainResult(
        ran=ran,
        verdict=text(verdict.get("verdict")),
        candidate=text(verdict.get("candidate")),
        reasons=texts(verdict.get("reasons")),
        metrics=read_json(ports.paths.root / "reports" / "metrics.json"),
        git_commit=ports.pipeline.save(f"Retrain: {name} – {verdict.get('verdict')}", saved),
    )
    _record(ports, result)
    return result


def _record(ports: RetrainPorts, result: RetrainResult) -> None:
    """Every run, and a candidate that came about without the bridge: whoever asks first has had it trained."""
    if result.candidate is None or not (result.ran or not ports.sign_offs.trained(result.candidate)):
        return
    detail: dict[str, JSON] = {"dataset_version": ports.version, "ran": result.ran}
    ports.sign_offs.record_training(
        Training(result.candidate, result.verdict, ports.by, result.git_commit, ports.clock.now(), detail)
    )


def made_from(pipeline_file: str) -> tuple[str, ...]:
    """The files of a pipeline that `dvc.lock` speaks of, and itself: `review/dvc.yaml` has its parameters beside it."""
    place = PurePosixPath(pipeline_file)
    return ("hitl.yaml", pipeline_file, str(place.with_name("params.yaml")), str(place.with_suffix(".lock")))
