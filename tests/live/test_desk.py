"""A day at the review desk, in a real browser on a real Label Studio: by keyboard, with nothing to guess and nothing lost."""

from __future__ import annotations

import json
import os
import re
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from hitl_bridge.core.model import NONE_OF_THESE
from hitl_bridge.core.task_types.controls import ESCALATE, LABEL_IS_MISSING, RETURN
from tests.live.command_line import CommandLine, environment
from tests.live.conftest import PASSWORD, LiveLabelStudio
from tests.live.pages import FLAGS, PATIENCE, chromium_path, log_in, put_aside

pytestmark = [pytest.mark.live, pytest.mark.browser]

ANA, BEN, DEE, EVA = "ana@example.com", "ben@example.com", "dee@example.com", "eva@example.com"
FORTY = 40
MODIFIERS = ("Control", "Shift", "Alt", "Meta")
CHECKS = ("I read the whole item", "No other label fits as well")
WHY = "The sender asks for the money, not for the end of the contract."

POLICY = """\
task: text-classification
labels: [refund, cancel, technical]
label_studio: {{url: "{url}"}}
tiers:
  auto: {{max_risk: 0.05}}
  quick: {{max_risk: 0.5, sla: 4h, reasons: [a word names it, the whole of it]}}
  comprehensive: {{reviewers: 2, sla: 24h, consensus: unanimous, rationale: required, checklist: {checks}}}
audit: {{rate: 1.0, uniform: 0.0, sla: 24h}}
expertise:
  - {{name: forty, when: "scenario = 'forty'", reviewers: [{ana}, {ben}]}}
  - {{name: answers, when: "scenario = 'answers'", reviewers: [{ana}], adjudicators: [{dee}, {eva}]}}
  - {{name: careful, when: "scenario = 'careful'", reviewers: [{ana}, {ben}], adjudicators: [{dee}]}}
  - {{name: work, reviewers: [{ana}], adjudicators: [{dee}]}}
"""


def prediction(item_id: str, scenario: str, sure: float, text: str = "") -> dict[str, Any]:
    return {
        "item_id": item_id,
        "input": {"text": text or f"The words of {item_id}."},
        "prediction": {"label": "refund"},
        "scores": {"refund": sure, "cancel": round(0.6 * (1 - sure), 6), "technical": round(0.4 * (1 - sure), 6)},
        "confidence": sure,
        "model_version": "model-1",
        "scenario": scenario,
    }


SPECIAL = ("missing", "judge", "scope", "private", "escalated")
PREDICTIONS = [
    *(
        prediction(f"forty {number:02}", "forty", 0.95 - 0.01 * number, f"I was charged twice for order forty {number:02}.")
        for number in range(1, FORTY + 1)
    ),
    *(
        prediction(
            f"careful {number}", "careful", 0.4, f"I want back what I paid, or I leave. It was for order careful {number}."
        )
        for number in (1, 2)
    ),
    *(prediction(name, "answers", 0.9 - 0.05 * place) for place, name in enumerate(SPECIAL)),
    prediction("blind", "work", 0.99, "Please send my money back"),
]


# ------------------------------------------------------------------------------------------------- the people


