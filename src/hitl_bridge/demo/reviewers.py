"""Simulated reviewers: accounts of their own, who answer through Label Studio's own API as a browser would.

They know what each item means and err now and then; they share no code with the bridge's own reading of answers, so the
loop is not proven by itself.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from hitl_bridge.adapters.label_studio.client import LabelStudioClient
from hitl_bridge.core.model import NONE_OF_THESE
from hitl_bridge.core.task_types.controls import ANOTHER_LABEL, CHECKLIST, CONFIDENCE, LABEL, OTHER_LABEL, RATIONALE

_PAGE = 200


@dataclass(frozen=True, slots=True)
class Manner:
    """How a simulated reviewer errs: how often at all, and how often an error is the model's own, left as it was."""

    error_rate: float = 0.05
    follows_the_model: float = 0.5
    seed: int = 7


class SimulatedReviewer:
    """One person at work. `meanings` gives the true label of an item by what the page shows of it."""

    def __init__(self, email: str, client: LabelStudioClient, meanings: Mapping[str, str], manner: Manner = Manner()) -> None:
        self.email = email
        self._client = client
        self._meanings = meanings
        self._manner = manner
        self._labels = sorted(set(meanings.values()))

    def work_through(self, project_id: int, *, most: int | None = None) -> int:
        """Answers what is open in a project, at most `most` tasks; returns how many answers were given."""
        project: Any = self._client.get(f"/api/projects/{project_id}/")
        page = _Page.read(project["label_config"])
        given = 0
        for task in self._open_tasks(project_id, project["maximum_annotations"]):
            if most is not None and given >= most:
                break
            answer = self._answer(task, page)
            self._client.post(f"/api/tasks/{task['id']}/annotations/", {"result": answer, "lead_time": 6.0})
            given += 1
        return given

    def answered(self, project_id: int) -> int:
        """How many tasks of a project carry an answer of this person."""
        me = self._client.user_id()
        return sum(any(a["completed_by"] == me for a in task["annotations"]) for task in self._tasks(project_id))

    def _open_tasks(self, project_id: int, overlap: int) -> Iterator[Any]:
        me = self._client.user_id()
        for task in list(self._tasks(project_id)):
            people = {annotation["completed_by"] for annotation in task["annotations"]}
            if len(people) < overlap and me not in people:
                yield task

    def _tasks(self, project_id: int) -> Iterator[Any]:
        seen, page, total = 0, 1, 1
        while seen < total:
            listed: Any = self._client.get(
                "/api/tasks/",
                {"project": str(project_id), "page": str(page), "page_size": str(_PAGE), "fields": "all", "resolve_uri": "false"},
            )
            tasks, total, page = listed["tasks"], listed["total"], page + 1
            seen += len(tasks)
            yield from tasks
            if not tasks:
                return

    def _answer(self, task: Any, page: _Page) -> list[dict[str, Any]]:
        data = task["data"]
        chance = random.Random(f"{self._manner.seed}|{self.email}|{data['bridge_key']}")  # noqa: S311
        label = self._label(data[page.input_field], _suggested(task), chance, careful=page.shows_answers)
        region: dict[str, Any] = {}
        offered = page.choices or [str(choice.get("value", "")) for choice in data.get(page.dynamic, [])]
        if label in offered:
            region[LABEL] = [label]
        else:
            region[LABEL] = [ANOTHER_LABEL]
            region[OTHER_LABEL] = [label]
        region |= page.checklist
        region[RATIONALE] = [f"I read it as {label}."]
        region[CONFIDENCE] = [4]
        return page.filled(region)

    def _label(self, shown: str, suggested: str | None, chance: random.Random, *, careful: bool) -> str:
        truth = self._meanings.get(shown, NONE_OF_THESE)
        if careful or chance.random() >= self._manner.error_rate:
            return truth
        if suggested and suggested != truth and chance.random() < self._manner.follows_the_model:
            return suggested
        return chance.choice([label for label in self._labels if label != truth])


def _suggested(task: Any) -> str | None:
    for prediction in task.get("predictions") or []:
        for region in prediction["result"]:
            if region["from_name"] == LABEL:
                return str(region["value"]["choices"][0])
    return None


@dataclass(frozen=True, slots=True)
class _Page:
    """What a label config asks for, as far as somebody who fills it in must know."""

    controls: Mapping[str, tuple[str, str]]
    """Name → tag and what it is about."""
    input_field: str
    choices: Sequence[str]
    dynamic: str
    checklist: Mapping[str, Sequence[str]]
    shows_answers: bool

    @classmethod
    def read(cls, config: str) -> _Page:
        root = ElementTree.fromstring(config)  # noqa: S314
        controls = {
            element.get("name", ""): (element.tag, element.get("toName", "")) for element in root.iter() if element.get("toName")
        }
        label = next(element for element in root.iter("Choices") if element.get("name") == LABEL)
        about = next(element for element in root.iter() if element.get("name") == label.get("toName"))
        ticks = [e for e in root.iter("Choices") if e.get("name", "").startswith(CHECKLIST)]
        return cls(
            controls=controls,
            input_field=(about.get("value") or "$").removeprefix("$"),
            choices=[choice.get("value", "") for choice in label.iter("Choice")],
            dynamic=(label.get("value") or "").removeprefix("$"),
            checklist={tick.get("name", ""): [choice.get("value", "") for choice in tick.iter("Choice")] for tick in ticks},
            shows_answers="$answers" in config,
        )

    def filled(self, answers: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
        return [
            {
                "id": f"sim-{name}",
                "from_name": name,
                "to_name": self.controls[name][1],
                "type": self.controls[name][0].lower(),
                "value": _value(self.controls[name][0], given),
            }
            for name, given in answers.items()
            if name in self.controls and given
        ]


def _value(tag: str, given: Sequence[Any]) -> dict[str, Any]:
    if tag == "Choices":
        return {"choices": list(given)}
    if tag == "Taxonomy":
        return {"taxonomy": [[value] for value in given]}
    if tag == "Rating":
        return {"rating": given[0]}
    return {"text": list(given)}
