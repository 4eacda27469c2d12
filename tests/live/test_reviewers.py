"""The roster and Label Studio's own accounts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from hitl_bridge.adapters.label_studio.accounts import LabelStudioAccounts
from hitl_bridge.adapters.label_studio.local_accounts import log_in, sign_up
from hitl_bridge.bootstrap import open_bridge
from hitl_bridge.core.model import JSON, TaskState
from hitl_bridge.core.task_types.controls import LABEL
from tests.live.command_line import CommandLine, environment
from tests.live.conftest import REVIEWERS, LiveLabelStudio, LiveReviewers
from tests.services.bench import row, without_git, write_rows

pytestmark = pytest.mark.live

POLICY = """\
task: text-classification
labels: [refund, cancel]
label_studio: {{url: "{url}"}}
tiers:
  quick: {{reviewers: 1, sla: 4h}}
roster:
  - {{email: {ana}, pools: [general], weekly: 20h, languages: [en, de]}}
  - {{email: eve@example.com, pools: [general], adjudicates: true}}
  - {{email: finn@example.com, approves: true}}
"""


def test_who_is_missing_is_told_invited_and_made(label_studio: LiveLabelStudio, tmp_path: Path) -> None:
    root = without_git(tmp_path / "ws", POLICY.format(url=label_studio.url, ana=REVIEWERS[0]))
    command = CommandLine(root, environment(HITL_LABEL_STUDIO_TOKEN=label_studio.token))
    said = command.bridge("reviewers", "sync", "--dry-run", "--json")
    looked = json.loads(said.out)
    assert said.code == 1
    assert looked["have"] == [REVIEWERS[0]]
    assert looked["missing"] == ["eve@example.com", "finn@example.com"]
    assert set(REVIEWERS[1:]) <= set(looked["unlisted"])
    token = parse_qs(urlsplit(looked["invitation"]).query)["token"][0]
    sign_up(label_studio.url, token, "eve@example.com", "wide-River-205")
    made = command.told("reviewers", "sync", "--make")
    assert (made["made"], made["missing"], made["have"]) == (["finn@example.com"], [], [REVIEWERS[0], "eve@example.com"])
    assert {(seat["email"], seat["role"]) for seat in made["joined"]} == {
        (REVIEWERS[0], "reviewer"),
        ("eve@example.com", "reviewer"),
        ("eve@example.com", "adjudicator"),
    }
    file = root / ".hitl" / "new-accounts.json"
    assert file.stat().st_mode & 0o077 == 0
    password = json.loads(file.read_text(encoding="utf-8"))["finn@example.com"]
    assert log_in(label_studio.url, "finn@example.com", password) is not None
    again = command.told("reviewers", "sync")
    assert (again["missing"], again["made"], again["joined"], again["left"]) == ([], [], [], [])
    assert {"eve@example.com", "finn@example.com"} <= {one.email for one in LabelStudioAccounts(label_studio.client()).listed()}


PERSONAL = """\
task: text-classification
labels: [refund, cancel]
label_studio: {{url: "{url}"}}
assignment: reviewer
tiers:
  comprehensive: {{reviewers: 2, sla: 24h, consensus: unanimous}}
audit: {{rate: 0, uniform: 0}}
expertise:
  - {{name: legal team, reviewers: [{people}]}}
"""


def test_two_people_answer_the_same_item_each_in_a_project_of_their_own(
    label_studio: LiveLabelStudio, live_reviewers: LiveReviewers, tmp_path: Path
) -> None:
    root = without_git(tmp_path / "ws", PERSONAL.format(url=label_studio.url, people=", ".join(REVIEWERS[:2])))
    command = CommandLine(root, environment(HITL_LABEL_STUDIO_TOKEN=label_studio.token))
    rows = write_rows(tmp_path / "in.jsonl", [row(f"t-{number}", 0.5) for number in range(3)])
    command.told("ingest", str(rows))
    assert command.told("push", "--dry-run")["created"] == 6
    pushed = command.told("push")
    assert pushed["projects"] == {
        "legal team · ana · comprehensive · due in 24 h": 3,
        "legal team · ben · comprehensive · due in 24 h": 3,
    }
    assert command.told("push")["created"] == 0
    with open_bridge(root, labeling=label_studio.gateway()) as bridge:
        projects = {project.key: project for project in bridge.store.projects()}
        for task in bridge.store.tasks_in(TaskState.LIVE):
            assert task.task_id is not None
            label = "cancel" if (task.item_id, task.project_key.reviewer) == ("t-2", REVIEWERS[1]) else "refund"
            live_reviewers.answer(projects[task.project_key], task.task_id, task.project_key.reviewer, {LABEL: (label,)})
    command.told("pull")
    assert command.told("resolve")["decisions"] == 2
    life = command.told("trace", "t-0")
    assert {task["project_id"] for task in life["tasks"]} == {int(project.project_id) for project in projects.values()}


OLD = """\
<View><Text name="ticket" value="$body"/>
  <Choices name="sentiment" toName="ticket" choice="single"><Choice value="refund"/><Choice value="cancel"/></Choices>
  <TextArea name="rationale" toName="ticket"/></View>
