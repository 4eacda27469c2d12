"""An approver's yes makes the candidate the champion.

The sign-off comes first, sealed and in the log; then the files, the commit and the tags; then the record of all that. Were we
killed in between, the same command finds the sign-off and the commit, and goes on from there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hitl_bridge.core.model import JSON, Verdict
from hitl_bridge.core.signing import (
    Kind,
    Recipe,
    SignOffTerms,
    artifact_name,
    as_texts,
    files_digest,
    is_same_person,
    next_version,
    registry_tags,
    stage_tag,
    statement_digest,
    version_tag,
)
from hitl_bridge.errors import RefusedForSafety, UsageError
from hitl_bridge.ports import Champion, PipelineOutputs, SignOff, SignOffs
from hitl_bridge.services.model.champions import ChampionPorts, pointer_at, standing
from hitl_bridge.services.model.reports import read_json, text, texts
from hitl_bridge.services.model.signing import Approvals, Approver, Wanted, checked_reason, given, who_approves

CANDIDATE, VERDICT = "models/candidate", "reports/verdict.json"


@dataclass(frozen=True, slots=True)
class PromotePorts:
    """`lock_file` is the pipeline's, in which its outputs are pledged."""

    model: ChampionPorts
    approvals: Approvals
    outputs: PipelineOutputs
    terms: SignOffTerms
    lock_file: str = "dvc.lock"


@dataclass(frozen=True, slots=True)
class PromoteResult:
    """`champion` is the model version in use from now on, `by` who signed it off and `method` how that is known (token,
    signature). `git_commit` is None where it already was the champion: then the sign-off that holds is the earlier one.
    `against` says why the gate said otherwise where it was overridden. In a dry run `by` is None: nobody was asked.
    `thresholds` says what became of the new champion's: `proposed` ones wait for their own sign-off. `unpublished`: why its tags
    are not on the git remote, None where they are or there is none."""

    champion: str
    version: str
    number: int
    by: str | None
    method: str | None
    overridden: bool
    against: tuple[str, ...]
    trained_by: tuple[str, ...]
    tags: tuple[str, ...]
    git_commit: str | None
    thresholds: str | None = None
    unpublished: str | None = None


@dataclass(frozen=True, slots=True)
class _Candidate:
    """What is to be promoted."""

    model_version: str
    card: Mapping[str, JSON]
    files: Mapping[str, str]
    artifact: str
    version: str
    number: int
    verdict: Mapping[str, JSON]
    overridden: bool
    trained_by: tuple[str, ...]

    @property
    def tags(self) -> tuple[str, str]:
        return version_tag(self.artifact, self.version), stage_tag(self.artifact, self.number)


def promote(ports: PromotePorts, *, reason: str, override: bool = False, dry_run: bool = False) -> PromoteResult:
    """Makes the candidate the champion.

    Raises RefusedForSafety unless the gate said `promote` of this very candidate (or `override`, which is recorded), its files
    and the verdict are what the pipeline committed, and an approver who did not have it trained says yes.
    """
    why = checked_reason(reason)
    unfinished = _unfinished(ports.model.sign_offs)
    if not dry_run:
        _finish(ports, unfinished)
    champion = standing(ports.model, with_files=not unfinished)
    candidate = _candidate(ports, champion, override=override)
    if champion is not None and champion.model_version == candidate.model_version:
        return _already(ports, champion)
    _check_allowed(candidate, override=override)
    _check_untouched(ports, candidate)
    if dry_run:
        return _result(candidate, None, None)
    sign_off = _pending(ports, candidate) or _signed_off(ports, candidate, why)
    commit = _installed(ports, candidate, sign_off)
    _registered(ports, sign_off, candidate.files, commit)
    return _result(candidate, sign_off, commit)


# ------------------------------------------------------------------------------------------------ may it be promoted?


def _candidate(ports: PromotePorts, champion: Champion | None, *, override: bool) -> _Candidate:
    root = ports.model.paths.root
    card = read_json(root / CANDIDATE / "model.json")
    version = text(card.get("model_version"))
    if version is None:
        raise UsageError("There is no candidate yet.", remedy="Run `hitl-bridge retrain` first.")
    verdict = read_json(root / VERDICT)
    passed = verdict.get("verdict") == Verdict.PROMOTE and verdict.get("candidate") == version
    artifact = artifact_name(card, version)
    known = ports.model.sign_offs.champions()
    files = ports.model.champions.candidate_files()
    versions, numbers = registry_tags(artifact, ports.model.registry.tags())
    earlier = next((each.version for each in known if (each.model_version, each.files) == (version, files)), None)
    before = None if champion is None else Recipe.of(read_json(root / "models" / "champion" / "model.json"))
    return _Candidate(
        model_version=version,
        card=card,
        files=files,
        artifact=artifact,
        version=earlier or next_version([*versions, *(each.version for each in known)], before, Recipe.of(card)),
        number=_next_number(ports, numbers),
        verdict=verdict,
        overridden=not passed and override,
        trained_by=tuple(dict.fromkeys(each.by for each in ports.model.sign_offs.trained(version))),
    )


