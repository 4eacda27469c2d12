"""The stages under the real `dvc repro`, in a workspace of its own."""

from __future__ import annotations

import json
from pathlib import Path

from hitl_bridge.stages.evaluate import evaluate
from hitl_bridge.stages.examine import examine
from hitl_bridge.stages.finetune import finetune
from hitl_bridge.stages.gate import gate
from hitl_bridge.stages.prepare import prepare
from tests.stages.workspaces import WORDS, decision, promote, report, run, texts, write_lines, write_version

STAGES = (prepare, finetune, evaluate, gate, examine)
SAME_EVERYWHERE = (
    "data/snapshot/train.parquet",
    "reports/metrics.json",
    "reports/data.json",
    "models/candidate/model.json",
    "models/candidate/model.skops",
)
FILES_OF_INIT = """\
/.hitl/
/data/snapshot/
/dvc_plots/
"""


def _under_dvc(root: Path) -> None:
    (root / ".gitignore").write_text(FILES_OF_INIT)
    run(root, "git", "init", "-q", "-b", "reviews")
    run(root, "git", "config", "user.email", "a@example.com")
    run(root, "git", "config", "user.name", "a")
    run(root, "dvc", "init", "-q")
    run(root, "dvc", "config", "core.analytics", "false")
    run(root, "dvc", "add", "-q", "data/base", "data/decisions", "data/payloads")


def test_a_workspace_lives_through_first_model_decisions_and_promotion_and_runs_only_what_is_out_of_date(workspace: Path) -> None:
    (workspace / "checks/.gitkeep").touch()  # git knows no empty folders
    _under_dvc(workspace)

    # A first model from the base alone, without any decision. Run in this process, which has imported all of it already, and
    # entered as done: below, every stage runs as `dvc repro` starts it.
    for stage in STAGES:
        stage(workspace)
    run(workspace, "dvc", "commit", "-q", "--force")
    assert report(workspace, "verdict.json")["verdict"] == "promote"
    assert "nothing to compare with" in " ".join(report(workspace, "verdict.json")["reasons"])
    assert "up to date" in run(workspace, "dvc", "repro")
    first_metrics = (workspace / "reports/metrics.json").read_bytes()
    first = promote(workspace)
    run(workspace, "dvc", "add", "-q", "models/champion")

    # Promoting measures anew, and does not train.
    out = run(workspace, "dvc", "repro")
    assert "Running stage 'evaluate'" in out
    assert "Running stage 'finetune'" not in out
    assert "champion already" in " ".join(report(workspace, "verdict.json")["reasons"])
    assert json.loads(first_metrics)["candidate"] == report(workspace, "metrics.json")["champion"]

    # A dataset version makes another candidate, which is compared with the champion.
    rows = texts(60, 5, "d")
    write_version(
        workspace,
        "v0.1.0",
        [decision(row["item_id"], row["output"]["label"]) for row in rows],
        {row["item_id"]: row["input"]["text"] for row in rows},
    )
    run(workspace, "dvc", "add", "-q", "data/decisions", "data/payloads")
    run(workspace, "dvc", "repro")
    model = json.loads((workspace / "models/candidate/model.json").read_text())
    assert model["trained_on"]["versions"] == ["v0.1.0"]
    counts = report(workspace, "data.json")["counts"]["train"]
    assert model["trained_on"]["sources"] == counts["sources"]
    assert counts["rows"] + report(workspace, "data.json")["leakage"]["near_duplicates_left_out"] == 90 + 60
    assert model["model_version"] != first
    verdict = report(workspace, "verdict.json")
    assert (verdict["candidate"], verdict["champion"]) == (model["model_version"], first)
    assert {test["name"] for test in verdict["tests"]} >= {"leakage", "overall"}

    # Metrics and plots are there for DVC, and nothing with a text can get into git.
    assert "overall.accuracy" in run(workspace, "dvc", "metrics", "show")
    assert "file://" in run(workspace, "dvc", "plots", "show")
    run(workspace, "git", "add", "-A")
    tracked = run(workspace, "git", "ls-files").split()
    assert not [name for name in tracked if name.endswith((".jsonl", ".skops", ".parquet"))]
    assert {"dvc.lock", "models/champion.json", "models/champion.dvc", "reports/verdict.json"} <= set(tracked)

    # Somebody else's clone, with the data pulled, comes to the same bytes.
    run(workspace, "dvc", "remote", "add", "-q", "--default", "store", str(workspace.parent / "remote"))
    run(workspace, "dvc", "push", "-q")
    run(workspace, "git", "add", "-A")
    run(workspace, "git", "commit", "-q", "-m", "A version and its model")
    clone = workspace.parent / "clone"
    run(workspace, "git", "clone", "-q", str(workspace), str(clone))
    run(clone, "dvc", "pull", "-q", "data/base", "data/decisions", "data/payloads", "models/champion")
    run(clone, "dvc", "repro", "--force", "gate")
    for name in SAME_EVERYWHERE:
        assert (clone / name).read_bytes() == (workspace / name).read_bytes()


def test_a_label_without_examples_and_one_with_a_single_example_do_not_stop_the_pipeline(workspace: Path) -> None:
    single = texts(3, 1, "s")[2]
    write_lines(workspace / "data/base/train.jsonl", [*[row for row in texts(60, 1, "t") if _is_not_technical(row)], single])

    for stage in STAGES:
        stage(workspace)

    assert report(workspace, "data.json")["counts"]["train"]["labels"]["technical"] == 1
    assert report(workspace, "verdict.json")["verdict"] in ("promote", "hold", "unverified")


def _is_not_technical(row: dict[str, dict[str, str]]) -> bool:
    return row["output"]["label"] != list(WORDS)[2]
