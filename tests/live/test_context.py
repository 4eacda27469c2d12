"""What stands beside an item on a real page: what to go by, what was decided before, and what the item may be a case of."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Dialog, Page, expect, sync_playwright

from hitl_bridge.bootstrap import Bridge, open_bridge
from hitl_bridge.core.model import TaskState
from hitl_bridge.core.task_types.controls import LABEL, RATIONALE
from tests.live.conftest import LiveLabelStudio, LiveReviewers
from tests.live.pages import FLAGS, PATIENCE, chromium_path, log_in, put_aside
from tests.services.bench import without_git

pytestmark = [pytest.mark.live, pytest.mark.browser]

ANA = "ana@example.com"
CRITERION = "A charge counts once it is on the bill."
WHY = "It names a charge <b>and</b> a bill."
OLD = "My card was charged twice, <img src=x onerror='alert(1)'> see the bill"
NEW = "The bill says that my card was charged twice"
POLICY = f"""\
task: text-classification
labels: [refund, billing]
label_studio: {{url: "http://127.0.0.1:9"}}
scenarios: [fraud, delivery]
tiers:
  quick: {{max_risk: 0.4, sla: 4h}}
  comprehensive: {{sla: 24h, criteria: {CRITERION}}}
audit: {{rate: 0.0, uniform: 0.0}}
expertise:
  - {{name: context, reviewers: [{ANA}]}}
"""


def prediction(item_id: str, text: str, sure: float) -> dict[str, Any]:
    said = {"item_id": item_id, "input": {"text": text}, "prediction": {"label": "refund"}}
    return {**said, "confidence": sure, "model_version": "m1"}


@pytest.fixture
def bridge(tmp_path: Path, label_studio: LiveLabelStudio) -> Iterator[Bridge]:
    root = without_git(tmp_path / "workspace", POLICY)
    with open_bridge(root, labeling=label_studio.gateway(namespace="context")) as bridge:
        yield bridge


@pytest.fixture
def page(label_studio: LiveLabelStudio) -> Iterator[Page]:
    path = chromium_path(os.environ)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        expect.set_options(timeout=PATIENCE)
        context = browser.new_context(viewport={"width": 1280, "height": 1000})
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        log_in(page, label_studio.url, ANA)
        yield page
        browser.close()


def pushed(bridge: Bridge, *rows: dict[str, Any]) -> None:
    file = bridge.paths.state / f"{rows[0]['item_id']}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    bridge.ingest(str(file))
    bridge.push()


def test_a_page_says_what_to_go_by_and_what_was_decided_before_and_asks_what_it_is_a_case_of(
    bridge: Bridge, live_reviewers: LiveReviewers, page: Page
) -> None:
    dialogs: list[Dialog] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog))
    pushed(bridge, prediction("old", OLD, 0.7))
    (task,) = bridge.store.tasks_in(TaskState.LIVE)
    (quick,) = bridge.store.projects()
    assert task.task_id is not None
    live_reviewers.answer(quick, task.task_id, ANA, {LABEL: ("billing",), RATIONALE: (WHY,)})
    bridge.pull()
    assert bridge.resolve().decisions == 1
    pushed(bridge, prediction("new", NEW, 0.5))

    (there,) = [project for project in bridge.store.projects() if project.key.tier == "comprehensive"]
    page.goto(f"{there.url}data?labeling=1")
    page.locator(".hb").wait_for()
    close = page.get_by_role("button", name="Close modal")
    page.wait_for_timeout(700)  # the instructions come a moment later
    if close.is_visible():
        put_aside(close)
    everything = page.locator(".hb")
    expect(everything).to_contain_text(CRITERION)
    row = page.locator(".hb table tbody tr").filter(has_text="billing")
    for shown in (OLD, WHY, "%"):
        expect(row).to_contain_text(shown)
    if folder := os.environ.get("HITL_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / "prior.png")
    page.keyboard.press("c")
    expect(page.locator(".hb .ant-checkbox-wrapper-checked")).to_have_text([re.compile("refund"), re.compile("delivery")])
    page.keyboard.press("Control+Enter")
    expect(everything).to_have_count(0)
    bridge.pull()
    assert bridge.resolve().decisions == 1
    decisions: Any = bridge.trace("new")["decisions"]
    (decision,) = decisions
    assert (decision["output"], decision["scenario"]) == ({"label": "refund"}, "delivery")
    assert not dialogs
