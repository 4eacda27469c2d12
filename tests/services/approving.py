"""Approvers for tests: people with a token, and people with a key."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from hitl_bridge.bootstrap import Bridge
from hitl_bridge.services.keeping.access import make_token
from tests.services.bench import git

DEE = "approver.dee"

TRAIN = """\
import json
from pathlib import Path

verdict = json.loads(Path("wanted.json").read_text())
versions = sorted(path.stem for path in Path("data/decisions").glob("*.parquet"))
for folder in ("models/candidate", "reports"):
    Path(folder).mkdir(parents=True, exist_ok=True)
name = f"m-{len(versions)}-{verdict}"
Path("models/candidate/weights.bin").write_bytes(name.encode())
card = {"model_version": name, "params": {"name": "intent"}, "trained_on": {"versions": versions}}
Path("models/candidate/model.json").write_text(json.dumps(card))
said = {"verdict": verdict.split("-")[0], "candidate": name, "reasons": ["because of the test"]}
Path("reports/verdict.json").write_text(json.dumps(said))
Path("reports/metrics.json").write_text(json.dumps({"candidate": {"overall": {"accuracy": 0.9}}}))
"""
PIPELINE = f"""\
stages:
  train:
    cmd: {sys.executable} train.py
    deps: [train.py, wanted.json, data/decisions]
    outs: [models/candidate]
    metrics:
      - reports/verdict.json: {{cache: false}}
      - reports/metrics.json: {{cache: false}}
"""


def token_of(bridge: Bridge, name: str = DEE) -> str:
    """A new access token."""
    return make_token(bridge.access_tokens, bridge.clock, name, by="Admin").token


def small_pipeline(root: Path) -> None:
    (root / "train.py").write_text(TRAIN)
    (root / "dvc.yaml").write_text(PIPELINE)
    (root / "wanted.json").write_text('"hold"')
    git(root, "add", "train.py", "dvc.yaml", "wanted.json")
    git(root, "commit", "--quiet", "--message=A small pipeline")


def verdict_will_be(root: Path, verdict: str) -> None:
    """`promote-2` is another candidate to which the gate says promote."""
    (root / "wanted.json").write_text(json.dumps(verdict))
    git(root, "add", "wanted.json")
    git(root, "commit", "--quiet", f"--message={verdict} is wanted", "wanted.json")


def key_of(folder: Path, person: str) -> Path:
    """A new SSH key; its public half lies beside it."""
    key = folder / person.partition("@")[0]
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", person, "-f", str(key)], check=True)
    return key


def allow(root: Path, person: str, key: Path) -> None:
    """Adds a key to the allowed signers of a workspace."""
    with (root / "allowed_signers").open("a") as signers:
        signers.write(f'{person} namespaces="git" {key.with_suffix(".pub").read_text()}')


def sign_tag(root: Path, key: Path, name: str, message: str = "Looks right", commit: str = "HEAD") -> None:
    """As an approver does it by hand, in their own clone or here."""
    public = str(key.with_suffix(".pub"))
    git(root, "-c", "gpg.format=ssh", "-c", f"user.signingkey={public}", "tag", "--sign", f"--message={message}", name, commit)