def _next_number(ports: PromotePorts, tagged: Iterable[int]) -> int:
    """Above all that was ever used: by a champion, a sign-off, or a tag of a store that is no more."""
    return next_number(ports.model.sign_offs, tagged)


def _check_allowed(candidate: _Candidate, *, override: bool) -> None:
    verdict = candidate.verdict
    if verdict.get("candidate") == candidate.model_version and verdict.get("verdict") == Verdict.PROMOTE:
        return
    if not override:
        raise RefusedForSafety(_refusal(candidate), remedy="See reports/verdict.json; --override is recorded.")


def _refusal(candidate: _Candidate) -> str:
    name, verdict = candidate.model_version, candidate.verdict
    if verdict.get("candidate") is None:
        return f"The gate has not judged {name}: there is no verdict."
    if verdict.get("candidate") != name:
        return f"The gate has not judged {name}: its last word was on {verdict.get('candidate')}."
    return f"The gate says {verdict.get('verdict')} to {name}: {'; '.join(texts(verdict.get('reasons')))}"


def _check_untouched(ports: PromotePorts, candidate: _Candidate) -> None:
    """A verdict that was typed, a model file that was changed by a byte: neither is what the pipeline committed."""
    judged = (VERDICT,) if candidate.verdict.get("candidate") == candidate.model_version else ()
    wrong = ports.outputs.altered((CANDIDATE, *judged))
    if wrong:
        raise RefusedForSafety(
            f"What is to be promoted is not what was trained and judged: {'; '.join(wrong)}.",
            remedy="`hitl-bridge retrain` judges what is there and commits it; `dvc checkout --force` brings back the trained.",
        )


def _check_four_eyes(ports: PromotePorts, candidate: _Candidate, who: Approver) -> bool:
    """Whether it is somebody who had it trained. Raises RefusedForSafety where that is not allowed."""
    same = [each for each in candidate.trained_by if is_same_person(who.name, each)]
    if not ports.terms.four_eyes:
        return bool(same)
    if not candidate.trained_by:
        raise RefusedForSafety(
            f"It is not known who had {candidate.model_version} trained, so nobody can be told to be somebody else.",
            remedy="Run `hitl-bridge retrain` (nothing is trained twice), or set `sign_off: {four_eyes: false}` in hitl.yaml.",
        )
    if same:
        raise RefusedForSafety(
            f"{who.name} had {candidate.model_version} trained ({same[0]}): somebody else signs it off.",
            remedy="Ask another approver, or set `sign_off: {four_eyes: false}` in hitl.yaml; that is recorded.",
        )
    return False


# ---------------------------------------------------------------------------------------------------- signing it off


def _pending(ports: PromotePorts, candidate: _Candidate) -> SignOff | None:
    """A sign-off of this very candidate that was given and never carried out."""
    wanted = (candidate.model_version, files_digest(candidate.files))
    found = [each for each in _unfinished(ports.model.sign_offs) if (each.subject, each.statement.get("files_sha256")) == wanted]
    return found[-1] if found else None


def _signed_off(ports: PromotePorts, candidate: _Candidate, reason: str) -> SignOff:
    files = (ports.lock_file, VERDICT)
    wanted = Wanted(Kind.MODEL, candidate.model_version, candidate.number, reason, files, candidate.overridden)
    who = who_approves(ports.approvals, wanted)
    same = _check_four_eyes(ports, candidate, who)
    sign_off = given(wanted, who, _statement(ports, candidate, same_person=same), ports.approvals.clock)
    if not ports.model.sign_offs.record(sign_off):
        raise RefusedForSafety("Somebody else promotes at this moment.", remedy="Look at `hitl-bridge status`, then try again.")
    return sign_off


def _statement(ports: PromotePorts, candidate: _Candidate, *, same_person: bool) -> dict[str, JSON]:
    verdict = (ports.model.paths.root / VERDICT).read_bytes() if candidate.verdict else b""
    trained_on = candidate.card.get("trained_on")
    return {
        "model_version": candidate.model_version,
        "files_sha256": files_digest(candidate.files),
        "artifact": candidate.artifact,
        "version": candidate.version,
        "verdict": candidate.verdict.get("verdict"),
        "verdict_sha256": hashlib.sha256(verdict).hexdigest(),
        "against": list(_against(candidate)),
        "dataset_versions": trained_on.get("versions") if isinstance(trained_on, Mapping) else None,
        "trained_by": list(candidate.trained_by),
        "four_eyes": ports.terms.four_eyes,
        "same_person": same_person,
    }


def _against(candidate: _Candidate) -> tuple[str, ...]:
    return (_refusal(candidate),) if candidate.overridden else ()


