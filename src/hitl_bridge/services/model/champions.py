"""The model in use, held against what was signed off: pointer, files, tags, sign-off."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from hitl_bridge.core.model import JSON
from hitl_bridge.core.signing import Kind, as_texts, files_digest, registry_tags
from hitl_bridge.errors import RefusedForSafety
from hitl_bridge.ports import AccessTokens, Champion, Champions, Registry, SignOff, SignOffs, WorkspacePaths
from hitl_bridge.services.model.reports import read_json
from hitl_bridge.services.model.signing import trouble_with, trusted_signers

POINTER = "models/champion.json"


@dataclass(frozen=True, slots=True)
class ChampionPorts:
    """What is asked about the model in use."""

    champions: Champions
    sign_offs: SignOffs
    registry: Registry
    tokens: AccessTokens
    paths: WorkspacePaths


def standing(ports: ChampionPorts, *, with_files: bool = True) -> Champion | None:
    """The model in use, checked: its files, its pointer, its tags and its sign-off are what they were when it took over
    (without `with_files`: only its tags and sign-off).

    None where there is no champion, or none that this store knows of (a clone elsewhere has a store of its own). Raises
    RefusedForSafety, naming everything that is not so.
    """
    kept = ports.sign_offs.champions()
    if not kept:
        return None
    check_signed_off(ports, kept[-1], _pointer_and_files(ports, kept[-1]) if with_files else ())
    return kept[-1]


def check_signed_off(ports: ChampionPorts, champion: Champion, besides: Iterable[str] = ()) -> None:
    """Raises RefusedForSafety, naming everything that is wrong, `besides` included."""
    wrong = [*besides, *_signed_off(ports, champion)]
    if wrong:
        raise RefusedForSafety(
            f"{champion.model_version} is not what was signed off: {'; '.join(wrong)}.",
            remedy="Nothing was done with it. `git restore -SW -- models` and `dvc checkout --force models/champion.dvc` bring"
            " files back, `git update-ref refs/tags/NAME ID` a tag; `hitl-bridge rollback` the model before.",
        )


def champion_troubles(ports: ChampionPorts) -> list[str]:
    """Everything about this model and all before it that is not as it was signed off."""
    kept = ports.sign_offs.champions()
    pointed = read_json(ports.paths.champion).get("model_version")
    if not kept:
        return [] if pointed is None else [f"{POINTER} names {pointed}, which was never promoted here"]
    told = [f"champion {each.number} ({each.model_version}): {what}" for each in kept for what in _signed_off(ports, each)]
    told += [f"champion {kept[-1].number}: {what}" for what in _pointer_and_files(ports, kept[-1])]
    return [*told, *_others_signed(ports, kept), *_made_by_hand(ports, kept)]


def _pointer_and_files(ports: ChampionPorts, champion: Champion) -> Iterator[str]:
    pointer = read_json(ports.paths.champion)
    if pointer != pointer_at(ports.registry, champion.git_commit):
        yield f"{POINTER} names {pointer.get('model_version')} and is not what promoting {champion.model_version} wrote"
    found = ports.champions.champion_files()
    if not found:
        yield "models/champion is not there (`dvc pull models/champion`)"
        return
    for name in sorted(found.keys() | champion.files.keys()):
        if found.get(name) != champion.files.get(name):
            what = "is no file of it" if name not in champion.files else "is gone" if name not in found else "was changed"
            yield f"models/champion/{name} {what}"


def _points_at(pointer: Mapping[str, JSON], champion: Champion) -> bool:
    return (
        pointer.get("model_version") == champion.model_version
        and pointer.get("number") == champion.number
        and as_texts(pointer.get("sha256")) == dict(champion.files)
    )


def _signed_off(ports: ChampionPorts, champion: Champion) -> Iterator[str]:
    sign_off = next((each for each in ports.sign_offs.of_kind(Kind.MODEL) if each.number == champion.signed_off), None)
    yield from _sign_off_troubles(ports, champion, sign_off)
    for name, tag_id in champion.tags.items():
        found = ports.registry.tag_id(name)
        if found is None:
            yield f"tag {name} was removed (it was {tag_id})"
        elif found != tag_id:
            yield f"tag {name} was moved by hand (it was {tag_id}, and is {found})"
    committed = pointer_at(ports.registry, champion.git_commit)
    if not _points_at(committed, champion) or (sign_off is not None and committed.get("by") != sign_off.approver):
        yield f"commit {champion.git_commit[:12]} does not hold it"


def _sign_off_troubles(ports: ChampionPorts, champion: Champion, sign_off: SignOff | None) -> Iterator[str]:
    if sign_off is None:
        yield "nobody signed it off"
        return
    if sign_off.subject != champion.model_version or sign_off.statement.get("files_sha256") != files_digest(champion.files):
        yield f"sign-off {sign_off.number} is of another model"
    trouble = trouble_with(sign_off, ports.tokens, ports.registry, trusted_signers(ports.sign_offs) or "")
    if trouble is not None:
        yield trouble


def pointer_at(registry: Registry, commit: str) -> Mapping[str, JSON]:
    """What `models/champion.json` said at a commit; empty if it was none."""
    try:
        said = json.loads(registry.content(commit, POINTER) or b"")
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _others_signed(ports: ChampionPorts, kept: Sequence[Champion]) -> Iterator[str]:
    """Sign-offs of what is no champion: of policies and keys, and of promotions that were cut short."""
    used = {each.signed_off for each in kept}
    signers = trusted_signers(ports.sign_offs) or ""
    for kind in Kind:
        for each in ports.sign_offs.of_kind(kind):
            trouble = (
                None if kind is Kind.MODEL and each.number in used else trouble_with(each, ports.tokens, ports.registry, signers)
            )
            if trouble is not None:
                yield f"sign-off of {kind} {each.subject} ({each.number}): {trouble}"


def _made_by_hand(ports: ChampionPorts, kept: Sequence[Champion]) -> Iterator[str]:
    known = {name for each in kept for name in each.tags}
    there = ports.registry.tags()
    for artifact in sorted({each.artifact for each in kept}):
        versions, numbers = registry_tags(artifact, there)
        for name in sorted({*versions.values(), *numbers.values()} - known):
            yield f"tag {name} was made by hand: nothing was promoted with it"
