"""What a reviewer sees and does, in a real browser on a real Label Studio."""

from __future__ import annotations

import base64
import io
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Dialog, Locator, Page, expect, sync_playwright

from hitl_bridge import load_decisions
from hitl_bridge.core.model import NONE_OF_THESE
from hitl_bridge.core.task_types.controls import ANOTHER_LABEL
from tests.live.command_line import CommandLine, environment
from tests.live.conftest import LiveLabelStudio
from tests.live.pages import FLAGS, PATIENCE, chromium_path, log_in, put_aside

pytestmark = [pytest.mark.live, pytest.mark.browser]

ANA = "ana@example.com"
CANARY = "http://canary.invalid"
HOSTILE = (
    f"</text></script><script>fetch('{CANARY}/script'); alert(1)</script><img src='{CANARY}/picture' onerror='alert(2)'>"
    "<svg onload=alert(3)> <a href='javascript:alert(4)'>click</a> $why {{why}} &lt;b&gt;"
)
WHY = "The sender wants out of the contract, the refund is only a means."
LABELS = ("refund", "cancel", "technical")
MANY = tuple(f"intent {number:02}" for number in range(77))

POLICY = """\
task: {task}
labels: {labels}
label_studio: {{url: "{url}"}}
attributes: {{note: string}}
tiers:
  auto: {{max_risk: 0.05}}
  quick: {{max_risk: 0.5, sla: 4h}}
  comprehensive: {{sla: 24h, rationale: required, checklist: [I read all of it]}}
audit: {{rate: 1.0, uniform: 0.0, sla: 24h}}
expertise:
  - {{name: hostile, when: "scenario = 'hostile'", reviewers: [{ana}]}}
  - {{name: blind, when: "scenario = 'blind'", reviewers: [{ana}]}}
  - {{name: work, reviewers: [{ana}]}}
"""


# ----------------------------------------------------------------------------------------------- the reviewer


@dataclass(slots=True)
class Reviewer:
    """Ana at her browser, with what happened in it that should not: dialogs, and requests to the canary."""

    page: Page
    url: str
    alarms: list[str] = field(default_factory=list)

    def watch(self) -> None:
        def dismissed(dialog: Dialog) -> None:
            self.alarms.append(f"a dialog said {dialog.message}")
            dialog.dismiss()

        self.page.on("dialog", dismissed)
        self.page.context.on("request", lambda request: self.alarms.append(request.url) if CANARY in request.url else None)

    def log_in(self) -> None:
        log_in(self.page, self.url, ANA)

    def opens(self, project: str) -> None:
        """The project's own page, and from there the tasks one after another."""
        self.page.goto(project)
        self.page.get_by_role("button", name=re.compile("Label .*Task")).first.click()
        self.label.wait_for()
        put_aside(self.page.get_by_role("button", name="Close modal"))

    @property
    def label(self) -> Locator:
        return self.page.locator(".hb-label")

    @property
    def chosen(self) -> Locator:
        return self.label.locator(".ant-checkbox-wrapper-checked")

    def offered(self) -> list[str]:
        """The labels on the page, without the keys that choose them."""
        return [re.sub(r"\[\d\]$", "", text.strip()) for text in self.label.locator(".ant-checkbox-wrapper").all_inner_texts()]

    def chooses(self, label: str) -> None:
        self.label.locator(".ant-checkbox-wrapper", has_text=label).click()

    def submits(self) -> None:
        self.page.get_by_test_id("bottombar-submit-button").click()

    def keeps_picture(self, name: str) -> None:
        folder = os.environ.get("HITL_SCREENSHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=Path(folder) / f"{name}.png")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    path = chromium_path(os.environ)
    with sync_playwright() as playwright:
        profile = tmp_path_factory.mktemp("chromium")
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=path, args=FLAGS, viewport={"width": 1280, "height": 860}
        )
        context.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        yield context
        context.close()


@pytest.fixture(scope="module")
def logged_in(browser: BrowserContext, label_studio: LiveLabelStudio) -> BrowserContext:
    page = browser.pages[0]
    Reviewer(page, label_studio.url).log_in()
    return browser


@pytest.fixture
def ana(logged_in: BrowserContext, label_studio: LiveLabelStudio) -> Iterator[Reviewer]:
    page = logged_in.new_page()
    reviewer = Reviewer(page, label_studio.url)
    reviewer.watch()
    yield reviewer
    page.close()
    assert reviewer.alarms == []


