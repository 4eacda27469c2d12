"""Back to a model that was in use before: one command, and nobody has to be found first.

It was signed off when it took over, and that still has to hold. What is brought back is what was signed off, file by file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hitl_bridge.core.model import JSON
from hitl_bridge.core.signing import Kind, registry_tags, stage_tag, statement_digest, version_tag
from hitl_bridge.errors import UnknownName, UsageError
from hitl_bridge.ports import Champion, Clock, SignOff
from hitl_bridge.services.model.champions import ChampionPorts, check_signed_off
from hitl_bridge.services.model.promote import next_number, pointer_to, registered
from hitl_bridge.services.model.signing import checked_reason


@dataclass(frozen=True, slots=True)
class RollbackResult:
    """`champion` is in use again, `instead_of` not any more; `signed_off_by` is who had signed it off, `by` who went back.
    `git_commit` is None in a dry run. `unpublished`: why its tags are not on the git remote, None where they are, or there is
    no remote."""

    champion: str
    version: str
    instead_of: str
    number: int
    by: str
    signed_off_by: str
    tags: tuple[str, ...]
    git_commit: str | None
    unpublished: str | None = None


def rollback(
    ports: ChampionPorts, clock: Clock, *, by: str, reason: str, to: str | None = None, dry_run: bool = False
) -> RollbackResult:
    """Puts the model that was in use before the present one (or `to`: a model version, or `v1.2.0`) into production.

    Raises UsageError where there is none, RefusedForSafety where its sign-off does not hold any more or its files are not
    what was signed off, OutsideUnavailable where DVC can't bring them back.
    """
    why = checked_reason(reason)
    kept = ports.sign_offs.champions()
    target = _target(kept, to)
    check_signed_off(ports, target)
    sign_off = next(each for each in ports.sign_offs.of_kind(Kind.MODEL) if each.number == target.signed_off)
    _, tagged = registry_tags(target.artifact, ports.registry.tags())
    number = next_number(ports.sign_offs, tagged)
    names = (version_tag(target.artifact, target.version), stage_tag(target.artifact, number))
    commit = None if dry_run else _brought_back(ports, target, sign_off, number, by, why)
    if commit is not None:
        tags = registered(ports, names, sign_off, commit)
        again = replace(target, number=number, git_commit=commit, tags=tags, at=clock.now())
        ports.sign_offs.record_champion(replace(again, by=by, reason=why, rolled_back=True))
    instead_of = kept[-1].model_version
    return RollbackResult(target.model_version, target.version, instead_of, number, by, sign_off.approver, names, commit)


def _target(kept: Sequence[Champion], to: str | None) -> Champion:
    if not kept:
        raise UsageError("No model was ever promoted here.", remedy="`hitl-bridge promote` makes the candidate the champion.")
    present = kept[-1]
    earlier = [each for each in kept[:-1] if each.model_version != present.model_version]
    if to is not None:
        earlier = [each for each in earlier if to in (each.model_version, each.version, version_tag(each.artifact, each.version))]
        if not earlier:
            known = ", ".join(dict.fromkeys(f"{each.version} ({each.model_version})" for each in kept[:-1])) or "none"
            raise UnknownName("earlier champion", to, remedy=f"There were: {known}.")
    elif present.rolled_back:
        # Going back twice goes further back, and not to what was just left.
        before = next(each.number for each in kept if each.signed_off == present.signed_off)
        earlier = [each for each in earlier if each.number < before]
    if not earlier:
        raise UsageError(
            f"There was no champion before {present.model_version}.",
            remedy="`--to` names any that was in use; `promote` a new one.",
        )
    return earlier[-1]


def _brought_back(ports: ChampionPorts, target: Champion, sign_off: SignOff, number: int, by: str, reason: str) -> str:
    key = statement_digest({"rollback": number, "to": target.number, "sign_off": sign_off.statement})
    done = ports.champions.committed_by(key)
    if done is not None:
        return done
    back: dict[str, JSON] = {"by": by, "reason": reason}
    pointer = pointer_to(sign_off, number, target.version, target.files) | {"rolled_back": back}
    subject = f"Roll back to {target.model_version}: {reason}"
    return ports.champions.restore(target.git_commit, pointer, target.files, subject, key)
