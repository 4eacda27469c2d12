"""The labeling service that reviewers work in, as Label Studio."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from hitl_bridge.adapters.label_studio import filters, payloads, remote, replies
from hitl_bridge.adapters.label_studio.client import LabelStudioClient, NotFound, OutcomeUnclear, RequestRejected
from hitl_bridge.adapters.label_studio.label_configs import LabelConfig, fingerprint
from hitl_bridge.adapters.label_studio.listing import UNREADABLE, Row, TaskLists, Unreadable, another, remote_project
from hitl_bridge.adapters.label_studio.payloads import MODEL_VERSION, Prepared
from hitl_bridge.adapters.label_studio.remote import Reader
from hitl_bridge.core.model import JSON, JSONObject, Project, ProjectId, ProjectKey, PushKey, TaskId
from hitl_bridge.core.sync import OVERLAP, label_config_changed
from hitl_bridge.errors import LabelingUnavailable
from hitl_bridge.ports import (
    ManifestTask,
    ProjectLook,
    ProjectPlan,
    PushOutcome,
    Refusal,
    RemoteTask,
    RemoteTaskState,
    ServiceStatus,
    TaskContent,
)

BATCH_TASKS: Final = 200
BATCH_BYTES: Final = 5_000_000
LOOKUP_KEYS: Final = 300
PAGE: Final = 200
MOST_SPLITS: Final = 200
VALIDATION_FLAG: Final = "fflag_feat_utc_210_prediction_validation_15082025"


class LabelStudio:
    """Implements `ports.LabelingService`.

    `overlap` is how far before the cursor changes are read again: a row becomes visible later than its timestamp says.
    `namespace` keeps two workspaces apart that use pools of the same name on one Label Studio.
    """

    def __init__(
        self, client: LabelStudioClient, *, overlap: timedelta = OVERLAP, namespace: str = "", page_size: int = PAGE
    ) -> None:
        self._client = client
        self._lists = TaskLists(client, overlap, page_size)
        self._namespace = namespace
        self._configs: dict[ProjectId, LabelConfig] = {}
        self._seen_configs: dict[ProjectId, str] = {}
        self._names: dict[int, str] = {}

    # ------------------------------------------------------------------------------------------- the service

    def ping(self) -> ServiceStatus:
        version = self._client.get("/api/version")
        release = version.get("release") if isinstance(version, Mapping) else None
        me = self._client.get("/api/current-user/whoami")
        return ServiceStatus(
            url=self._client.url,
            version=str(release or "unknown"),
            user=replies.field(me, "email", str),
            warnings=tuple(self._warnings()),
        )

    def _warnings(self) -> Iterator[str]:
        try:
            flags = self._client.get_text("/feature-flags/?ajax=1").replace("&quot;", '"')
        except (LabelingUnavailable, NotFound, RequestRejected):
            flags = ""
            yield "Whether Label Studio checks predictions by itself could not be seen."
        if flags and f'"{VALIDATION_FLAG}": true' not in flags:
            yield f"Label Studio does not check predictions by itself; start it with {VALIDATION_FLAG}=true."
        parts = urlsplit(self._client.url)
        if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
            yield "The token travels unencrypted: label_studio.url in hitl.yaml begins with http."

    # ---------------------------------------------------------------------------------------------- projects

    def keep_project(self, plan: ProjectPlan, known: Project | None, *, restore_config: bool = False) -> Project:
        config = LabelConfig(plan.label_config)
        wanted = payloads.project_json(plan, self._mark(plan.key))
        project_id = self._find_project(self._mark(plan.key)) if known is None else known.project_id
        if project_id is None:
            made = self._client.post("/api/projects/", wanted)
            project_id = ProjectId(replies.field(made, "id", int))
        else:
            self._bring_up_to_date(project_id, wanted, known, restore_config)
        self._configs[project_id], self._seen_configs[project_id] = config, config.xml
        url, epoch = self._project_url(project_id), 0 if known is None else known.epoch
        return Project(plan.key, project_id, payloads.title(plan), url, config.sha256, epoch)

    def _mark(self, key: ProjectKey) -> str:
        return f"{key.mark}@{self._namespace}" if self._namespace else key.mark

    def _find_project(self, mark: str) -> ProjectId | None:
        """By a line of the description, whatever the title has become; of two (a POST that was unclear) the older."""
        found = [replies.field(row, "id", int) for row in self._projects() if mark in payloads.description_lines(row)]
        return ProjectId(min(found)) if found else None

    def _projects(self) -> Iterator[JSON]:
        page = 1
        while True:
            query: dict[str, str | int] = {"include": "id,title,description", "page_size": 100, "page": page, "ordering": "id"}
            reply = self._client.get("/api/projects/", query)
            yield from replies.rows_of(reply, "results")
            if not isinstance(reply, Mapping) or reply.get("next") is None:
                return
            page += 1

    def _bring_up_to_date(self, project_id: ProjectId, wanted: JSONObject, known: Project | None, restore_config: bool) -> None:
        """PATCHes what differs, in one call, and nothing if nothing does."""
        with remote_project(project_id, known.title if known else str(wanted["title"])):
            has = self._project(project_id)
            if known is not None:
                self._refuse_another(has, known)
                if not restore_config:
                    refuse_changed_config(has, known, fingerprint(str(wanted["label_config"])))
            different = {name: value for name, value in wanted.items() if has.get(name) != value}
            if different:
                self._client.patch(f"/api/projects/{project_id}/", different)
            version = "" if "show_collab_predictions" in different else has.get("model_version")
            if version != MODEL_VERSION and has.get("task_number"):
                self._show_predictions(project_id)

    def _project(self, project_id: ProjectId) -> JSONObject:
        path = f"/api/projects/{project_id}/"
        has = self._client.get(path)
        if not isinstance(has, Mapping):
            raise LabelingUnavailable(f"GET {path} was not answered with a project; nothing was changed.")
        return has

    def _refuse_another(self, has: JSONObject, known: Project) -> None:
        if payloads.is_another(has, known, self._mark(known.key)):
            raise another(known)

    def look(self, project: Project) -> ProjectLook:
        with remote_project(project.project_id, project.title):
            has = self._project(project.project_id)
        self._refuse_another(has, project)
        xml = replies.field(has, "label_config", str)
        self._seen_configs[project.project_id] = xml
        return ProjectLook(replies.field(has, "task_number", int), fingerprint(xml))

    def _show_predictions(self, project_id: ProjectId) -> None:
        """The label stream shows only predictions of the project's own model version."""
        try:
            self._client.patch(f"/api/projects/{project_id}/", {"model_version": MODEL_VERSION})
        except RequestRejected:
            # There is no prediction of ours yet: an empty version is set by the next import.
            self._client.patch(f"/api/projects/{project_id}/", {"model_version": ""})

    def _config(self, project: Project, *, fresh: bool = False) -> LabelConfig:
        """The label config as the project has it now, read once and kept."""
        if fresh or project.project_id not in self._seen_configs:
            with remote_project(project.project_id, project.title):
                there = self._project(project.project_id)
            self._seen_configs[project.project_id] = replies.field(there, "label_config", str)
        xml, kept = self._seen_configs[project.project_id], self._configs.get(project.project_id)
        if kept is None or kept.xml != xml:
            kept = self._configs[project.project_id] = LabelConfig(xml)
        return kept

    # ------------------------------------------------------------------------------------------------- tasks

    def create_tasks(self, project: Project, tasks: Sequence[TaskContent]) -> PushOutcome:
        """While the server works on one batch, the next is prepared. One request is under way at a time: a server on SQLite
        makes writers queue."""
        config, push = self._config(project), _Push()
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="import") as sender:
            sent: Future[None] | None = None
            for batch in payloads.batches(push.prepared(tasks, config), BATCH_TASKS, BATCH_BYTES):
                if sent is not None:
                    sent.result()
                sent = sender.submit(self._import, project, batch, push)
            if sent is not None:
                sent.result()
        return PushOutcome(tuple(push.created), tuple(push.refused), tuple(push.unknown), push.reason)

    def _import(self, project: Project, batch: tuple[Prepared, ...], push: _Push) -> None:
        """One batch, sent once. A batch that is refused stored nothing: it is halved until the culprit stands alone."""
        waiting = [batch]
        while waiting:
            part = waiting.pop()
            if push.reason:
                push.unknown += [task.push_key for task in part]
                continue
            try:
                push.take(part, self._send(project, part))
            except OutcomeUnclear as unclear:
                push.doubt(part, unclear.message)
            except RequestRejected as rejected:
                if len(part) == 1:
                    push.refused.append(Refusal(part[0].push_key, rejected.reason))
                elif push.splits >= MOST_SPLITS:
                    push.doubt(part, f"too many refusals in one push, the last: {rejected.reason}")
                else:
                    push.splits += 1
                    half = len(part) // 2
                    waiting += [part[half:], part[:half]]

    def _send(self, project: Project, part: Sequence[Prepared]) -> tuple[TaskId, ...]:
        path = f"/api/projects/{project.project_id}/import"
        with remote_project(project.project_id, project.title):
            reply = self._client.post(path, payloads.joined(part), {"return_task_ids": "true"})
        ids = payloads.imported_ids(reply, len(part))
        if ids is None:
            raise OutcomeUnclear(f"Label Studio's counts for an import of {len(part)} tasks do not add up.")
        return ids

    def find_tasks(self, project: Project, keys: Sequence[PushKey]) -> list[RemoteTask]:
        wanted = list(dict.fromkeys(keys))
        found: list[RemoteTask] = []
        for start in range(0, len(wanted), LOOKUP_KEYS):
            query = filters.keys_query(wanted[start : start + LOOKUP_KEYS])
            rows = self._lists.all(project, query, {"include": remote.TASK_ROW, "fields": "all"}, 2 * LOOKUP_KEYS)
            found += remote.remote_tasks(rows)
        return [task for task in found if task.push_key in set(wanted)]

    def delete_untouched(self, project: Project, task: RemoteTask) -> bool:
        """Looks at the task itself and at everybody's drafts, and deletes it in the next moment."""
        path = f"/api/tasks/{task.task_id}/"
        try:
            there = self._client.get(path, {"resolve_uri": "false"})
            drafts = self._client.get(f"/api/tasks/{task.task_id}/drafts")
        except NotFound:
            return True
        same = remote.bridge_key(there) == task.push_key and replies.field(there, "project", int) == project.project_id
        if not same or drafts or replies.rows_of(there, "annotations"):
            return False
        self._client.delete(path)
        return True

    def changed_since(self, project: Project, cursor: str | None) -> Iterator[RemoteTaskState]:
        seen, config = set[tuple[int, str]](), _Refresh()
        for row in self._lists.changed(project, cursor):
            state = self._state(project, row, config)
            if state is not None and (state.task_id, state.updated_at) not in seen:
                seen.add((state.task_id, state.updated_at))
                yield state

    def states_of(self, project: Project, ids: Sequence[TaskId]) -> list[RemoteTaskState]:
        config = _Refresh()
        states = [self._state(project, row, config) for row in self._lists.by_ids(project, ids)]
        return [state for state in states if state is not None]

    def manifest(self, project: Project) -> Iterator[ManifestTask]:
        return self._lists.manifest(project)

    def _state(self, project: Project, row: Row, config: _Refresh) -> RemoteTaskState | None:
        if isinstance(row, Unreadable):
            return remote.unreadable_state(row.row, UNREADABLE)
        state = remote.task_state(row, lambda: self._reader(project))
        if state is None or config.done or all(one.problem is None for one in state.annotations):
            return state
        # Perhaps the label config was changed since it was last read: look, once a list.
        self._config(project, fresh=True)
        config.done = True
        return remote.task_state(row, lambda: self._reader(project))

    def _reader(self, project: Project) -> Reader:
        return Reader(self._config(project), self._name_of, self._client.user_id())

    def _name_of(self, user_id: int) -> str:
        """E-mail of an account; kept, because an account that is deleted takes its name with it."""
        if user_id not in self._names:
            listed = self._client.get("/api/users/")
            people = listed if isinstance(listed, Sequence) and not isinstance(listed, str) else ()
            for person in people:
                self._names[replies.field(person, "id", int)] = replies.field(person, "email", str)
        return self._names.setdefault(user_id, f"account {user_id}")

    # ------------------------------------------------------------------------------------- links and counts

    def task_url(self, project: Project, task_id: TaskId) -> str:
        return f"{self._client.url}/projects/{project.project_id}/data?task={task_id}"

    @property
    def requests_made(self) -> int:
        return self._client.requests_made

    def _project_url(self, project_id: ProjectId) -> str:
        return f"{self._client.url}/projects/{project_id}/"


