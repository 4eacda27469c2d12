"""`dvc repro` on what reviewers decided, and a named person's word on the result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hitl_bridge.core.model import JSON, Verdict
from hitl_bridge.errors import RefusedForSafety, UsageError
from hitl_bridge.ports import Champions, Clock, Pipeline, WorkspacePaths

REPORTS = "reports"
"""Where a retraining leaves what git keeps beside the lock file: metrics, plots, verdict."""


@dataclass(frozen=True, slots=True)
class RetrainResult:
    """`ran` is False where nothing was new. `verdict` is the gate's; `git_commit` is None where nothing changed."""

    ran: bool
    verdict: str | None
    candidate: str | None
    reasons: tuple[str, ...]
    metrics: Mapping[str, JSON]
    git_commit: str | None


def retrain(pipeline: Pipeline, paths: WorkspacePaths, pipeline_file: str, *, force: bool = False) -> RetrainResult:
    """Runs the pipeline, and commits what it reports together with all that it was made from: base data, policy, parameters.

    A verdict whose gate was loosened in an uncommitted file could not be explained later.
    """
    base = pipeline.track_base()
    ran = pipeline.repro(force=force)
    verdict = read_json(paths.root / "reports" / "verdict.json")
    name = _text(verdict.get("candidate")) or "the candidate"
    commit = pipeline.save(f"Retrain: {name} – {verdict.get('verdict')}", (*made_from(pipeline_file), *base, REPORTS))
    return RetrainResult(
        ran=ran,
        verdict=_text(verdict.get("verdict")),
        candidate=_text(verdict.get("candidate")),
        reasons=_texts(verdict.get("reasons")),
        metrics=read_json(paths.root / "reports" / "metrics.json"),
        git_commit=commit,
    )


def made_from(pipeline_file: str) -> tuple[str, ...]:
    """The files of a pipeline that `dvc.lock` speaks of, and itself: `review/dvc.yaml` has its parameters beside it."""
    place = PurePosixPath(pipeline_file)
    return ("hitl.yaml", pipeline_file, str(place.with_name("params.yaml")), str(place.with_suffix(".lock")))


@dataclass(frozen=True, slots=True)
class PromoteResult:
    """`champion` is the model version in use from now on, `by` who signed it off; `git_commit` is None where it already was
    the champion: then the sign-off that holds is the earlier one."""

    champion: str
    by: str
    overridden: bool
    git_commit: str | None


def promote(
    champions: Champions, paths: WorkspacePaths, clock: Clock, *, by: str, reason: str, override: bool = False
) -> PromoteResult:
    """Makes the candidate the champion, in the name of `by`.

    Raises RefusedForSafety unless the gate said so of this very candidate, or `override`, which is recorded.
    """
    _check_words(by, reason)
    candidate = _text(read_json(paths.root / "models" / "candidate" / "model.json").get("model_version"))
    if candidate is None:
        raise UsageError("There is no candidate yet.", remedy="Run `hitl-bridge retrain` first.")
    standing = read_json(paths.champion)
    if standing.get("model_version") == candidate:
        return PromoteResult(candidate, str(standing.get("by")), bool(standing.get("overridden")), None)
    verdict = read_json(paths.root / "reports" / "verdict.json")
    allowed = verdict.get("verdict") == Verdict.PROMOTE and verdict.get("candidate") == candidate
    if not allowed and not override:
        raise RefusedForSafety(_refusal(candidate, verdict), remedy="See reports/verdict.json; --override is recorded.")
    sign_off: dict[str, JSON] = {
        "by": by,
        "reason": reason,
        "verdict": verdict.get("verdict"),
        "overridden": not allowed,
        "promoted_at": clock.now().isoformat(timespec="seconds"),
    }
    commit = champions.install_candidate(candidate, sign_off)
    return PromoteResult(candidate, by, not allowed, commit)


def _check_words(by: str, reason: str) -> None:
    """A name and a reason, each one line: they go into a commit message, where a second line could pose as a trailer."""
    if not by.strip() or not reason.strip():
        raise UsageError("A promotion needs a name and a reason.", remedy="Give --by and --reason.")
    if not (by + reason).isprintable():
        raise UsageError("The name and the reason must each be one line of plain text.", remedy="Leave line breaks out.")


def _refusal(candidate: str, verdict: Mapping[str, JSON]) -> str:
    if verdict.get("candidate") is None:
        return f"The gate has not judged {candidate}: there is no verdict."
    if verdict.get("candidate") != candidate:
        return f"The gate has not judged {candidate}: its last word was on {verdict.get('candidate')}."
    reasons = "; ".join(_texts(verdict.get("reasons")))
    return f"The gate says {verdict.get('verdict')} to {candidate}: {reasons}"


def read_json(path: Path) -> Mapping[str, JSON]:
    """A JSON object of the workspace; empty where there is no such file yet."""
    if not path.exists():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else {}


def _text(value: JSON) -> str | None:
    return value if isinstance(value, str) else None


def _texts(value: JSON) -> tuple[str, ...]:
    return tuple(str(each) for each in value) if isinstance(value, list) else ()
