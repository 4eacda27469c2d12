"""Entities in texts through the whole loop: the command line, git, DVC and a real Label Studio."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hitl_bridge import load_decisions
from hitl_bridge.core.model import ADJUDICATION, JSON
from hitl_bridge.core.task_types.controls import CANT_ANSWER, NONE_BECAUSE, REJECT
from hitl_bridge.core.task_types.entities import spans_of
from tests.live.conftest import REVIEWERS, LiveLabelStudio, LiveReviewers
from tests.live.parts_workspace import Workspace, a_shell, arrived, with_a_model
from tests.stages.entity_texts import LABELS, texts

pytestmark = pytest.mark.live

ANA, BEN, CY = REVIEWERS
POLICY = """\
task: entities
labels: [{labels}]
label_studio: {{url: "{url}"}}
git: {{branch: reviews}}
tiers:
  quick: {{max_risk: 0.9, reviewers: 1, sla: 4h}}
  comprehensive: {{reviewers: 2, sla: 24h, consensus: majority}}
triage:
  rules: [{{when: "label = 'location, person'", tier: comprehensive, reason: "both kinds of entities"}}]
audit: {{rate: 0, uniform: 0}}
expertise:
  - {{name: entities, reviewers: [{ana}, {ben}], adjudicators: [{cy}]}}
"""
ARRIVED = texts(10, 7, "new ")
MEANT = {row["item_id"]: row["output"]["entities"] for row in ARRIVED}
DISPUTED, REJECTED, CORRECTED = "new 0", "new 3", "new 4"
"""The first holds a person and a place, the second nothing, the third two persons."""


@pytest.fixture(scope="module")
def workspace(
    label_studio: LiveLabelStudio, live_reviewers: LiveReviewers, tmp_path_factory: pytest.TempPathFactory
) -> Workspace:
    shell = a_shell(tmp_path_factory.mktemp("entities"), label_studio, "entities", LABELS)
    assert "trainer: sklearn-entities" in (shell.root / "params.yaml").read_text("utf-8")
    policy = POLICY.format(url=label_studio.url, labels=", ".join(LABELS), ana=ANA, ben=BEN, cy=CY)
    with_a_model(shell, policy, texts(120, 1, "t"), texts(40, 2, "h"))
    arrived(shell, ARRIVED)
    return Workspace(shell, label_studio, live_reviewers)


def marked(task: dict[str, Any]) -> list[tuple[int, int, str]]:
    """What is filled in on the page of a task."""
    regions = [region["value"] for region in task["predictions"][0]["result"]]
    return sorted((value["start"], value["end"], value["labels"][0]) for value in regions)


def places(entities: list[dict[str, JSON]]) -> list[tuple[int, int, str]]:
    return [tuple(span) for span in spans_of({"entities": entities})]  # type: ignore[misc]


def test_entities_go_from_a_prediction_to_a_decision_span_by_span_and_back_into_a_model(workspace: Workspace) -> None:
    shell = workspace.shell
    tasks = workspace.tasks()
    right = 0
    for name, ((task, project),) in tasks.items():
        shown = workspace.shown(task)
        right += marked(shown) == places(MEANT[name])
        if name == REJECTED:
            refused: dict[str, tuple[JSON, ...]] = {REJECT: (CANT_ANSWER,), NONE_BECAUSE: ("out of scope",)}
            workspace.answers(task, project, ANA, MEANT[name], **refused)
        else:
            workspace.answers(task, project, ANA, MEANT[name])
        if task.project_key.tier == "comprehensive":
            workspace.answers(task, project, BEN, MEANT[name][:1] if name == DISPUTED else MEANT[name])
    assert right >= 8
    assert tasks[DISPUTED][0][0].project_key.tier == "comprehensive"

    assert (synced := shell.told("sync"))["resolve"]["disputed"] == 1, synced
    ((task, project),) = [each for each in workspace.tasks()[DISPUTED] if each[0].project_key.tier == ADJUDICATION]
    shown = workspace.shown(task)
    assert marked(shown) == places(MEANT[DISPUTED][:1])
    assert sorted(len(row["Answer"].split(", ")) for row in shown["data"]["answers"]) == [1, 2]
    assert "“" in shown["data"]["answers"][0]["Answer"]
    workspace.answers(task, project, CY, MEANT[DISPUTED])
    synced = shell.told("sync")
    assert synced["commit"]["version"] is not None, synced

    decided = {row["item_id"]: row for row in load_decisions(root=shell.root).to_dict("records")}
    assert len(decided) == len(ARRIVED)
    assert (decided[REJECTED]["outcome"], decided[REJECTED]["decision"]) == ("rejected", None)
    others = decided.keys() - {REJECTED}
    assert all(json.loads(decided[name]["decision"]) == {"entities": MEANT[name]} for name in others)
    assert sum(decided[name]["outcome"] == "accepted" for name in others) >= 7
    words = {row["input"]["text"].split()[0] for row in ARRIVED if row["output"]["entities"]}
    assert not any(word in json.dumps(str(decided[name]["decision"])) for word in words for name in others)

    retrained = shell.told("retrain")
    assert retrained["verdict"] in ("promote", "hold", "unverified")
    metrics = json.loads((shell.root / "reports" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["candidate"]["overall"]["f1"] > 0.9
    verdict = json.loads((shell.root / "reports" / "verdict.json").read_text(encoding="utf-8"))
    assert {row["slice"] for row in verdict["slices"] if row["kind"] == "label"} <= set(LABELS)
    described = json.loads((shell.root / "models/candidate/model.json").read_text(encoding="utf-8"))
    assert described["trained_on"]["sources"]["decisions"] == len(ARRIVED) - 1