"""


def test_a_project_of_the_past_is_adopted_as_it_is(
    label_studio: LiveLabelStudio, live_reviewers: LiveReviewers, tmp_path: Path
) -> None:
    root = without_git(tmp_path / "ws", PERSONAL.format(url=label_studio.url, people=", ".join(REVIEWERS[:2])))
    command = CommandLine(root, environment(HITL_LABEL_STUDIO_TOKEN=label_studio.token))
    made: Any = live_reviewers.client(REVIEWERS[2]).post("/api/projects/", {"title": "Old tickets", "label_config": OLD})
    number = int(made["id"])
    tasks: list[JSON] = [{"data": {"body": f"words {place}", "id": f"T-{place}"}} for place in range(3)]
    sent: Any = live_reviewers.client(REVIEWERS[2]).post(f"/api/projects/{number}/import", tasks, {"return_task_ids": "true"})
    for task_id, label in zip(sent["task_ids"], ("refund", "cancel"), strict=False):
        choice: JSON = {"from_name": "sentiment", "to_name": "ticket", "type": "choices", "value": {"choices": [label]}}
        body: JSON = {"result": [choice], "lead_time": 5.0}
        live_reviewers.client(REVIEWERS[2]).post(f"/api/tasks/{task_id}/annotations/", body)
    wish = ("adopt", "--project", str(number), "--control", "sentiment", "--id-field", "id", "--by", "Dee")
    assert command.told(*wish)["decisions"] == 2
    again = command.told(*wish)
    assert (again["decisions"], again["already_there"]) == (0, 2)
    refused = command.bridge("adopt", "--project", str(number), "--control", "nothing", "--by", "Dee")
    assert (refused.code, "sentiment" in refused.err) == (2, True)
    assert command.told("pull")["revisions"] == 0
    life = command.told("trace", "T-0")
    assert life["decisions"][0]["reviewers"] != []


MARKED = """\
<View><Labels name="who" toName="ticket"><Label value="person"/><Label value="place"/></Labels>
  <Text name="ticket" value="$body"/><Choices name="mood" toName="ticket"><Choice value="glad"/></Choices></View>
"""


def test_entities_of_a_past_project_are_adopted_item_by_item_and_what_stands_elsewhere_is_told(
    label_studio: LiveLabelStudio, live_reviewers: LiveReviewers, tmp_path: Path
) -> None:
    policy = PERSONAL.format(url=label_studio.url, people=", ".join(REVIEWERS[:2]))
    policy = policy.replace("text-classification", "entities").replace("[refund, cancel]", "[person, place]")
    command = CommandLine(without_git(tmp_path / "ws", policy), environment(HITL_LABEL_STUDIO_TOKEN=label_studio.token))
    theirs = live_reviewers.client(REVIEWERS[2])
    made: Any = theirs.post("/api/projects/", {"title": "Old names", "label_config": MARKED})
    number = str(made["id"])
    text = "😀 Ana moved to Oslo"
    tasks: list[JSON] = [{"data": {"body": text}} for _ in range(3)]
    sent: Any = theirs.post(f"/api/projects/{number}/import", tasks, {"return_task_ids": "true"})
    marks: tuple[list[tuple[int, int, str, str]], ...] = (
        [(2, 5, "Ana", "person"), (15, 19, "Oslo", "place")],
        [],
        [(3, 6, "Ana", "person")],
    )
    for task_id, spans in zip(sent["task_ids"], marks, strict=True):
        values: list[JSON] = [
            {"start": start, "end": end, "text": words, "labels": [label]} for start, end, words, label in spans
        ]
        regions: list[JSON] = [{"from_name": "who", "to_name": "ticket", "type": "labels", "value": value} for value in values]
        theirs.post(f"/api/tasks/{task_id}/annotations/", {"result": regions, "lead_time": 5.0})
    said = command.bridge("adopt", "--project", number, "--control", "who", "--by", "Dee", "--json")
    result = json.loads(said.out)
    assert (said.code, result["decisions"]) == (1, 2)
    assert [(each["row"], "does not stand" in each["reason"]) for each in result["problems"]] == [(sent["task_ids"][2], True)]
    decided = [command.told("trace", f"ls-{number}-{task}")["decisions"][0] for task in sent["task_ids"][:2]]
    ana, oslo = ({"start": 2, "end": 5, "label": "person"}, {"start": 15, "end": 19, "label": "place"})
    assert [each["output"] for each in decided] == [{"entities": [ana, oslo]}, {"entities": []}]
    refused = command.bridge("adopt", "--project", number, "--control", "mood", "--by", "Dee")
    assert (refused.code, "Name one of: who" in refused.err) == (2, True)
