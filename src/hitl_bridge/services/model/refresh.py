"""Trains again when enough is new, in a clone, and leaves the verdict for an approver: nothing is promoted by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hitl_bridge.core.model import JSON, DatasetVersion
from hitl_bridge.core.refresh import NewSince, RetrainTerms, due
from hitl_bridge.core.signing import NOBODY
from hitl_bridge.ports import Clock, PipelineApart, SignOffs, Training
from hitl_bridge.services.model.reports import read_json, text, texts
from hitl_bridge.services.model.retrain import REPORTS, RetrainResult


@dataclass(frozen=True, slots=True)
class RefreshPorts:
    """`versions` are all dataset versions, oldest first."""

    sign_offs: SignOffs
    clock: Clock
    versions: Sequence[DatasetVersion]


def why_due(ports: RefreshPorts, terms: RetrainTerms) -> str | None:
    """Why it is time to train again; None while it is not."""
    last = ports.sign_offs.last_training()
    known = [each.version for each in ports.versions]
    seen = None if last is None else last.detail.get("dataset_version")
    since = ports.versions[known.index(seen) + 1 :] if isinstance(seen, str) and seen in known else ports.versions
    decisions = sum(each.added + each.changed + each.removed for each in since)
    corrections = ports.sign_offs.corrections_in([each.version for each in since]) if since else 0
    return due(terms, None if last is None else last.at, NewSince(decisions, corrections), ports.clock.now())


def retrain_apart(ports: RefreshPorts, apart: PipelineApart, because: str) -> RetrainResult:
    """Trains in the clone and commits what came of it in the workspace. Nobody in particular has it trained, so that every
    approver may sign it off."""
    apart.refresh()
    ran = apart.repro()
    verdict = read_json(apart.root / "reports" / "verdict.json")
    name = text(verdict.get("candidate")) or "the candidate"
    commit = apart.bring_home(f"Retrain: {name} – {verdict.get('verdict')}\n\n{because}", (REPORTS,)) if ran else None
    version = ports.versions[-1].version if ports.versions else None
    detail: dict[str, JSON] = {"dataset_version": version, "ran": ran, "because": because}
    said = text(verdict.get("verdict"))
    ports.sign_offs.record_training(Training(name, said, NOBODY, commit, ports.clock.now(), detail))
    metrics = read_json(apart.root / "reports" / "metrics.json")
    return RetrainResult(ran, said, text(verdict.get("candidate")), texts(verdict.get("reasons")), metrics, commit)
