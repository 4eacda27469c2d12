"""Texts with several labels through the whole loop: the command line, git, DVC and a real Label Studio."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import expect, sync_playwright

from hitl_bridge import load_decisions
from hitl_bridge.bootstrap import open_bridge
from hitl_bridge.core.model import ADJUDICATION, JSON
from hitl_bridge.core.task_types.controls import CANT_ANSWER, NONE_BECAUSE, REJECT
from tests.live.command_line import CommandLine, environment
from tests.live.conftest import REVIEWERS, LiveLabelStudio, LiveReviewers
from tests.live.pages import FLAGS, PATIENCE, chromium_path
from tests.live.parts_workspace import Workspace, a_shell, arrived, with_a_model
from tests.live.test_desk import Person
from tests.services.bench import without_git, write_rows
from tests.stages.several_labels import texts
from tests.stages.workspaces import WORDS

pytestmark = pytest.mark.live

ANA, BEN, CY = REVIEWERS
POLICY = """\
task: multi-label-text
labels: [{labels}]
label_studio: {{url: "{url}"}}
git: {{branch: reviews}}
tiers:
  quick: {{max_risk: 0.9, reviewers: 1, sla: 4h}}
  comprehensive: {{reviewers: 2, sla: 24h, consensus: majority}}
triage:
  rules: [{{when: "label = ''", tier: comprehensive, reason: "no label at all"}}]
audit: {{rate: 0, uniform: 0}}
expertise:
  - {{name: several labels, reviewers: [{ana}, {ben}], adjudicators: [{cy}]}}
"""
ARRIVED = texts(12, 7, "new ")
MEANT = {row["item_id"]: sorted(row["output"]["labels"]) for row in ARRIVED}


@dataclass
class Pushed:
    """The model's labels of each item, in alphabetical order, and where they are shown."""

    workspace: Workspace
    predicted: dict[str, list[str]]


@pytest.fixture(scope="module")
def pushed(label_studio: LiveLabelStudio, live_reviewers: LiveReviewers, tmp_path_factory: pytest.TempPathFactory) -> Pushed:
    shell = a_shell(tmp_path_factory.mktemp("several"), label_studio, "multi-label-text", list(WORDS))
    assert "trainer: sklearn-multi-label" in (shell.root / "params.yaml").read_text("utf-8")
    policy = POLICY.format(url=label_studio.url, labels=", ".join(WORDS), ana=ANA, ben=BEN, cy=CY)
    with_a_model(shell, policy, texts(90, 1, "t"), texts(40, 2, "h"))
    rows = [json.loads(line) for line in arrived(shell, ARRIVED).read_text(encoding="utf-8").splitlines()]
    predicted = {row["item_id"]: row["prediction"]["labels"] for row in rows}
    return Pushed(Workspace(shell, label_studio, live_reviewers), predicted)


