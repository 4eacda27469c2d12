"""A Label Studio that answers in a millisecond and fails as often as it is told to: HTTP over `World`, in a thread.

It speaks the calls that the bridge makes, and those by which reviewers, and whoever else has an account, work. What it does
not know is a 501 and a line in `not_understood`, which tests look at: nothing is answered by guessing.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import requests

from tests.faults.fake_http import FakeServer, Faults, Reply, life_left, new_token
from tests.faults.fake_world import BRIDGE, AlreadyThere, Contents, Invalid, Missing, World
from tests.faults.serving import Serving
from tests.faults.task_filters import BadTime, NotUnderstood, Row, matches, ordered

PEOPLE: Final = ("ana@example.com", "ben@example.com", "cy@example.com", "dee@example.com", "mallory@example.com")
ACCESS_SECONDS: Final = 300
WEBHOOK_SECONDS: Final = 1.0
_FLAGS: Final = 'window.APP_SETTINGS = {"fflag_feat_utc_210_prediction_validation_15082025": true}'
_HTML_404: Final = "<html><body>" + "Page not found. " * 200 + "</body></html>"


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    params: Mapping[str, str]
    body: Any
    user: int


Route = Callable[..., Reply]
_ROUTES: Final[list[tuple[str, re.Pattern[str], str]]] = [
    (method, re.compile(pattern), name)
    for method, pattern, name in (
        ("GET", r"/(health|version)/?", "version"),
        ("GET", r"/api/version/?()", "version"),
        ("GET", r"/api/current-user/whoami/?", "whoami"),
        ("GET", r"/feature-flags/?", "flags"),
        ("GET", r"/api/users/?", "users"),
        ("GET", r"/api/projects/?", "projects"),
        ("POST", r"/api/projects/?", "create_project"),
        ("GET", r"/api/projects/(\d+)/?", "project"),
        ("PATCH", r"/api/projects/(\d+)/?", "change_project"),
        ("DELETE", r"/api/projects/(\d+)/?", "delete_project"),
        ("POST", r"/api/projects/(\d+)/import/?", "import_tasks"),
        ("GET", r"/api/projects/(\d+)/export/?", "export"),
        ("GET", r"/api/projects/(\d+)/next/?", "next_task"),
        ("GET", r"/api/tasks/?", "tasks"),
        ("GET", r"/api/tasks/(\d+)/?", "task"),
        ("DELETE", r"/api/tasks/(\d+)/?", "delete_task"),
        ("GET", r"/api/tasks/(\d+)/annotations/?", "annotations"),
        ("POST", r"/api/tasks/(\d+)/annotations/?", "annotate"),
        ("POST", r"/api/tasks/(\d+)/drafts/?", "draft"),
        ("GET", r"/api/tasks/(\d+)/drafts/?", "drafts"),
        ("GET", r"/api/annotations/(\d+)/?", "annotation"),
        ("PATCH", r"/api/annotations/(\d+)/?", "revise"),
        ("DELETE", r"/api/annotations/(\d+)/?", "delete_annotation"),
        ("POST", r"/api/dm/actions/?", "bulk_action"),
        ("GET", r"/api/webhooks/?", "webhooks"),
        ("POST", r"/api/webhooks/?", "create_webhook"),
        ("GET", r"/api/webhooks/(\d+)/?", "webhook"),
        ("PATCH", r"/api/webhooks/(\d+)/?", "change_webhook"),
        ("DELETE", r"/api/webhooks/(\d+)/?", "delete_webhook"),
    )
]


class FakeLabelStudio(Serving):
    """A running fake: `url`, `token` (the bridge's), `reviewer_tokens`; `world` holds what it holds, `faults` what goes wrong.

    `before` is called with each request of the bridge before it is answered, so that a test can change things between two
    pages. `deaf` accounts are refused (401), as a disabled user's are.
    """

    def __init__(self, *, seed: int = 0, rates: Mapping[str, float] | None = None, people: Sequence[str] = PEOPLE) -> None:
        self.faults = Faults(seed, rates or {})
        self.world = World(people, self._fire)
        self.before: Callable[[Request], None] | None = None
        self.deaf: set[int] = set()
        self.requests: Counter[str] = Counter()
        self.not_understood: list[str] = []
        self.webhooks_sent: Counter[str] = Counter()
        self._refresh = {new_token(user, "refresh", 10**9): user for user in self.world.people}
        self._access: dict[str, int] = {}
        self._lock = threading.RLock()
        self._to_fire: list[tuple[str, int, Row]] = []
        super().__init__(FakeServer(self.answer))

    # -------------------------------------------------------------------------------------------------- life

    @property
    def token(self) -> str:
        return self._token_of(BRIDGE)

    @property
    def reviewer_tokens(self) -> dict[str, str]:
        return {email: self._token_of(number) for number, email in self.world.people.items() if number != BRIDGE}

    def _token_of(self, user: int) -> str:
        return next(token for token, number in self._refresh.items() if number == user)

    def backup(self) -> Contents:
        with self._lock:
            return self.world.backup()

    def restore(self, backup: Contents) -> None:
        """Back to what `backup` holds; ids given since are given again."""
        with self._lock:
            self.world.restored(backup)

    @contextmanager
    def held(self) -> Iterator[World]:
        """The world, with nobody else in it."""
        with self._lock:
            yield self.world

    # ----------------------------------------------------------------------------------------------- answering

    def answer(self, method: str, target: str, headers: Mapping[str, str], content: bytes) -> tuple[str, Reply]:
        """The fault to commit on the way back (or an empty text), and the reply."""
        parts = urlsplit(target)
        body = json.loads(content) if content else None
        if parts.path == "/api/token/refresh/":
            return "", self._exchange(body)
        user = self._user(headers.get("Authorization", ""))
        if user is None or user in self.deaf:
            return "", Reply(401, {"detail": "Invalid token."})
        request = Request(method, parts.path, dict(parse_qsl(parts.query, keep_blank_values=True)), body, user)
        fault = self.faults.draw() if user == BRIDGE else ""
        if fault in _INSTEAD:
            return fault, Reply(_INSTEAD[fault], {"detail": "Not now."}, {"Retry-After": self.faults.retry_after})
        if self.before is not None and user == BRIDGE:
            self.before(request)
        reply = self._carry_out(request)
        if fault == "slow":
            time.sleep(self.faults.slow_seconds)
        return fault, Reply(500, {"detail": "Something broke."}) if fault == "lost_500" else reply

    def _carry_out(self, request: Request) -> Reply:
        with self._lock:
            self.requests[f"{request.method} {re.sub(r'[0-9]+', 'N', request.path)}"] += 1
            reply = self._routed(request)
            frozen = Reply(reply.status, json.loads(json.dumps(reply.body)), reply.headers)
            firing, self._to_fire = self._to_fire, []
        for action, project_id, body in firing:
            self._send_hooks(action, project_id, body)
        return frozen

    def _routed(self, request: Request) -> Reply:
        for method, pattern, name in _ROUTES:
            found = pattern.fullmatch(request.path) if method == request.method else None
            if found:
                return self._guarded(name, request, [int(each) for each in found.groups() if each and each.isdigit()])
        self.not_understood.append(f"{request.method} {request.path}")
        return Reply(404, _HTML_404)

    def _guarded(self, name: str, request: Request, numbers: list[int]) -> Reply:
        route: Route = getattr(self, f"_{name}")
        try:
            return route(request, *numbers)
        except Missing as missing:
            return Reply(404, _HTML_404 if "project" in str(missing) else {"detail": "Not found.", "status_code": 404})
        except Invalid as invalid:
            return Reply(400, {"id": "an-uuid", "status_code": 400, "detail": "Validation error", **invalid.body})
        except AlreadyThere:
            return Reply(409, {"detail": "Duplicate."})
        except BadTime:
            return Reply(500, {"detail": "time data does not match format"})
        except NotUnderstood as unknown:
            self.not_understood.append(str(unknown))
            return Reply(501, {"detail": str(unknown)})

    def _user(self, authorization: str) -> int | None:
        kind, _, text = authorization.partition(" ")
        token = text if kind == "Bearer" else ""
        return self._access[token] if token in self._access and life_left(token) > 0 else None

    def _exchange(self, body: Any) -> Reply:
        user = self._refresh.get(str((body or {}).get("refresh")))
        if user is None or user in self.deaf:
            return Reply(401, {"detail": "Token is invalid or expired", "code": "token_not_valid"})
        access = new_token(user, "access", ACCESS_SECONDS)
        self._access[access] = user
        return Reply(200, {"access": access})

    # -------------------------------------------------------------------------------------------------- routes

    def _version(self, request: Request) -> Reply:
        return Reply(200, {"release": "1.23.2", "status": "UP"})

    def _whoami(self, request: Request) -> Reply:
        return Reply(200, {"id": request.user, "email": self.world.people[request.user]})

    def _flags(self, request: Request) -> Reply:
        return Reply(200, _FLAGS)

    def _users(self, request: Request) -> Reply:
        return Reply(200, [{"id": number, "email": email} for number, email in self.world.people.items()])

    def _projects(self, request: Request) -> Reply:
        rows = [self.world.project(each) for each in sorted(self.world.contents.projects)]
        page, size = int(request.params.get("page", 1)), int(request.params.get("page_size", 30))
        part = rows[(page - 1) * size : page * size]
        if page > 1 and not part:
            raise Missing("page")
        more = f"{self.url}/api/projects/?page={page + 1}" if page * size < len(rows) else None
        return Reply(200, {"count": len(rows), "next": more, "previous": None, "results": _pruned(part, request.params)})

    def _create_project(self, request: Request) -> Reply:
        return Reply(201, self.world.create_project(request.body))

    def _project(self, request: Request, project_id: int) -> Reply:
        return Reply(200, self.world.project(project_id))

    def _change_project(self, request: Request, project_id: int) -> Reply:
        return Reply(200, self.world.change_project(project_id, request.body))

    def _delete_project(self, request: Request, project_id: int) -> Reply:
        self.world.delete_project(project_id)
        return Reply(204)

    def _import_tasks(self, request: Request, project_id: int) -> Reply:
        made = self.world.import_tasks(project_id, request.body)
        told = made if request.params.get("return_task_ids") == "true" else {**made, "task_ids": None}
        return Reply(201, told)

    def _export(self, request: Request, project_id: int) -> Reply:
        self.world.project(project_id)
        return Reply(200, [task for task in self.world.tasks_of(project_id) if task["annotations"]])

    def _next_task(self, request: Request, project_id: int) -> Reply:
        """The open task of the lowest score that this person has not answered."""
        self.world.project(project_id)
        waiting = [
            task
            for task in self.world.tasks_of(project_id)
            if not task["is_labeled"] and request.user not in [one["completed_by"] for one in task["annotations"]]
        ]
        if not waiting:
            raise Missing("task")
        return Reply(200, min(waiting, key=lambda task: min([each["score"] for each in task["predictions"]], default=1.0)))

    def _tasks(self, request: Request) -> Reply:
        project_id = int(request.params["project"])
        self.world.project(project_id)
        query = json.loads(unquote(request.params["query"])) if "query" in request.params else request.body or {}
        rows = ordered(query, [task for task in self.world.tasks_of(project_id) if matches(query, task)])
        page, size = int(request.params.get("page", 1)), int(request.params.get("page_size", 100))
        part = rows[(page - 1) * size : page * size]
        if page > 1 and not part:
            return Reply(404, {"detail": "Invalid page.", "status_code": 404})
        given = sum(task["total_annotations"] for task in rows)
        counts = {"total": len(rows), "total_annotations": given, "total_predictions": len(rows)}
        return Reply(200, {**counts, "tasks": _pruned(part, request.params)})

    def _task(self, request: Request, task_id: int) -> Reply:
        return Reply(200, self.world.task(task_id))

    def _delete_task(self, request: Request, task_id: int) -> Reply:
        self.world.delete_task(task_id)
        return Reply(204)

    def _annotations(self, request: Request, task_id: int) -> Reply:
        return Reply(200, [one for one in self.world.task(task_id)["annotations"] if not one["was_cancelled"]])

    def _annotate(self, request: Request, task_id: int) -> Reply:
        return Reply(201, self.world.annotate(task_id, request.user, request.body))

    def _draft(self, request: Request, task_id: int) -> Reply:
        return Reply(201, self.world.draft(task_id, request.user, request.body))

    def _drafts(self, request: Request, task_id: int) -> Reply:
        return Reply(200, self.world.task(task_id)["drafts"])

    def _annotation(self, request: Request, annotation_id: int) -> Reply:
        return Reply(200, self.world.annotation(annotation_id)[1])

    def _revise(self, request: Request, annotation_id: int) -> Reply:
        return Reply(200, self.world.revise(annotation_id, request.user, request.body))

    def _delete_annotation(self, request: Request, annotation_id: int) -> Reply:
        self.world.delete_annotation(annotation_id, request.user)
        return Reply(204)

    def _bulk_action(self, request: Request) -> Reply:
        """Over all tasks of a project, or those named."""
        action, chosen = request.params["id"], request.body["selectedItems"]
        tasks = self.world.tasks_of(int(request.params["project"]))
        named = set(chosen.get("included", [])) if not chosen["all"] else {task["id"] for task in tasks}
        tasks = [task for task in tasks if task["id"] in named - set(chosen.get("excluded", []))]
        if action == "predictions_to_annotations":
            self.world.annotate_in_bulk(tasks, request.user)
        elif action == "delete_tasks":
            for task in tasks:
                self.world.delete_task(task["id"])
        elif action == "delete_tasks_annotations":
            for one in [one for task in tasks for one in list(task["annotations"])]:
                self.world.delete_annotation(one["id"], request.user)
        else:
            raise NotUnderstood(f"bulk action {action!r}")
        return Reply(200, {"processed_items": len(tasks)})

    # ------------------------------------------------------------------------------------------------- webhooks

    def _webhooks(self, request: Request) -> Reply:
        asked = request.params.get("project")
        return Reply(200, [hook for hook in self.world.contents.webhooks.values() if asked in (None, str(hook["project"]))])

    def _create_webhook(self, request: Request) -> Reply:
        return Reply(201, self.world.create_webhook(request.body))

    def _webhook(self, request: Request, webhook_id: int) -> Reply:
        return Reply(200, self.world.webhook(webhook_id))

    def _change_webhook(self, request: Request, webhook_id: int) -> Reply:
        self.world.webhook(webhook_id).update(request.body)
        return Reply(200, self.world.webhook(webhook_id))

    def _delete_webhook(self, request: Request, webhook_id: int) -> Reply:
        self.world.webhook(webhook_id)
        del self.world.contents.webhooks[webhook_id]
        return Reply(204)

    def _fire(self, action: str, project_id: int, body: Row) -> None:
        self._to_fire.append((action, project_id, json.loads(json.dumps(body))))

    def _send_hooks(self, action: str, project_id: int, body: Row) -> None:
        """Once, inside the request that caused it, for a second at most; whatever goes wrong is nobody's business."""
        for hook in list(self.world.contents.webhooks.values()):
            wanted = hook["send_for_all_actions"] or action in hook["actions"]
            if hook["project"] != project_id or not hook["is_active"] or not wanted:
                continue
            told = {"action": action, "project": {"id": project_id}, **body} if hook["send_payload"] else {"action": action}
            try:
                requests.post(hook["url"], json=told, headers=hook["headers"], timeout=WEBHOOK_SECONDS)
                self.webhooks_sent["delivered"] += 1
            except requests.RequestException:
                self.webhooks_sent["lost"] += 1


_INSTEAD: Final = {"refused": 503, "stumbled": 500, "throttled": 429, "reset": 503}


def _pruned(rows: Sequence[Row], params: Mapping[str, str]) -> list[Row]:
    """`include` prunes nested objects to the same names, as the real server does."""
    names = set(filter(None, params.get("include", "").split(",")))
    if not names:
        return list(rows)
    kept = [{name: value for name, value in row.items() if name in names} for row in rows]
    for row in kept:
        for nested in ("annotations", "predictions"):
            if nested in row:
                row[nested] = [{name: value for name, value in one.items() if name in names} for one in row[nested]]
    return kept