@dataclass(slots=True)
class _Refresh:
    """Whether the label config was read anew for this list already."""

    done: bool = False


@dataclass(slots=True)
class _Push:
    """What became of the tasks of one push, while it goes on. Once a `reason` is there, nothing more is sent."""

    created: list[RemoteTask] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    unknown: list[PushKey] = field(default_factory=list)
    reason: str = ""
    splits: int = 0

    def prepared(self, tasks: Iterable[TaskContent], config: LabelConfig) -> Iterator[Prepared]:
        for task in tasks:
            checked = payloads.prepare(task, config)
            if isinstance(checked, Prepared):
                yield checked
            else:
                self.refused.append(checked)

    def take(self, part: Sequence[Prepared], ids: Sequence[TaskId]) -> None:
        self.created += [RemoteTask(task.push_key, task_id) for task, task_id in zip(part, ids, strict=True)]

    def doubt(self, part: Sequence[Prepared], reason: str) -> None:
        self.unknown += [task.push_key for task in part]
        self.reason = reason


def refuse_changed_config(has: JSONObject, known: Project, wanted: str) -> None:
    """Raises ProjectChanged if the label config is neither the one that we left nor the one that we want."""
    if fingerprint(replies.field(has, "label_config", str)) not in (known.label_config_sha256, wanted):
        raise label_config_changed(known)