# ------------------------------------------------------------------------------------------------------ carrying it out


def _installed(ports: PromotePorts, candidate: _Candidate, sign_off: SignOff) -> str:
    key = statement_digest(sign_off.statement)
    done = ports.model.champions.committed_by(key)
    if done is not None:
        return done
    pointer = pointer_to(sign_off, sign_off.number, candidate.version, candidate.files)
    subject = f"Promote {candidate.model_version}: {sign_off.reason}"
    return ports.model.champions.install_candidate(pointer, candidate.files, subject, key)


def pointer_to(sign_off: SignOff, number: int, version: str, files: Mapping[str, str]) -> dict[str, JSON]:
    """What `models/champion.json` says."""
    return {
        "model_version": sign_off.subject,
        "sha256": dict(files),
        "version": version,
        "number": number,
        "by": sign_off.approver,
        "reason": sign_off.reason,
        "verdict": sign_off.statement.get("verdict"),
        "overridden": bool(sign_off.statement.get("overridden")),
        "promoted_at": sign_off.at.isoformat(timespec="seconds"),
        "sign_off": {"method": sign_off.method.value, "number": sign_off.number, "proof": sign_off.proof},
    }


def _registered(ports: PromotePorts, sign_off: SignOff, files: Mapping[str, str], commit: str) -> None:
    artifact, version = str(sign_off.statement["artifact"]), str(sign_off.statement["version"])
    tags = registered(ports.model, (version_tag(artifact, version), stage_tag(artifact, sign_off.number)), sign_off, commit)
    ports.model.sign_offs.record_champion(
        Champion(
            number=sign_off.number,
            artifact=artifact,
            model_version=sign_off.subject,
            version=version,
            files=files,
            signed_off=sign_off.number,
            git_commit=commit,
            tags=tags,
            by=sign_off.approver,
            reason=sign_off.reason,
            rolled_back=False,
            at=ports.approvals.clock.now(),
        )
    )


def registered(ports: ChampionPorts, names: Sequence[str], sign_off: SignOff, commit: str) -> dict[str, str]:
    """The tags of a champion by name, the version's first, with their ids. A version's tag stays where it was first put, and
    the stage's is put beside it: that is how `gto` knows which version is in production."""
    known = {name: tag_id for each in ports.sign_offs.champions() for name, tag_id in each.tags.items()}
    message = f"{sign_off.subject}: {sign_off.reason}\n\nSigned off by {sign_off.approver} ({sign_off.method}).\n"
    there = ports.registry.commit_of(names[0]) or commit
    return {name: known.get(name) or ports.registry.tag(name, there, message) for name in names}


def next_number(sign_offs: SignOffs, tagged: Iterable[int]) -> int:
    """The next production number."""
    used = [each.number for each in sign_offs.champions()] + [each.number for each in sign_offs.of_kind(Kind.MODEL)]
    return 1 + max([*used, *tagged], default=0)


def _unfinished(sign_offs: SignOffs) -> list[SignOff]:
    """Sign-offs since the last champion took over: whoever carried them out was killed, or refused half way."""
    last = max((each.number for each in sign_offs.champions()), default=0)
    return [each for each in sign_offs.of_kind(Kind.MODEL) if each.number > last]


def _finish(ports: PromotePorts, unfinished: Sequence[SignOff]) -> None:
    """Of those, what was committed gets its tags and its record."""
    for each in unfinished:
        commit = ports.model.champions.committed_by(statement_digest(each.statement))
        files = {} if commit is None else as_texts(pointer_at(ports.model.registry, commit).get("sha256"))
        if commit is not None and files_digest(files) == each.statement.get("files_sha256"):
            _registered(ports, each, files, commit)


def _already(ports: PromotePorts, champion: Champion) -> PromoteResult:
    sign_offs: Sequence[SignOff] = ports.model.sign_offs.of_kind(Kind.MODEL)
    given_then = next(each for each in sign_offs if each.number == champion.signed_off)
    overridden = bool(given_then.statement.get("overridden"))
    trained = texts(given_then.statement.get("trained_by"))
    tags = tuple(champion.tags)
    by, method = given_then.approver, given_then.method.value
    return PromoteResult(
        champion.model_version, champion.version, champion.number, by, method, overridden, (), trained, tags, None
    )


def _result(candidate: _Candidate, sign_off: SignOff | None, commit: str | None) -> PromoteResult:
    return PromoteResult(
        champion=candidate.model_version,
        version=candidate.version,
        number=candidate.number if sign_off is None else sign_off.number,
        by=None if sign_off is None else sign_off.approver,
        method=None if sign_off is None else sign_off.method.value,
        overridden=candidate.overridden,
        against=_against(candidate),
        trained_by=candidate.trained_by,
        tags=candidate.tags,
        git_commit=commit,
    )
