"""People at work in a Label Studio, real or fake, by calls of their own: they share no code with what they put to the test.

They answer, err, change their minds, skip, delete, answer what is none of their business and touch the answers of others,
drawn from a seed. `finish` lets those who should answer do so, truly, until nothing is open.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from xml.etree import ElementTree

import requests

LABELS: Final = ("refund", "billing", "cancel")
REVIEWERS: Final = ("ana@example.com", "ben@example.com")
ADJUDICATOR: Final = "dee@example.com"
STRANGER: Final = "mallory@example.com"
_SECONDS: Final = 60
_PAGE: Final = 500

Row = dict[str, Any]


def truth(text: str) -> str:
    """What a text means, as every attentive reader sees."""
    return LABELS[hashlib.sha256(text.encode()).digest()[0] % len(LABELS)]


@dataclass
class Account:
    """Somebody's way into Label Studio."""

    url: str
    email: str
    token: str = field(repr=False)
    user: int = 0

    def __post_init__(self) -> None:
        self._session = requests.Session()
        self._access = ""

    def ask(self, method: str, path: str, body: Any = None, params: Mapping[str, str] | None = None) -> Any:
        """The answer as JSON; None for 404, which is what one gets who comes too late."""
        answer = self._sent(method, path, body, params)
        if answer.status_code == 401:
            self._access = ""
            answer = self._sent(method, path, body, params)
        if answer.status_code == 404:
            return None
        answer.raise_for_status()
        return answer.json() if answer.content else {}

    def _sent(self, method: str, path: str, body: Any, params: Mapping[str, str] | None) -> requests.Response:
        if not self._access:
            exchanged = self._session.post(f"{self.url}/api/token/refresh/", json={"refresh": self.token}, timeout=_SECONDS)
            exchanged.raise_for_status()
            self._access = exchanged.json()["access"]
        headers = {"Authorization": f"Bearer {self._access}"}
        return self._session.request(method, self.url + path, json=body, params=params, headers=headers, timeout=_SECONDS)

    def me(self) -> int:
        if not self.user:
            self.user = int(self.ask("GET", "/api/current-user/whoami")["id"])
        return self.user

    # ------------------------------------------------------------------------------------------------ looking

    def projects(self) -> list[Row]:
        found: list[Row] = []
        page: Any = {"next": True}
        while page and page["next"]:
            number = len(found) // 100 + 1
            page = self.ask("GET", "/api/projects/", params={"page": str(number), "page_size": "100"})
            found += page["results"] if page else []
        return found

    def tasks(self, project_id: int) -> list[Row]:
        """All tasks of a project with all their annotations, read by growing ids, so that nothing shifts under the reading."""
        found: list[Row] = []
        while True:
            after = found[-1]["id"] if found else 0
            items = [{"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": after}]
            query = {"filters": {"conjunction": "and", "items": items}, "ordering": ["tasks:id"]}
            params = {"project": str(project_id), "fields": "all", "page_size": str(_PAGE), "resolve_uri": "false"}
            page = self.ask("GET", "/api/tasks/", query, params)
            rows = page["tasks"] if page else []
            found += rows
            if len(rows) < _PAGE:
                return found

    # ------------------------------------------------------------------------------------------------ working

    def answer(self, task: Row, page: Page, label: str) -> Any:
        return self.ask("POST", f"/api/tasks/{task['id']}/annotations/", {"result": page.filled(label), "lead_time": 5.0})

    def skip(self, task: Row) -> Any:
        return self.ask("POST", f"/api/tasks/{task['id']}/annotations/", {"result": [], "was_cancelled": True, "lead_time": 1.0})

    def edit(self, annotation: Row, page: Page, label: str) -> Any:
        return self.ask("PATCH", f"/api/annotations/{annotation['id']}/", {"result": page.filled(label), "was_cancelled": False})

    def delete(self, kind: str, number: int) -> Any:
        return self.ask("DELETE", f"/api/{kind}/{number}/")


@dataclass(frozen=True, slots=True)
class Page:
    """How a label config is filled in: name → (tag, what it is about), and what there is to tick."""

    controls: Mapping[str, tuple[str, str]]
    ticks: Mapping[str, Sequence[str]]
    adjudicates: bool
    """Only the page of a dispute shows the answers of others."""

    @staticmethod
    def read(xml: str) -> Page:
        root = ElementTree.fromstring(xml)  # noqa: S314
        controls = {one.get("name", ""): (one.tag.lower(), one.get("toName", "")) for one in root.iter() if one.get("toName")}
        lists = [one for one in root.iter("Choices") if one.get("name", "").startswith("checklist")]
        ticks = {one.get("name", ""): [choice.get("value", "") for choice in one.iter("Choice")] for one in lists}
        return Page(controls, ticks, adjudicates="$answers" in xml)

    def filled(self, label: str) -> list[Row]:
        given: Mapping[str, Row] = {
            "label": {"choices": [label]},
            "rationale": {"text": [f"I read it as {label}."]},
            "reviewer_confidence": {"rating": 4},
            **{name: {"choices": list(entries)} for name, entries in self.ticks.items()},
        }
        return [
            {"id": f"page-{name}", "from_name": name, "to_name": about, "type": kind, "value": given[name]}
            for name, (kind, about) in self.controls.items()
            if name in given
        ]


