"""Entities on a reviewer's page, in a real browser: shown, marked by hand, and none at all."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.live.conftest import REVIEWERS, LiveLabelStudio
from tests.live.pages import FLAGS, PATIENCE, chromium_path, log_in, put_aside
from tests.live.parts_workspace import a_shell
from tests.stages.workspaces import write_lines

pytestmark = [pytest.mark.live, pytest.mark.browser]

ANA = REVIEWERS[0]
POLICY = """\
task: entities
labels: [person, location]
label_studio: {{url: "{url}"}}
tiers:
  quick: {{reviewers: 1, sla: 4h}}
audit: {{rate: 0, uniform: 0}}
expertise:
  - {{name: marks, reviewers: [{ana}]}}
"""
TEXT = "😀 Ana Silva moved to Lisbon with Ben yesterday"
ANAS, LISBON, BENS = (2, 11, "person"), (21, 27, "location"), (33, 36, "person")


def test_a_reviewer_sees_marks_adds_one_and_submits_a_page_without_any(tmp_path: Path, label_studio: LiveLabelStudio) -> None:
    shell = a_shell(tmp_path, label_studio, "entities", ("person", "location"))
    (shell.root / "hitl.yaml").write_text(POLICY.format(url=label_studio.url, ana=ANA), encoding="utf-8")
    found = [{"start": start, "end": end, "label": label} for start, end, label in (ANAS, LISBON)]
    rows = [("marked", TEXT, found, 0.4), ("empty", "Nothing happened here today", [], 0.6)]
    write_lines(
        shell.root / ".hitl" / "out.jsonl",
        [
            {"item_id": name, "input": {"text": text}, "prediction": {"entities": entities}, "confidence": sure,
             "model_version": "m"} for name, text, entities, sure in rows
        ],
    )  # fmt: skip
    assert shell.told("ingest", str(shell.root / ".hitl" / "out.jsonl"))["accepted"] == 2
    shell.said("push")
    (project,) = [each["url"] for each in shell.told("status")["projects"]]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(os.environ), args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        _works(page, label_studio.url, str(project))
        browser.close()
    shell.said("pull")
    assert shell.told("resolve")["decisions"] == 2
    decided = {name: shell.told("trace", name)["decisions"][-1] for name in ("marked", "empty")}
    said = [(each["start"], each["end"], each["label"]) for each in decided["marked"]["output"]["entities"]]
    assert said == [ANAS, LISBON, BENS]
    assert (decided["empty"]["outcome"], decided["empty"]["output"]) == ("accepted", {"entities": []})


def _works(page: Page, url: str, project: str) -> None:
    log_in(page, url, ANA)
    page.goto(project)
    page.get_by_role("button", name=re.compile("Label .*Task")).first.click()
    page.locator(".hb-mark").wait_for()
    put_aside(page.get_by_role("button", name="Close modal"))
    marks = page.locator(".htx-highlight")
    expect(marks).to_have_count(2)
    page.locator(".hb-mark").get_by_text("person").click()
    page.mouse.dblclick(*_middle_of(page, "Ben"))
    expect(marks).to_have_count(3)
    folder = os.environ.get("HITL_SCREENSHOTS")
    if folder:
        page.screenshot(path=Path(folder) / "entities.png")
    page.get_by_test_id("bottombar-submit-button").click()
    expect(page.get_by_text("Nothing happened here today")).to_be_visible()
    expect(marks).to_have_count(0)
    page.get_by_test_id("bottombar-submit-button").click()
    expect(page.get_by_text("Nothing happened here today")).to_be_hidden()


def _middle_of(page: Page, word: str) -> tuple[float, float]:
    """Where a word of the text stands on the screen."""
    box = page.evaluate(
        """word => {
            const walker = document.createTreeWalker(document.querySelector('.hb-item'), NodeFilter.SHOW_TEXT);
            for (let node = walker.nextNode(); node; node = walker.nextNode()) {
                const at = node.textContent.indexOf(word);
                if (at < 0) continue;
                const range = document.createRange();
                range.setStart(node, at);
                range.setEnd(node, at + word.length);
                const box = range.getBoundingClientRect();
                return JSON.stringify([box.x + box.width / 2, box.y + box.height / 2]);
            }
        }""",
        word,
    )
    x, y = json.loads(box)
    return float(x), float(y)
