"""Sign-offs: what is forged, moved or changed by a byte is refused, and named."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hitl_bridge.adapters.dvc.outputs import LockedOutputs
from hitl_bridge.adapters.git.remotely import GitTagRemote
from hitl_bridge.adapters.git.signatures import GitRegistry
from hitl_bridge.core.signing import Kind
from hitl_bridge.errors import OutsideUnavailable, RefusedForSafety, UnknownName, UsageError
from hitl_bridge.services.keeping.access import make_token, revoke_token
from hitl_bridge.services.model.promote import PromotePorts, promote
from hitl_bridge.services.model.publish import CaughtUp, catch_up, known_tags, publish_tags
from hitl_bridge.services.model.signing import Approvals
from tests.services.approving import DEE, allow, key_of, sign_tag, small_pipeline, token_of, verdict_will_be
from tests.services.bench import ANA, Bench, git, row

FIRST, SECOND = "m-1-promote", "m-1-promote-2"
THE_TAG = f"sign-off/{SECOND}#2"


@pytest.fixture(scope="module")
def promoted(git_template: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Made once: a workspace with a champion that Dee signed off, and a candidate that waits; and Dee's token."""
    root = shutil.copytree(git_template, tmp_path_factory.mktemp("promoted") / "workspace")
    bench = Bench(root)
    small_pipeline(root)
    bench.pushed(row("one"))
    bench.answer("one", ANA, "billing")
    bench.brought_back()
    bench.bridge.commit()
    token = token_of(bench.bridge)
    verdict_will_be(root, "promote")
    bench.bridge.retrain()
    bench.bridge.promote(reason="The first one", token=token)
    verdict_will_be(root, "promote-2")
    bench.bridge.retrain()
    bench.bridge.close()
    return root, token


@pytest.fixture
def token(promoted: tuple[Path, str]) -> str:
    return promoted[1]


