"""`dvc repro` on what reviewers decided, and what the gate says of the result: when somebody asks, or when enough is new.

By itself it trains in a clone, and leaves the verdict for an approver: nothing is promoted by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from hitl_bridge.core.model import JSON, DatasetVersion
from hitl_bridge.core.retraining import NewSince, RetrainTerms, due
from hitl_bridge.core.signing import NOBODY
from hitl_bridge.ports import Clock, Pipeline, PipelineApart, SignOffs, Training, WorkspacePaths
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
class RetrainApartPorts:
    """`versions` are all dataset versions, oldest first."""

    sign_offs: SignOffs
    clock: Clock
    versions: Sequence[DatasetVersion]


@dataclass(frozen=True, slots=True)
class RetrainResult:
    """`ran` is False where nothing was new. `verdict` is the gate's; `git_commit` is None where nothing changed."""

    ran: bool
    verdict: str | None
    candidate: str | None
    reasons: tuple[str, ...]
    metrics: Mapping[str, JSON]
    git_commit: str | None = None


def retrain(ports: RetrainPorts, *, force: bool = False) -> RetrainResult:
    """Runs the pipeline, and commits what it reports together with all that it was made from: base data, policy, parameters.

    A verdict whose gate was loosened in an uncommitted file could not be explained later.
    """
    base = ports.pipeline.track_base()
    ran = ports.pipeline.repro(force=force)
    judged = _judged(ports.paths.root)
    saved = (*made_from(ports.pipeline_file), CHECKS, *base, REPORTS)
    result = replace(judged, ran=ran, git_commit=ports.pipeline.save(_message(judged), saved))
    _record(ports, result)
    return result


def _judged(root: Path) -> RetrainResult:
    """What the gate last said in the workspace or clone at `root`."""
    verdict = read_json(root / REPORTS / "verdict.json")
    said, candidate = text(verdict.get("verdict")), text(verdict.get("candidate"))
    return RetrainResult(False, said, candidate, texts(verdict.get("reasons")), read_json(root / REPORTS / "metrics.json"))


def _message(result: RetrainResult) -> str:
    return f"Retrain: {result.candidate or 'the candidate'} – {result.verdict}"


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


def why_due(ports: RetrainApartPorts, terms: RetrainTerms) -> str | None:
    """Why it is time to train again; None while it is not."""
    last = ports.sign_offs.last_training()
    known = [each.version for each in ports.versions]
    seen = None if last is None else last.detail.get("dataset_version")
    since = ports.versions[known.index(seen) + 1 :] if isinstance(seen, str) and seen in known else ports.versions
    decisions = sum(each.added + each.changed + each.removed for each in since)
    corrections = ports.sign_offs.corrections_in([each.version for each in since]) if since else 0
    return due(terms, None if last is None else last.at, NewSince(decisions, corrections), ports.clock.now())


def retrain_apart(ports: RetrainApartPorts, apart: PipelineApart, because: str) -> RetrainResult:
    """Trains in the clone and commits what came of it in the workspace. Nobody in particular has it trained, so that every
    approver may sign it off."""
    apart.refresh()
    ran = apart.repro()
    judged = _judged(apart.root)
    commit = apart.bring_home(f"{_message(judged)}\n\n{because}", (REPORTS,)) if ran else None
    version = ports.versions[-1].version if ports.versions else None
    detail: dict[str, JSON] = {"dataset_version": version, "ran": ran, "because": because}
    name = judged.candidate or "the candidate"
    ports.sign_offs.record_training(Training(name, judged.verdict, NOBODY, commit, ports.clock.now(), detail))
    return replace(judged, ran=ran, git_commit=commit)