def test_several_labels_go_from_a_prediction_to_a_decision_and_back_into_a_model(pushed: Pushed) -> None:
    workspace, predicted, shell = pushed.workspace, pushed.predicted, pushed.workspace.shell
    right = [name for name in sorted(predicted) if predicted[name] == MEANT[name]]
    assert len(right) >= 8
    disputed = next(name for name in right if not MEANT[name])
    corrected, rejected = [name for name in right if MEANT[name]][:2]
    for name, ((task, project),) in workspace.tasks().items():
        shown = workspace.shown(task)["predictions"][0]["result"]
        assert [region["value"]["choices"] for region in shown] == ([predicted[name]] if predicted[name] else [])
        assert (task.project_key.tier == "comprehensive") is (not predicted[name])
        if name == rejected:
            refused: dict[str, tuple[JSON, ...]] = {REJECT: (CANT_ANSWER,), NONE_BECAUSE: ("out of scope",)}
            workspace.answers(task, project, ANA, MEANT[name], **refused)
        elif name == corrected:
            workspace.answers(task, project, ANA, [label for label in WORDS if label not in MEANT[name]])
        else:
            workspace.answers(task, project, ANA, MEANT[name])
        if task.project_key.tier == "comprehensive":
            workspace.answers(task, project, BEN, ["refund"] if name == disputed else MEANT[name])
    assert (synced := shell.told("sync"))["resolve"]["disputed"] == 1, synced

    ((task, project),) = [each for each in workspace.tasks()[disputed] if each[0].project_key.tier == ADJUDICATION]
    told = [row["Answer"] for row in workspace.shown(task)["data"]["answers"]]
    assert sorted(told) == ["no label", "refund"]
    workspace.answers(task, project, CY, ["cancel", "refund"])
    shell.told("sync")

    decided = {row["item_id"]: row for row in load_decisions(root=shell.root).to_dict("records")}
    assert len(decided) == 12
    assert json.loads(decided[disputed]["decision"]) == {"labels": ["cancel", "refund"]}
    assert (decided[rejected]["outcome"], decided[rejected]["decision"]) == ("rejected", None)
    assert list(decided[rejected]["reason_codes"]) == ["out of scope"]
    assert decided[corrected]["outcome"] == "corrected"
    others = decided.keys() - {disputed, rejected, corrected}
    assert all(json.loads(decided[name]["decision"]) == {"labels": MEANT[name]} for name in others)
    assert all((decided[name]["outcome"] == "accepted") is (predicted[name] == MEANT[name]) for name in others)

    assert shell.told("retrain")["verdict"] in ("promote", "hold", "unverified")
    metrics = json.loads((shell.root / "reports" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics.keys() == {"candidate", "champion"}
    assert metrics["candidate"]["overall"]["f1"] > 0.9
    described = json.loads((shell.root / "models/candidate/model.json").read_text(encoding="utf-8"))
    assert described["trained_on"]["sources"]["decisions"] == 11


# ----------------------------------------------------------------------------------------------------------- by keyboard

SHOWN = """\
task: multi-label-text
labels: [refund, cancel, technical]
label_studio: {{url: "{url}"}}
tiers: {{quick: {{reviewers: 1, sla: 4h}}}}
audit: {{rate: 0, uniform: 0}}
expertise: [{{name: ticking, reviewers: [{ana}]}}]
"""


TEXTS = {
    "rejected": "Anfrage siehe Anhang",
    "empty": "Thank you, all is well now",
    "other": "Nothing but a black screen since Monday. Please end my contract.",
}


@pytest.fixture
def ana(label_studio: LiveLabelStudio) -> Iterator[Person]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(os.environ), args=FLAGS)
        expect.set_options(timeout=PATIENCE)
        page = browser.new_context(viewport={"width": 1280, "height": 860}).new_page()
        page.set_default_timeout(PATIENCE)
        person = Person(page, label_studio.url, ANA)
        person.log_in()
        yield person
        browser.close()


@pytest.mark.browser
def test_a_key_ticks_and_takes_away_an_empty_page_is_an_answer_and_zero_asks_why(
    ana: Person, label_studio: LiveLabelStudio, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = without_git(tmp_path_factory.mktemp("ticking") / "ws", SHOWN.format(url=label_studio.url, ana=ANA))
    shell = CommandLine(root, environment(HITL_LABEL_STUDIO_TOKEN=label_studio.token))
    sure = {"refund": 0.9, "cancel": 0.2, "technical": 0.1}
    rows = [
        {"item_id": name, "input": {"text": text}, "prediction": {"labels": ["refund"]}, "model_version": "m-1"}
        | {"scores": {**sure, "technical": 0.1 + 0.15 * place}}
        for place, (name, text) in enumerate(TEXTS.items())
    ]
    shell.told("ingest", str(write_rows(root / "in.jsonl", rows)))
    shell.told("push")
    with open_bridge(root, labeling=label_studio.gateway()) as bridge:
        (project,) = bridge.store.projects()
    ana.opens(project.url)
    ticked = ana.page.locator(".hb-label .ant-checkbox-wrapper-checked")
    expect(ticked).to_have_text([re.compile("refund")])
    keeps_picture(ana, "several-labels")

    ana.presses("1", "2", "3")
    expect(ticked).to_have_text([re.compile("cancel"), re.compile("technical")])
    ana.submits()
    ana.sees(TEXTS["empty"])
    ana.presses("1")
    expect(ticked).to_have_count(0)
    ana.submits()
    ana.sees(TEXTS["rejected"])
    ana.presses("0")
    expect(ana.page.locator(".hb-label")).to_be_hidden()
    ana.presses("f")
    keeps_picture(ana, "several-labels-rejected")
    ana.submits()
    ana.finished()

    shell.told("pull")
    shell.told("resolve")
    with open_bridge(root, labeling=label_studio.gateway()) as bridge:
        decided = {str(each.item.item_id): each.decision for each in bridge.store.uncommitted()}
    assert decided["other"].output == {"labels": ["cancel", "technical"]}
    assert decided["empty"].output == {"labels": []}
    assert (decided["rejected"].output, decided["rejected"].reason_codes) == (None, ("out of scope",))


def keeps_picture(person: Person, name: str) -> None:
    folder = os.environ.get("HITL_SCREENSHOTS")
    if folder:
        person.page.screenshot(path=f"{folder}/{name}.png")