@pytest.fixture
def bench(promoted: tuple[Path, str], tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(shutil.copytree(promoted[0], tmp_path / "workspace"))
    yield bench
    bench.bridge.close()


def in_production(root: Path) -> str:
    """What `gto show` says."""
    command = [str(Path(sys.executable).with_name("gto")), "show", "--json"]
    shown = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
    return str(json.loads(shown.stdout)["intent"]["stage"]["production"])


def traced(bench: Bench, model_version: str) -> Any:
    return bench.bridge.trace_model(model_version)


def troubles(bench: Bench) -> str:
    return "\n".join(problem.what for problem in bench.bridge.verify_audit().problems)


# ----------------------------------------------------------------------------------------------------- who says yes


def test_nobody_signs_off_in_the_name_of_another(bench: Bench, token: str) -> None:
    bridge = bench.bridge
    with pytest.raises(RefusedForSafety, match="has no sign-off") as nobody:
        bridge.promote(reason="Now")
    assert "token new approver" in nobody.value.remedy
    with pytest.raises(RefusedForSafety, match="wrong, or was revoked"):
        bridge.promote(reason="Now", token=token[:-1] + ("A" if token[-1] != "A" else "B"))
    with pytest.raises(RefusedForSafety, match="'prometheus' is not an approver's"):
        bridge.promote(reason="Now", token=token_of(bridge, "prometheus"))
    with pytest.raises(RefusedForSafety, match=r"approver\.ana had m-1-promote-2 trained \(Ana <ana@example.com>\)"):
        bridge.promote(reason="Now", token=token_of(bridge, "approver.ana"))
    revoke_token(bridge.access_tokens, bridge.clock, DEE, by="Admin")
    with pytest.raises(RefusedForSafety, match="wrong, or was revoked"):
        bench.opened().promote(reason="Now", token=token)
    assert bridge.status().champion == FIRST
    assert [each.number for each in bridge.store.sign_offs().of_kind(Kind.MODEL)] == [1]
    assert troubles(bench) == ""


def test_with_an_approver_s_token_the_next_model_takes_over_and_gto_shows_it(bench: Bench, token: str) -> None:
    foreseen = bench.bridge.promote(reason="Better", token=token, dry_run=True)
    assert (foreseen.champion, foreseen.by, foreseen.git_commit) == (SECOND, None, None)
    result = bench.bridge.promote(reason="Better", token=token)
    assert (result.by, result.version, result.number) == (DEE, "v1.0.1", 2)
    assert result.tags == ("intent@v1.0.1", "intent#production#2") == foreseen.tags
    assert in_production(bench.root) == "v1.0.1"
    assert troubles(bench) == ""


def test_a_tag_that_an_approver_signed_is_a_sign_off(bench: Bench, tmp_path: Path) -> None:
    key = key_of(tmp_path, "eve@example.com")
    allow(bench.root, "eve@example.com", key)
    with pytest.raises(RefusedForSafety, match=re.escape(f"no signed tag {THE_TAG}")):
        bench.bridge.promote(reason="Now")
    sign_tag(bench.root, key, THE_TAG)
    result = bench.bridge.promote(reason="Signed by hand")
    assert (result.by, result.method, result.champion) == ("eve@example.com", "signature", SECOND)
    assert troubles(bench) == ""

    git(bench.root, "tag", "--delete", THE_TAG)
    assert f"champion 2 ({SECOND}): tag {THE_TAG} was removed" in troubles(bench)
    (bench.root / "allowed_signers").write_text("")
    assert bench.bridge.policy_standing().signers_changed


def test_forged_signatures_are_refused_and_each_says_why(bench: Bench, tmp_path: Path) -> None:
    eve, mallory = (key_of(tmp_path, f"{name}@example.com") for name in ("eve", "mallory"))
    allow(bench.root, "eve@example.com", eve)
    registry = GitRegistry(bench.root, "reviews")
    signers = (bench.root / "allowed_signers").read_text()

    def refused(why: str) -> None:
        with pytest.raises(RefusedForSafety, match=why):
            registry.signed(THE_TAG, signers)
        with pytest.raises(RefusedForSafety, match=why):
            bench.bridge.promote(reason="Now")
        git(bench.root, "tag", "--delete", THE_TAG)

    git(bench.root, "tag", THE_TAG)
    refused("it is a plain pointer")
    git(bench.root, "tag", "--annotate", "--message=eve@example.com says yes", THE_TAG)
    refused("it is not signed")
    sign_tag(bench.root, mallory, THE_TAG)
    refused("its key is not one of the allowed signers")
    sign_tag(bench.root, eve, f"sign-off/{FIRST}#1")
    git(bench.root, "update-ref", f"refs/tags/{THE_TAG}", git(bench.root, "rev-parse", f"refs/tags/sign-off/{FIRST}#1"))
    refused("it was signed as 'sign-off/m-1-promote#1' and put there by hand")
    sign_tag(bench.root, eve, THE_TAG)
    signed = subprocess.run(["git", "cat-file", "tag", THE_TAG], cwd=bench.root, check=True, capture_output=True).stdout
    forged = signed.replace(b"Looks right", b"Looks wrong")
    made = subprocess.run(["git", "mktag"], cwd=bench.root, input=forged, check=True, capture_output=True, text=False)
    git(bench.root, "update-ref", f"refs/tags/{THE_TAG}", made.stdout.decode().strip())
    refused("its signature is not good")


def test_a_signature_says_yes_to_what_was_there_and_to_an_override_only_in_words(bench: Bench, tmp_path: Path) -> None:
    eve = key_of(tmp_path, "eve@example.com")
    allow(bench.root, "eve@example.com", eve)
    sign_tag(bench.root, eve, THE_TAG, commit="HEAD~2")
    with pytest.raises(RefusedForSafety, match=r"another dvc\.lock"):
        bench.bridge.promote(reason="Now")
    git(bench.root, "tag", "--delete", THE_TAG)
    verdict_will_be(bench.root, "hold")
    bench.bridge.retrain()
    tag = "sign-off/m-1-hold#2"
    sign_tag(bench.root, eve, tag)
    with pytest.raises(RefusedForSafety, match="not against the gate's verdict"):
        bench.bridge.promote(reason="Now", override=True)
    git(bench.root, "tag", "--delete", tag)
    sign_tag(bench.root, eve, tag, "Yes\n\nOverride: the customer waits")
    result = bench.bridge.promote(reason="Now", override=True)
    assert (result.by, result.overridden) == ("eve@example.com", True)

    allow(bench.root, "mallory@example.com", key_of(tmp_path, "mallory@example.com"))
    verdict_will_be(bench.root, "promote-3")
    bench.bridge.retrain()
    with pytest.raises(RefusedForSafety, match="allowed_signers was changed since its keys were agreed to"):
        bench.bridge.promote(reason="Now")
    token = token_of(bench.bridge, "approver.fay")
    assert bench.bridge.approve_policy(reason="Mallory joins us", token=token).by == "approver.fay"
    with pytest.raises(RefusedForSafety, match="no signed tag"):
        bench.bridge.promote(reason="Now")


# --------------------------------------------------------------------------------------- what was changed by hand


def test_a_model_file_that_was_changed_by_a_byte_is_refused_and_named(bench: Bench, token: str) -> None:
    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[0] ^= 1
        path.unlink()  # not the cache's copy, if it is linked
        path.write_bytes(content)

    models = bench.root / "models"
    flip(models / "candidate" / "weights.bin")
    with pytest.raises(RefusedForSafety, match=r"models/candidate: is not what the pipeline wrote"):
        bench.bridge.promote(reason="Now", token=token)
    assert LockedOutputs(bench.root, "reviews").altered(["models/candidate", "reports/verdict.json", "nothing"]) == [
        "models/candidate: is not what the pipeline wrote (committed dvc.lock)",
        "nothing: is not in the dvc.lock that is committed",
    ]
    flip(models / "candidate" / "weights.bin")
    flip(models / "champion" / "weights.bin")
    for verb in (bench.bridge.champion, lambda: bench.bridge.promote(reason="Now", token=token), bench.bridge.retrain):
        with pytest.raises(RefusedForSafety, match=r"models/champion/weights\.bin was changed"):
            verb()
    assert "champion 1: models/champion/weights.bin was changed" in troubles(bench)
    flip(models / "champion" / "weights.bin")
    assert troubles(bench) == ""


def test_a_verdict_or_a_pointer_that_was_typed_is_refused_and_named(bench: Bench, token: str) -> None:
    verdict = bench.root / "reports" / "verdict.json"
    verdict.write_text(verdict.read_text().replace("because of the test", "because I say so"))
    with pytest.raises(RefusedForSafety, match=r"reports/verdict\.json: is not what the pipeline wrote"):
        bench.bridge.promote(reason="Now", token=token)
    git(bench.root, "checkout", "--", "reports")
    pointer = bench.root / "models" / "champion.json"
    typed = json.loads(pointer.read_text()) | {"model_version": SECOND, "by": DEE}
    pointer.write_text(json.dumps(typed))
    with pytest.raises(RefusedForSafety, match=rf"champion\.json names {SECOND}"):
        bench.bridge.champion()
    git(bench.root, "commit", "--all", "--quiet", "--message=Promote it: all is well")
    assert "models/champion.json names m-1-promote-2 and is not what promoting m-1-promote wrote" in troubles(bench)


def test_a_tag_that_was_moved_removed_or_made_by_hand_is_named(bench: Bench, token: str) -> None:
    version, stage = "intent@v1.0.0", "intent#production#1"
    was = git(bench.root, "rev-parse", f"refs/tags/{stage}")
    git(bench.root, "tag", "--force", "--annotate", "--message=Moved", stage, "HEAD")
    for verb in (bench.bridge.champion, lambda: bench.bridge.promote(reason="Now", token=token)):
        with pytest.raises(RefusedForSafety, match=rf"tag {stage} was moved by hand \(it was {was}"):
            verb()
    assert f"tag {stage} was moved by hand" in troubles(bench)
    git(bench.root, "update-ref", f"refs/tags/{stage}", was)
    git(bench.root, "tag", "--delete", version)
    assert f"tag {version} was removed" in troubles(bench)
    git(bench.root, "tag", "--annotate", "--message=Mine", "intent#production#7", "HEAD")
    assert "tag intent#production#7 was made by hand: nothing was promoted with it" in troubles(bench)


def test_rows_that_were_put_in_or_edited_in_the_database_are_named(bench: Bench) -> None:
    import sqlite3

    with sqlite3.connect(bench.root / ".hitl" / "bridge.db") as connection:
        with pytest.raises(sqlite3.DatabaseError, match="can not be changed"):
            connection.execute("UPDATE sign_offs SET approver = 'approver.mallory'")
        connection.execute("DROP TRIGGER sign_offs_no_update")
        connection.execute("UPDATE sign_offs SET approver = 'approver.mallory' WHERE kind = 'model'")
    said = troubles(bench)
    assert "sign-off model 1 is not what the log says was written: it was edited" in said
    assert "the seal of approver.mallory is forged" in said


# ------------------------------------------------------------------------------------------------------ going back


def test_rollback_goes_back_in_one_command_and_further_the_next_time(bench: Bench, token: str) -> None:
    with pytest.raises(UsageError, match="no champion before m-1-promote"):
        bench.bridge.rollback(reason="Worse")
    bench.bridge.promote(reason="Better", token=token)
    assert bench.bridge.rollback(reason="Worse", dry_run=True).git_commit is None
    back = bench.bridge.rollback(reason="Customers complain")
    assert (back.champion, back.version, back.instead_of, back.number) == (FIRST, "v1.0.0", SECOND, 3)
    assert (back.by, back.signed_off_by) == ("Ana <ana@example.com>", DEE)
    assert (bench.root / "models" / "champion" / "weights.bin").read_bytes() == FIRST.encode()
    assert in_production(bench.root) == "v1.0.0"
    assert bench.bridge.status().champion == FIRST
    assert git(bench.root, "status", "--porcelain") == ""
    assert troubles(bench) == ""
    with pytest.raises(UsageError, match="no champion before"):
        bench.bridge.rollback(reason="Further")
    with pytest.raises(UnknownName, match=r"v9\.0\.0"):
        bench.bridge.rollback(reason="There", to="v9.0.0")
    forth = bench.bridge.promote(reason="It was something else", token=token)
    assert (forth.champion, forth.version, forth.number) == (SECOND, "v1.0.1", 4)
    assert in_production(bench.root) == "v1.0.1"
    foreseen = bench.bridge.rollback(reason="No", to="v1.0.0", dry_run=True)
    assert (foreseen.champion, foreseen.number, foreseen.git_commit) == (FIRST, 5, None)
    assert troubles(bench) == ""


def test_what_dvc_brings_back_must_be_what_was_signed_off(bench: Bench, token: str) -> None:
    bench.bridge.promote(reason="Better", token=token)
    for held in (bench.root / ".dvc" / "cache").rglob("*"):
        if held.is_file() and held.read_bytes() == FIRST.encode():
            held.chmod(0o644)
            held.write_bytes(b"something else")
    with pytest.raises((RefusedForSafety, OutsideUnavailable)):
        bench.bridge.rollback(reason="Worse")
    assert bench.bridge.status().champion == SECOND
    assert bench.bridge.champion() is not None


# ---------------------------------------------------------------------------------------------------- cut short


class Killed(Exception):
    pass


class DyingRegistry(GitRegistry):
    """Dies before it makes its first tag."""

    def tag(self, name: str, commit: str, message: str) -> str:
        raise Killed


def test_a_promotion_that_was_cut_short_is_finished_by_running_it_again(bench: Bench, token: str) -> None:
    bridge = bench.bridge
    dying = DyingRegistry(bench.root, "reviews")
    model = replace(bridge._champion_ports, registry=dying)
    approvals = Approvals(
        bridge.store.sign_offs(), bridge.access_tokens, dying, bridge.clock, bench.root / "allowed_signers", token=token
    )
    ports = PromotePorts(model, approvals, LockedOutputs(bench.root, "reviews"), bridge.settings.sign_off)
    with pytest.raises(Killed):
        promote(ports, reason="Better")
    commit = git(bench.root, "rev-parse", "HEAD")
    with pytest.raises(RefusedForSafety, match=rf"names {SECOND}"):
        bridge.champion()
    bridge.promote(reason="Better", token=token)
    standing = bridge.champion()
    assert standing is not None
    assert (standing.model_version, standing.number, standing.git_commit) == (SECOND, 2, commit)
    assert git(bench.root, "rev-parse", "HEAD") == commit
    assert len(bridge.store.sign_offs().of_kind(Kind.MODEL)) == 2
    assert troubles(bench) == ""


def test_a_candidate_that_came_about_without_the_bridge_has_whoever_asks_first(bench: Bench) -> None:
    make_token(bench.bridge.access_tokens, bench.clock, "approver.gil", by="Admin")
    (bench.root / "wanted.json").write_text('"promote-9"')
    git(bench.root, "commit", "--all", "--quiet", "--message=By hand")
    subprocess.run([Path(sys.executable).with_name("dvc"), "repro", "--quiet"], cwd=bench.root, check=True)
    git(bench.root, "commit", "--all", "--quiet", "--message=Trained by hand")
    token = token_of(bench.bridge, "approver.hal")
    with pytest.raises(RefusedForSafety, match="It is not known who had m-1-promote-9 trained"):
        bench.bridge.promote(reason="Now", token=token)
    assert not bench.bridge.retrain().ran
    assert [each.by for each in bench.bridge.store.sign_offs().trained("m-1-promote-9")] == ["Ana <ana@example.com>"]


# ------------------------------------------------------------------------------------------- models of earlier days


def test_a_model_that_was_replaced_still_leads_to_its_versions_verdict_and_sign_off(bench: Bench, token: str) -> None:
    bench.bridge.promote(reason="Better", token=token)
    verdict_will_be(bench.root, "hold")
    bench.bridge.retrain()
    first, second, third = (traced(bench, name) for name in (FIRST, SECOND, "m-1-hold"))
    assert [each["roles"] for each in (first, second, third)] == [
        ["earlier candidate", "earlier champion"],
        ["champion"],
        ["candidate"],
    ]
    assert first["trained_on"] == {"versions": ["v0.1.0"]}
    assert first["verdict"]["verdict"] == "promote"
    assert (first["sign_off"]["by"], first["sign_off"]["number"]) == (DEE, 1)
    assert [each["tags"] for each in first["in_production"]] == [["intent#production#1", "intent@v1.0.0"]]
    assert [(each["verdict"], each["dataset_version"]) for each in first["trainings"]] == [("promote", "v0.1.0")]
    shutil.rmtree(bench.root / ".dvc" / "cache")
    gone = traced(bench, FIRST)
    assert (gone["trained_on"], gone["sign_off"], gone["verdict"]) == ({}, first["sign_off"], first["verdict"])
    assert bench.bridge.trace_model("m-0") is None


# ---------------------------------------------------------------------------------------------- tags that others see


def test_with_a_git_remote_tags_of_models_are_published_and_one_that_is_away_stops_no_promotion(
    bench: Bench, token: str, tmp_path: Path
) -> None:
    origin = tmp_path / "origin.git"
    git(bench.root, "remote", "add", "origin", str(origin))
    remote = GitTagRemote(bench.root, "origin")
    sign_offs = bench.bridge.store.sign_offs()
    assert publish_tags(sign_offs, None) is None
    away = publish_tags(sign_offs, remote) or ""
    assert "did not take the tags" in away
    assert "git push origin refs/tags/intent#production#1 refs/tags/intent@v1.0.0" in away

    git(bench.root, "init", "--quiet", "--bare", str(origin))
    bench.bridge.promote(reason="Better", token=token)
    git(bench.root, "tag", "--force", "--annotate", "--message=By hand", "intent#production#2", "HEAD~1")
    assert publish_tags(sign_offs, remote) is None
    assert publish_tags(sign_offs, remote) is None
    there = {name: tag_id for tag_id, name in (line.split() for line in git(bench.root, "ls-remote", str(origin)).splitlines())}
    known = {f"refs/tags/{name}": tag_id for each in sign_offs.champions() for name, tag_id in each.tags.items()}
    assert {name: there.get(name) for name in known} == known  # what was promoted, not what was put there by hand
    assert not [name for name in there if name.startswith("refs/heads/")]

    git(origin, "update-ref", "refs/tags/intent@v1.0.0", known["refs/tags/intent@v1.0.1"])
    assert "does not take the tag intent@v1.0.0" in (publish_tags(sign_offs, remote) or "")


def test_tags_that_could_not_be_published_go_with_the_next_commit_once_and_it_says_so(
    bench: Bench, token: str, tmp_path: Path
) -> None:
    origin = tmp_path / "origin.git"
    git(bench.root, "remote", "add", "origin", str(origin))
    sign_offs, remote = bench.bridge.store.sign_offs(), GitTagRemote(bench.root, "origin")
    refused = catch_up(sign_offs, remote)
    assert (refused.taken, "did not take the tags" in str(refused.unpublished)) == ((), True)

    git(bench.root, "init", "--quiet", "--bare", str(origin))
    names = tuple(sorted(known_tags(sign_offs)))
    assert names
    assert catch_up(sign_offs, remote) == CaughtUp(names)
    assert {f"refs/tags/{name}" for name in names} <= set(git(bench.root, "ls-remote", str(origin)).split())
    assert catch_up(sign_offs, GitTagRemote(bench.root, "origin")) == CaughtUp()

    bench.bridge.promote(reason="Better", token=token)
    assert remote.lacking({"intent@v9.9.9": "0" * 40}) == {}  # of another machine's promotion: it is published from there
    assert set(catch_up(sign_offs, remote).taken) == set(known_tags(sign_offs)) - set(names)
    assert GitTagRemote(bench.root, "elsewhere").lacking(known_tags(sign_offs)) == known_tags(sign_offs)


def test_a_commit_sends_tags_that_the_remote_lacks_and_says_so_once(bench: Bench, tmp_path: Path) -> None:
    origin, settings = tmp_path / "origin.git", bench.root / "hitl.yaml"
    git(bench.root, "init", "--quiet", "--bare", str(origin))
    git(bench.root, "remote", "add", "origin", str(origin))
    git(bench.root, "push", "--quiet", "origin", "HEAD", "refs/tags/decisions@*:refs/tags/decisions@*")
    settings.write_text(settings.read_text(encoding="utf-8") + "git: {remote: origin}\n", encoding="utf-8")
    with bench.opened() as bridge:
        names = tuple(sorted(known_tags(bridge.store.sign_offs())))
        assert (bridge.commit(dry_run=True).caught_up, bridge.commit().caught_up, bridge.commit().caught_up) == ((), names, ())