# ---------------------------------------------------------------------------------------------- the workspaces


def prediction(item_id: str, shown: Mapping[str, str], scores: Mapping[str, float], scenario: str = "work") -> dict[str, Any]:
    best = max(scores, key=lambda label: scores[label])
    return {
        "item_id": item_id,
        "input": shown,
        "prediction": {"label": best},
        "scores": scores,
        "confidence": scores[best],
        "model_version": "model-1",
        "scenario": scenario,
        "attributes": {"note": HOSTILE if scenario == "hostile" else "plain"},
    }


def pushed(
    root: Path, label_studio: LiveLabelStudio, task: str, labels: Sequence[str], rows: list[dict[str, Any]]
) -> CommandLine:
    """A workspace whose predictions are in Label Studio."""
    variables = environment(HITL_LABEL_STUDIO_TOKEN=label_studio.token)
    CommandLine(root.parent, variables).said("init", str(root), "--task", task, "--labels", ",".join(labels))
    policy = POLICY.format(task=task, labels=json.dumps(list(labels)), url=label_studio.url, ana=ANA)
    (root / "hitl.yaml").write_text(policy, encoding="utf-8")
    predictions = root / ".hitl" / "predictions.jsonl"
    predictions.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    shell = CommandLine(root, variables)
    shell.said("ingest", str(predictions))
    shell.said("push")
    return shell


def project_url(shell: CommandLine, pool: str) -> str:
    (url,) = [project["url"] for project in shell.told("status")["projects"] if project["pool"] == pool]
    return str(url)


@pytest.fixture(scope="module")
def inbox(tmp_path_factory: pytest.TempPathFactory, label_studio: LiveLabelStudio) -> CommandLine:
    """Two doubtful messages, a hostile one, and one that the model is so sure of that people see it blind."""
    rows = [
        prediction("doubtful-1", {"text": "Money back, I am leaving"}, {"refund": 0.45, "cancel": 0.40, "technical": 0.15}),
        prediction("doubtful-2", {"text": "Black screen, money back"}, {"refund": 0.48, "cancel": 0.10, "technical": 0.42}),
        prediction("hostile-1", {"text": HOSTILE}, {"refund": 0.8, "cancel": 0.2}, "hostile"),
        prediction("blind-1", {"text": "Please send my money back"}, {"refund": 0.99, "cancel": 0.01}, "blind"),
    ]
    return pushed(tmp_path_factory.mktemp("browser") / "inbox", label_studio, "text-classification", LABELS, rows)


# -------------------------------------------------------------------------------------------------- the tests


def test_a_reviewer_corrects_a_prefilled_label_and_it_arrives_in_the_next_version(ana: Reviewer, inbox: CommandLine) -> None:
    ana.opens(project_url(inbox, "work"))
    first, second = "Money back, I am leaving", "Black screen, money back"
    expect(ana.page.get_by_text(first)).to_be_visible()
    expect(ana.page.locator(".hb-why")).to_contain_text("The model is torn between refund (45 %) and cancel (40 %)")
    expect(ana.chosen).to_have_text(re.compile("refund"))
    ana.keeps_picture("prefilled")

    ana.chooses("cancel")
    ana.page.locator(".hb .ant-checkbox-wrapper", has_text="I read all of it").click()
    ana.submits()
    expect(ana.page.get_by_text("Please say why.")).to_be_visible()
    ana.page.wait_for_timeout(500)  # the warning moves into place
    ana.keeps_picture("rationale-required")
    put_aside(ana.page.get_by_role("button", name="OK"))
    ana.page.locator(".hb textarea").fill(WHY)
    ana.submits()
    expect(ana.page.get_by_text(second)).to_be_visible()
    expect(ana.chosen).to_have_text(re.compile("refund"))
    ana.keeps_picture("next-task")

    assert inbox.told("pull")["revisions"] == 1
    assert inbox.told("resolve")["decisions"] == 1
    assert inbox.told("commit")["tag"] == "decisions@v0.1.0"
    (decision,) = load_decisions(root=inbox.root).to_dict("records")
    assert (decision["item_id"], decision["outcome"], decision["rationale"]) == ("doubtful-1", "corrected", WHY)
    assert json.loads(decision["decision"]) == {"label": "cancel"}