@dataclass
class Person:
    """Somebody at a browser of their own. Keys are counted by the browser, as they are pressed."""

    page: Page
    url: str
    email: str
    taken: list[str] = field(default_factory=list)

    def log_in(self) -> None:
        log_in(self.page, self.url, self.email)

    def opens(self, project: str) -> None:
        """The project's stream of tasks, the instructions put aside."""
        self.page.goto(f"{project}data?labeling=1")
        self.page.locator(".hb").wait_for()
        close = self.page.get_by_role("button", name="Close modal")
        self.page.wait_for_timeout(700)  # the instructions come a moment later
        if close.is_visible():
            put_aside(close)
        self.page.evaluate(
            "() => { window.pressed = []; document.addEventListener('keydown', key => window.pressed.push(key.key), true); }"
        )

    def presses(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def submits(self) -> None:
        self.presses("Control+Enter")

    def writes(self, text: str, field_of: str = "rationale") -> None:
        """Into a text field, and out of it."""
        self.page.locator(f".hb [name={field_of}]").click()
        self.page.keyboard.type(text)
        self.presses("Tab")
        while self.page.evaluate("() => document.activeElement.matches('input, textarea')"):
            self.presses("Tab")

    def sees(self, text: str | re.Pattern[str]) -> None:
        expect(self.page.locator(".hb-item")).to_contain_text(text)

    def finished(self) -> None:
        expect(self.page.locator(".hb")).to_have_count(0)

    def pressed(self) -> list[str]:
        """The keys since the last time, without those that are only held."""
        keys = self.page.evaluate("() => window.pressed.splice(0)")
        return [key for key in keys if key not in MODIFIERS]

    @property
    def why(self) -> Locator:
        return self.page.locator(".hb-why")

    def chosen(self) -> list[str]:
        texts = self.page.locator(".hb .ant-checkbox-wrapper-checked:visible").all_inner_texts()
        return [re.sub(r"\s*\[.\]$", "", text.strip()) for text in texts]

    def keeps_picture(self, name: str) -> None:
        folder = os.environ.get("HITL_SCREENSHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=Path(folder) / f"{name}.png")
            self.taken.append(name)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = chromium_path(os.environ)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        expect.set_options(timeout=PATIENCE)
        yield browser
        browser.close()


Seat = Callable[[str], Person]


@pytest.fixture(scope="module")
def at_desk(chromium: Browser, label_studio: LiveLabelStudio) -> Seat:
    """A person at a browser that stays logged in."""
    seated: dict[str, Person] = {}

    def seat(email: str) -> Person:
        if email not in seated:
            label_studio.server.reviewer_account(email, PASSWORD)
            context = chromium.new_context(viewport={"width": 1280, "height": 860})
            context.set_default_timeout(PATIENCE)
            seated[email] = Person(context.new_page(), label_studio.url, email)
            seated[email].log_in()
        return seated[email]

    return seat


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, label_studio: LiveLabelStudio) -> CommandLine:
    """A workspace whose predictions are in Label Studio."""
    root = tmp_path_factory.mktemp("desk") / "inbox"
    variables = environment(HITL_LABEL_STUDIO_TOKEN=label_studio.token)
    labels = "refund,cancel,technical"
    CommandLine(root.parent, variables).said("init", str(root), "--task", "text-classification", "--labels", labels)
    people = {"ana": ANA, "ben": BEN, "dee": DEE, "eva": EVA}
    policy = POLICY.format(url=label_studio.url, checks=json.dumps(CHECKS), **people)
    (root / "hitl.yaml").write_text(policy, encoding="utf-8")
    predictions = root / ".hitl" / "predictions.jsonl"
    predictions.write_text("".join(json.dumps(row) + "\n" for row in PREDICTIONS), encoding="utf-8")
    shell = CommandLine(root, variables)
    shell.said("ingest", str(predictions))
    shell.said("push")
    return shell


def project(shell: CommandLine, pool: str, tier: str) -> str:
    (url,) = [each["url"] for each in shell.told("status")["projects"] if (each["pool"], each["tier"]) == (pool, tier)]
    return str(url)


def settled(shell: CommandLine) -> dict[str, Any]:
    """Brings answers back and what follows from them out again."""
    shell.said("pull")
    told: dict[str, Any] = shell.told("resolve")
    shell.said("push")
    return told


def decision(shell: CommandLine, item_id: str) -> dict[str, Any]:
    """The one that holds."""
    found: dict[str, Any] = shell.told("trace", item_id)["decisions"][-1]
    return found


# -------------------------------------------------------------------------------------------------- the tests


def test_forty_quick_items_by_keyboard_alone(desk: CommandLine, at_desk: Seat) -> None:
    ana = at_desk(ANA)
    ana.opens(project(desk, "forty", "quick"))
    keys, waits = [], []
    for number in range(FORTY, 0, -1):  # the model is least sure of the last one: it comes first
        ana.sees(f"forty {number:02}.")
        if number == FORTY:
            ana.keeps_picture("quick")
            assert ana.chosen() == ["refund"]
        ana.presses("2", "q") if number % 4 == 0 else ana.presses("q")
        ana.submits()
        started = time.monotonic()
        ana.sees(f"forty {number - 1:02}.") if number > 1 else ana.finished()
        waits.append(time.monotonic() - started)
        keys.append(len(ana.pressed()))
    print(f"keys: median {statistics.median(keys)}, most {max(keys)}; next task after {statistics.median(waits):.2f} s")
    assert statistics.median(keys) <= 2
    assert max(keys) <= 3
    told = settled(desk)
    assert told["decisions"] == FORTY
    corrected = decision(desk, "forty 40")
    assert (corrected["outcome"], corrected["output"]) == ("corrected", {"label": "cancel"})
    assert corrected["reason_codes"] == ["a word names it"]
    assert decision(desk, "forty 39")["outcome"] == "accepted"


def test_a_comprehensive_item_needs_its_checklist_and_rationale_and_a_dispute_is_settled(
    desk: CommandLine, at_desk: Seat
) -> None:
    ana, ben, dee = at_desk(ANA), at_desk(BEN), at_desk(DEE)
    here = project(desk, "careful", "comprehensive")
    ana.opens(here)
    ana.sees("careful 1.")
    ana.keeps_picture("comprehensive")
    for missing, gives in (
        (f"Please tick: {CHECKS[0]}", "j"),
        (f"Please tick: {CHECKS[1]}", "k"),
        ("Please say why.", ""),
    ):
        ana.submits()
        expect(ana.page.get_by_text(missing)).to_be_visible()
        if not gives:
            ana.page.wait_for_timeout(400)  # the warning moves into place
            ana.keeps_picture("comprehensive-refused")
        put_aside(ana.page.get_by_role("button", name="OK"))
        if gives:
            ana.presses(gives)
    ana.writes(WHY)
    ana.submits()
    ana.sees("careful 2.")
    ben.opens(here)
    ben.sees("careful 1.")
    ben.presses("2", "j", "k")
    ben.writes("They want to leave.")
    ben.submits()
    ben.sees("careful 2.")
    assert settled(desk)["disputed"] == 1

    dee.opens(project(desk, "careful", "adjudication"))
    dee.sees("careful 1.")
    rows = dee.page.locator(".hb table tbody tr")
    expect(rows.filter(has_text="Reviewer A")).to_contain_text(["refund"])
    expect(rows.filter(has_text="Reviewer B")).to_contain_text(["cancel"])
    expect(rows.filter(has_text=WHY)).to_have_count(1)
    assert ANA not in dee.page.locator(".hb").inner_text()
    dee.keeps_picture("adjudication")
    dee.presses("1")
    dee.writes("Money back is what is asked for.")
    dee.submits()
    dee.finished()
    assert settled(desk)["decisions"] == 1
    final = decision(desk, "careful 1")
    assert (final["output"], final["round"]) == ({"label": "refund"}, 2)
    assert final["rationale"] == "Money back is what is asked for."


def test_an_answer_that_lacks_what_the_tier_asks_for_is_asked_again_with_a_note(
    desk: CommandLine, at_desk: Seat, label_studio: LiveLabelStudio
) -> None:
    """Past the page: as a script, or an older page, would send it."""
    (task,) = desk.told("trace", "careful 2")["tasks"]
    for email in (ANA, BEN):
        client = label_studio_client(label_studio, email)
        result = [region("label", ["refund"]), region("checklist", [CHECKS[0]])]
        client.post(f"/api/tasks/{task['task_id']}/annotations/", {"result": result, "lead_time": 3.0})
    told = settled(desk)
    assert (told["decisions"], told["asked_again"]) == (0, 1)
    ana = at_desk(ANA)
    ana.opens(project(desk, "careful", "comprehensive"))
    ana.sees("careful 2.")
    expect(ana.why).to_contain_text(
        f"Asked again, because an answer came without the reason in words and the tick at “{CHECKS[1]}”."
    )
    ana.keeps_picture("asked-again")


def label_studio_client(label_studio: LiveLabelStudio, email: str) -> Any:
    from tests.live.conftest import LiveReviewers

    return LiveReviewers(label_studio).client(email)


def region(name: str, values: list[str]) -> dict[str, Any]:
    return {"id": f"sent-{name}", "from_name": name, "to_name": "text", "type": "choices", "value": {"choices": values}}


def test_a_blind_item_shows_no_prediction(desk: CommandLine, at_desk: Seat) -> None:
    ana = at_desk(ANA)
    ana.opens(project(desk, "work", "quick"))
    ana.sees("Please send my money back")
    expect(ana.why).to_contain_text("No suggestion is shown here")
    assert ana.chosen() == []
    shown = ana.page.locator(".hb").inner_text()
    assert not re.search(r"99|sure|Filled in", shown)
    ana.keeps_picture("blind")


def test_each_special_answer_leads_where_it_should(desk: CommandLine, at_desk: Seat) -> None:
    ana = at_desk(ANA)
    ana.opens(project(desk, "answers", "quick"))
    keys = {"missing": "0s", "judge": "0d", "scope": "0f", "private": "0g", "escalated": "x"}
    words = {"missing": ("gift card", "new_label"), "escalated": ("Two things are asked for.", "rationale")}
    for name in reversed(SPECIAL):
        ana.sees(f"The words of {name}.")
        ana.presses(*keys[name])
        if name in words:
            ana.writes(*words[name])
        ana.page.wait_for_timeout(200)
        ana.keeps_picture(f"special-{name}")
        if name == "missing":
            assert ana.chosen() == [NONE_OF_THESE, LABEL_IS_MISSING]
        if name == "escalated":
            assert ana.chosen() == [ESCALATE]
            expect(ana.page.locator(".hb-label")).to_be_hidden()
        ana.submits()
    ana.finished()
    told = settled(desk)
    assert (told["decisions"], told["escalated"]) == (4, 1)
    codes = {name: decision(desk, name)["reason_codes"] for name in SPECIAL[:4]}
    assert codes == {
        "missing": [LABEL_IS_MISSING],
        "judge": ["it can't be judged"],
        "scope": ["out of scope"],
        "private": ["it holds personal data"],
    }
    assert {decision(desk, name)["outcome"] for name in codes} == {"rejected"}


def test_an_escalated_item_can_be_returned_corrected_and_challenged(desk: CommandLine, at_desk: Seat) -> None:
    ana, dee, eva = at_desk(ANA), at_desk(DEE), at_desk(EVA)
    dee.opens(project(desk, "answers", "adjudication"))
    dee.sees("The words of escalated.")
    expect(dee.page.locator(".hb table").first).to_contain_text("asks for an adjudicator")
    expect(dee.page.locator(".hb table").first).to_contain_text("Two things are asked for.")
    dee.presses("x")
    dee.writes("Please take the first of the two.")
    assert dee.chosen() == [RETURN]
    dee.keeps_picture("returned")
    dee.submits()
    dee.finished()
    assert settled(desk)["asked_again"] == 1

    ana.opens(project(desk, "answers", "quick"))
    ana.sees("The words of escalated.")
    expect(ana.why).to_contain_text("Returned for correction: Please take the first of the two.")
    ana.keeps_picture("correction")
    ana.presses("2", "w")
    ana.submits()
    ana.finished()
    assert settled(desk)["decisions"] == 1
    assert decision(desk, "escalated")["output"] == {"label": "cancel"}

    # Ana has second thoughts: she opens what she has answered, and asks for an adjudicator.
    newest = max(desk.told("trace", "escalated")["tasks"], key=lambda task: task["round"])
    ana.page.goto(f"{project(desk, 'answers', 'quick')}data?task={newest['task_id']}")
    ana.page.locator(".hb-label").wait_for()
    ana.page.locator(".hb .ant-checkbox-wrapper", has_text=ESCALATE).click()
    ana.writes("The contract has ended already.")
    ana.page.get_by_test_id("bottombar-update-button").click()
    ana.page.wait_for_timeout(1_000)
    told = settled(desk)
    assert told["escalated"] == 1
    eva.opens(project(desk, "answers", "adjudication"))
    eva.sees("The words of escalated.")
    expect(eva.why).to_contain_text("challenges the decision")
    expect(eva.page.locator(".hb table tbody tr").first).to_contain_text("The challenged decision")
    eva.keeps_picture("challenged")
    eva.presses("1")
    eva.writes("Only the money is left to ask for.")
    eva.submits()
    eva.finished()
    settled(desk)
    final = decision(desk, "escalated")
    assert (final["output"], final["reviewers"]) == ({"label": "refund"}, [EVA])