@dataclass
class Crowd:
    """Everybody with an account. `did` counts what they did by kind."""

    url: str
    tokens: Mapping[str, str] = field(repr=False)
    did: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.accounts = {email: Account(self.url, email, token) for email, token in self.tokens.items()}

    @property
    def anybody(self) -> Account:
        return self.accounts[REVIEWERS[0]]

    def places(self) -> list[tuple[Row, Page]]:
        """The bridge's projects, each with its page. Everybody sees all of them."""
        ours = [project for project in self.anybody.projects() if "HITL Bridge" in (project.get("description") or "")]
        whole = [self.anybody.ask("GET", f"/api/projects/{project['id']}/") for project in ours]
        return [(project, Page.read(project["label_config"])) for project in whole if project]

    # -------------------------------------------------------------------------------------------- to the end

    def finish(self) -> int:
        """Those who should answer do, truly, one pass over all that is open; returns how many answers were given."""
        return sum(self._finish_task(task, project, page) for project, page in self.places() for task in self._ours(project))

    def _finish_task(self, task: Row, project: Row, page: Page) -> int:
        """Where somebody else touched an answer, or it was skipped, its author says again what is true."""
        given, label = 0, truth(task["data"]["text"])
        for email in self._wanted(page, project["maximum_annotations"]):
            account = self.accounts[email]
            own = [one for one in task["annotations"] if one["completed_by"] == account.me() and not one["was_cancelled"]]
            touched = [one for one in own if one["updated_by"] != account.me()]
            if not own:
                given += account.answer(task, page, label) is not None
            for one in touched:
                given += account.edit(one, page, label) is not None
        return given

    def _wanted(self, page: Page, seats: int) -> Sequence[str]:
        return (ADJUDICATOR,) if page.adjudicates else REVIEWERS[:seats]

    def _ours(self, project: Row) -> list[Row]:
        return [task for task in self.anybody.tasks(project["id"]) if task["data"].get("bridge_key")]

    # ------------------------------------------------------------------------------------------ as people do

    def act(self, chance: random.Random, kinds: Mapping[str, float]) -> str:
        """One thing that somebody does somewhere; returns what, or an empty text if there was nothing to do."""
        places = self.places()
        if not places:
            return ""
        project, page = chance.choice(places)
        tasks = self._ours(project)
        kind = chance.choices(list(kinds), list(kinds.values()))[0]
        done = bool(tasks) and self._do(kind, chance, project, page, tasks)
        if done:
            self.did[kind] += 1
        return kind if done else ""

    def _do(self, kind: str, chance: random.Random, project: Row, page: Page, tasks: Sequence[Row]) -> bool:
        task = chance.choice(tasks)
        own = [(who, one) for each in tasks for who, one in self._own(each)]
        match kind:
            case "answer":
                return self._answers(chance, project, page, tasks)
            case "skip":
                return self._somebody(chance, page).skip(task) is not None
            case "again":
                return self._somebody(chance, page).answer(task, page, chance.choice(LABELS)) is not None
            case "stranger":
                return self.accounts[STRANGER].answer(task, page, chance.choice(LABELS)) is not None
            case "edit" | "meddle" | "unsay" if own:
                who, one = chance.choice(own)
                who = self.accounts[STRANGER] if kind == "meddle" else who
                if kind == "unsay":
                    return who.delete("annotations", one["id"]) is not None
                return who.edit(one, page, chance.choice(LABELS)) is not None
            case "delete task":
                return self.anybody.delete("tasks", task["id"]) is not None
            case _:
                return False

    def _answers(self, chance: random.Random, project: Row, page: Page, tasks: Sequence[Row]) -> bool:
        """A task that still wants an answer of this person, most often answered truly."""
        for email in self._wanted(page, project["maximum_annotations"]):
            account = self.accounts[email]
            waiting = [task for task in tasks if account.me() not in {one["completed_by"] for one in task["annotations"]}]
            if waiting:
                task = chance.choice(waiting)
                label = truth(task["data"]["text"]) if chance.random() < 0.8 else chance.choice(LABELS)
                return account.answer(task, page, label) is not None
        return False

    def _somebody(self, chance: random.Random, page: Page) -> Account:
        return self.accounts[ADJUDICATOR if page.adjudicates else chance.choice(REVIEWERS)]

    def _own(self, task: Row) -> Iterator[tuple[Account, Row]]:
        by_number = {account.me(): account for account in self.accounts.values()}
        for one in task["annotations"]:
            if one["completed_by"] in by_number:
                yield by_number[one["completed_by"]], one
