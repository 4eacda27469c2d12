"""One real Label Studio for all live tests of a session: the embedded one, in a folder of its own, on a free port.

Tests keep apart by making projects of their own (`a_plan` draws a pool name).
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests

from hitl_bridge.adapters.clock import SystemClock
from hitl_bridge.adapters.label_studio.client import LabelStudioClient, new_session
from hitl_bridge.adapters.label_studio.gateway import LabelStudio
from hitl_bridge.adapters.label_studio.label_configs import LabelConfig
from hitl_bridge.adapters.label_studio.local_server import LocalServer
from hitl_bridge.core.model import AnnotationId, Project, TaskId
from hitl_bridge.core.task_types import Controls
from hitl_bridge.settings import cache_dir

REVIEWERS = ("ana@example.com", "ben@example.com", "cy@example.com")
PASSWORD = "wide-River-204"


@dataclass(frozen=True, slots=True)
class LiveLabelStudio:
    """A running Label Studio: its address, the bridge's token, each reviewer's token (all with the password `PASSWORD`)."""

    server: LocalServer
    url: str
    token: str = field(repr=False)
    reviewer_tokens: Mapping[str, str] = field(repr=False)

    def client(self, *, session: requests.Session | None = None) -> LabelStudioClient:
        return LabelStudioClient(self.url, self.token, SystemClock(), session=session or new_session())

    def gateway(self, **options: Any) -> LabelStudio:
        return LabelStudio(self.client(), **options)


@dataclass(slots=True)
class LiveReviewers:
    """People at work, by way of the calls that the browser makes."""

    studio: LiveLabelStudio
    _clients: dict[str, LabelStudioClient] = field(default_factory=dict)
    _page: int = 0

    def client(self, reviewer: str) -> LabelStudioClient:
        if reviewer not in self._clients:
            self._clients[reviewer] = LabelStudioClient(self.studio.url, self.studio.reviewer_tokens[reviewer], SystemClock())
        return self._clients[reviewer]

    def answer(
        self, project: Project, task_id: TaskId, reviewer: str, controls: Controls, *, lead_time: float | None = 8.0
    ) -> AnnotationId:
        body = {"result": self._result(project, controls), "lead_time": lead_time}
        return self._post(reviewer, task_id, body)

    def skip(self, task_id: TaskId, reviewer: str) -> AnnotationId:
        return self._post(reviewer, task_id, {"result": [], "was_cancelled": True, "lead_time": 2.0})

    def revise(self, project: Project, annotation_id: AnnotationId, reviewer: str, controls: Controls) -> None:
        self.client(reviewer).patch(f"/api/annotations/{annotation_id}/", {"result": self._result(project, controls)})

    def delete_annotation(self, annotation_id: AnnotationId) -> None:
        self._delete(f"/api/annotations/{annotation_id}/")

    def delete_task(self, task_id: TaskId) -> None:
        self._delete(f"/api/tasks/{task_id}/")

    def delete_project(self, project: Project) -> None:
        self._delete(f"/api/projects/{project.project_id}/")

    def describe(self, project: Project, description: str) -> None:
        self.client(REVIEWERS[0]).patch(f"/api/projects/{project.project_id}/", {"description": description})

    def relabel(self, project: Project, label_config: str) -> None:
        self.client(REVIEWERS[0]).patch(f"/api/projects/{project.project_id}/", {"label_config": label_config})

    def begin_draft(self, project: Project, task_id: TaskId, reviewer: str) -> None:
        self.client(reviewer).post(f"/api/tasks/{task_id}/drafts", {"result": [], "lead_time": 1.0})

    def annotate_in_bulk(self, project: Project, reviewer: str) -> None:
        self.bulk(project, reviewer, "predictions_to_annotations")

    def bulk(self, project: Project, reviewer: str, action: str) -> None:
        """An action of the Data Manager over all tasks of the project."""
        query: dict[str, str | int] = {"id": action, "project": int(project.project_id)}
        self.client(reviewer).post("/api/dm/actions/", {"selectedItems": {"all": True, "excluded": []}}, query)

    def _post(self, reviewer: str, task_id: TaskId, body: Any) -> AnnotationId:
        made: Any = self.client(reviewer).post(f"/api/tasks/{task_id}/annotations/", body)
        return AnnotationId(made["id"])

    def _result(self, project: Project, controls: Controls) -> list[Any]:
        """As the page sends it: only predicted regions carry the bridge's ids."""
        there: Any = self.client(REVIEWERS[0]).get(f"/api/projects/{project.project_id}/")
        config = LabelConfig(there["label_config"])
        self._page += 1
        regions = [region for name, values in controls.items() if values for region in config.regions(name, values)]
        return [{**region, "id": f"page{self._page}-{place}"} for place, region in enumerate(regions)]

    def _delete(self, path: str) -> None:
        client = self.client(REVIEWERS[0])
        client.get("/api/version")
        answer = requests.delete(self.studio.url + path, auth=client._signer, timeout=60)
        assert answer.status_code in (204, 404), answer.status_code


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def label_studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveLabelStudio]:
    home = tmp_path_factory.mktemp("live") / "label-studio"
    server = LocalServer(home, cache=cache_dir(), port=free_port())
    try:
        running = server.start()
        token = server.service_account().token
        for reviewer in REVIEWERS:
            server.reviewer_account(reviewer, PASSWORD)
        tokens = {reviewer: server.reviewer_token(reviewer) for reviewer in REVIEWERS}
        yield LiveLabelStudio(server, running.url, token, tokens)
    finally:
        server.stop()


@pytest.fixture(scope="session")
def live_reviewers(label_studio: LiveLabelStudio) -> LiveReviewers:
    return LiveReviewers(label_studio)