def test_hostile_html_is_shown_as_text_and_runs_nothing(ana: Reviewer, inbox: CommandLine) -> None:
    project = project_url(inbox, "hostile")
    ana.opens(project)
    expect(ana.page.locator(".hb-item")).to_contain_text(HOSTILE)
    expect(ana.page.locator(".hb-why")).to_contain_text(HOSTILE)
    ana.keeps_picture("hostile-task")
    ana.page.goto(project)
    expect(ana.page.get_by_text("alert(1)").first).to_be_visible()
    ana.keeps_picture("hostile-list")
    ana.page.wait_for_timeout(1_000)
    assert ana.page.locator(f"[src^='{CANARY}']").count() == 0
    assert ana.alarms == []


def test_a_blind_task_shows_no_suggestion(ana: Reviewer, inbox: CommandLine) -> None:
    ana.opens(project_url(inbox, "blind"))
    expect(ana.page.get_by_text("Please send my money back")).to_be_visible()
    expect(ana.page.get_by_text("No suggestion is shown here: please answer from scratch.")).to_be_visible()
    assert ana.offered() == [*LABELS, NONE_OF_THESE]
    assert ana.chosen.count() == 0
    shown = ana.page.locator(".hb").inner_text()
    assert "99" not in shown
    assert "Filled in below" not in shown
    ana.keeps_picture("blind")


def test_of_many_labels_the_five_best_are_offered_and_all_can_be_searched(
    ana: Reviewer, label_studio: LiveLabelStudio, tmp_path: Path
) -> None:
    best = {"intent 40": 0.6, "intent 07": 0.2, "intent 13": 0.1, "intent 76": 0.06, "intent 02": 0.03, "intent 50": 0.01}
    row = prediction("many-1", {"text": "Where is my card?"}, best)
    shell = pushed(tmp_path / "many", label_studio, "text-classification", MANY, [row])
    ana.opens(project_url(shell, "work"))
    expect(ana.chosen).to_have_text(re.compile("intent 40"))
    assert ana.offered() == [*list(best)[:5], ANOTHER_LABEL, NONE_OF_THESE]
    ana.keeps_picture("many-labels")

    ana.chooses(ANOTHER_LABEL)
    ana.page.locator(".hb .ant-select-selector", has_text="Search all labels").click()
    search = ana.page.locator(".ant-select-dropdown input:visible").last
    search.fill("66")  # not by the keyboard alone: the list opens a moment before its field has the focus
    expect(ana.page.locator(".ant-select-tree-title")).to_have_text(["intent 66"], timeout=15_000)
    ana.keeps_picture("many-labels-search")
    ana.page.get_by_text("intent 66", exact=True).click()
    ana.page.keyboard.press("Escape")
    ana.submits()
    expect(ana.page.get_by_text(re.compile("All tasks in the queue|No more|complete", re.IGNORECASE)).first).to_be_visible()
    shell.said("sync")
    (decision,) = load_decisions(root=shell.root).to_dict("records")
    assert json.loads(decision["decision"]) == {"label": "intent 66"}


def test_an_image_task_shows_its_picture(ana: Reviewer, label_studio: LiveLabelStudio, tmp_path: Path) -> None:
    row = prediction("image-1", {"image": red_square()}, {"refund": 0.8, "cancel": 0.2})
    shell = pushed(tmp_path / "images", label_studio, "image-classification", LABELS, [row])
    ana.opens(project_url(shell, "work"))
    picture = ana.page.locator(".hb-item img").first
    expect(picture).to_be_visible()
    assert picture.evaluate("each => each.decode().then(() => each.naturalWidth)") == 120
    expect(ana.chosen).to_have_text(re.compile("refund"))
    ana.keeps_picture("image")


def red_square() -> str:
    content = io.BytesIO()
    Image.new("RGB", (120, 120), "red").save(content, format="PNG")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode("ascii")


def test_without_a_browser_these_tests_are_skipped_but_not_in_ci(tmp_path: Path) -> None:
    nowhere = {"PATH": str(tmp_path)}
    with pytest.raises(pytest.skip.Exception, match="apt-get install chromium"):
        chromium_path(nowhere)
    with pytest.raises(pytest.fail.Exception, match="HITL_CHROMIUM"):
        chromium_path({**nowhere, "CI": "true"})
    assert chromium_path({**nowhere, "HITL_CHROMIUM": "/opt/chromium"}) == "/opt/chromium"
