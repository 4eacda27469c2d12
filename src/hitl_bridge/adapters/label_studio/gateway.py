"""The labeling service that reviewers work in, as Label Studio."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from hitl_bridge.adapters.label_studio import payloads
from hitl_bridge.adapters.label_studio.client import (
    LabelStudioClient,
    NotFound,
    OutcomeUnclear,
    RequestRejected,
    ServerStumbled,
    encoded,
)
from hitl_bridge.adapters.label_studio.label_configs import LabelConfig, fingerprint
from hitl_bridge.adapters.label_studio.payloads import GONE_REMEDY, MODEL_VERSION, Prepared, Reader
from hitl_bridge.core.model import JSON, JSONObject, Project, ProjectId, ProjectKey, PushKey, TaskId
from hitl_bridge.errors import LabelingUnavailable, RemoteGone
from hitl_bridge.ports import (
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
CREATED_PAGE: Final = 5_000
MOST_URL: Final = 2_000
WIDEST_PAGE: Final = 12_800
MOST_SPLITS: Final = 200
OVERLAP: Final = timedelta(minutes=5)
_CHANGED: Final[Mapping[str, str | int]] = {"include": payloads.STATE_ROW, "fields": "all", "page": 1}
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
        self._overlap = overlap
        self._page_size = page_size
        self._namespace = namespace
        self._configs: dict[ProjectId, LabelConfig] = {}
        self._names: dict[int, str] = {}

    # ------------------------------------------------------------------------------------------- the service

    def ping(self) -> ServiceStatus:
        version = self._client.get("/api/version")
        release = version.get("release") if isinstance(version, Mapping) else None
        me = self._client.get("/api/current-user/whoami")
        return ServiceStatus(
            url=self._client.url,
            version=str(release or "unknown"),
            user=payloads.field(me, "email", str),
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

    def keep_project(self, plan: ProjectPlan, known: Project | None) -> Project:
        config = LabelConfig(plan.label_config)
        wanted = payloads.project_json(plan, self._mark(plan.key))
        project_id = self._find_project(self._mark(plan.key)) if known is None else known.project_id
        if project_id is None:
            made = self._client.post("/api/projects/", wanted)
            project_id = ProjectId(payloads.field(made, "id", int))
        else:
            self._bring_up_to_date(project_id, wanted, known)
        self._configs[project_id] = config
        return Project(plan.key, project_id, payloads.title(plan), self._project_url(project_id), config.sha256)

    def _mark(self, key: ProjectKey) -> str:
        return f"{key.mark}@{self._namespace}" if self._namespace else key.mark

    def _find_project(self, mark: str) -> ProjectId | None:
        """By a line of the description, whatever the title has become; of two (a POST that was unclear) the older."""
        found = [payloads.field(row, "id", int) for row in self._projects() if mark in payloads.description_lines(row)]
        return ProjectId(min(found)) if found else None

    def _projects(self) -> Iterator[JSON]:
        page = 1
        while True:
            query: dict[str, str | int] = {"include": "id,title,description", "page_size": 100, "page": page, "ordering": "id"}
            reply = self._client.get("/api/projects/", query)
            yield from payloads.rows_of(reply, "results")
            if not isinstance(reply, Mapping) or reply.get("next") is None:
                return
            page += 1

    def _bring_up_to_date(self, project_id: ProjectId, wanted: JSONObject, known: Project | None) -> None:
        """PATCHes what differs, in one call, and nothing if nothing does."""
        path = f"/api/projects/{project_id}/"
        with remote_project(project_id, known.title if known else str(wanted["title"])):
            has = self._client.get(path)
            if not isinstance(has, Mapping):
                raise LabelingUnavailable(f"GET {path} was not answered with a project; nothing was changed.")
            if known is not None and payloads.is_another(has, known, self._mark(known.key)):
                raise another(known)
            different = {name: value for name, value in wanted.items() if has.get(name) != value}
            if different:
                self._client.patch(path, different)
            version = "" if "show_collab_predictions" in different else has.get("model_version")
            if version != MODEL_VERSION and has.get("task_number"):
                self._show_predictions(project_id)

    def _show_predictions(self, project_id: ProjectId) -> None:
        """The label stream shows only predictions of the project's own model version."""
        try:
            self._client.patch(f"/api/projects/{project_id}/", {"model_version": MODEL_VERSION})
        except RequestRejected:
            # There is no prediction of ours yet: an empty version is set by the next import.
            self._client.patch(f"/api/projects/{project_id}/", {"model_version": ""})

    def _config(self, project: Project, *, fresh: bool = False) -> LabelConfig:
        """The label config as the project has it now, read once and kept."""
        if fresh or project.project_id not in self._configs:
            with remote_project(project.project_id, project.title):
                there = self._client.get(f"/api/projects/{project.project_id}/")
            xml = payloads.field(there, "label_config", str)
            kept = self._configs.get(project.project_id)
            if kept is None or kept.sha256 != fingerprint(xml):
                self._configs[project.project_id] = LabelConfig(xml)
        return self._configs[project.project_id]

    # ------------------------------------------------------------------------------------------------- tasks

    def create_tasks(self, project: Project, tasks: Sequence[TaskContent]) -> PushOutcome:
        config = self._config(project)
        checked = [payloads.prepare(task, config) for task in tasks]
        push = _Push(refused=[one for one in checked if isinstance(one, Refusal)])
        ready = [one for one in checked if isinstance(one, Prepared)]
        for batch in payloads.batches(ready, BATCH_TASKS, BATCH_BYTES):
            self._import(project, batch, push)
        return self._outcome(project, push)

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

    def _outcome(self, project: Project, push: _Push) -> PushOutcome:
        try:
            times = self._creation_times(project, [task_id for _, task_id in push.imported])
        except LabelingUnavailable as away:
            times = {}
            push.reason = push.reason or away.message
        created = [RemoteTask(key, task_id, times[task_id]) for key, task_id in push.imported if task_id in times]
        unseen = [key for key, task_id in push.imported if task_id not in times]
        return PushOutcome(tuple(created), tuple(push.refused), (*push.unknown, *unseen), push.reason)

    def _creation_times(self, project: Project, ids: Sequence[TaskId]) -> dict[TaskId, str]:
        if not ids:
            return {}
        wanted = set(ids)
        page_size = min(len(ids) + 1, CREATED_PAGE)  # one more than there are, so that one page shows it is the last
        cheap = {"include": "id,created_at", "fields": "task_only"}  # "all" makes the server compute every column
        rows = self._list(project, payloads.ids_query(min(ids), max(ids)), cheap, page_size)
        times = {TaskId(payloads.field(row, "id", int)): payloads.moment(row, "created_at") for row in rows}
        return {task_id: at for task_id, at in times.items() if task_id in wanted}

    def find_tasks(self, project: Project, keys: Sequence[PushKey]) -> list[RemoteTask]:
        wanted = list(dict.fromkeys(keys))
        found: list[RemoteTask] = []
        for start in range(0, len(wanted), LOOKUP_KEYS):
            query = payloads.keys_query(wanted[start : start + LOOKUP_KEYS])
            rows = self._list(project, query, {"include": payloads.TASK_ROW, "fields": "all"}, 2 * LOOKUP_KEYS)
            found += payloads.remote_tasks(rows)
        return [task for task in found if task.push_key in set(wanted)]

    def task_count(self, project: Project) -> int:
        with remote_project(project.project_id, project.title):
            return payloads.field(self._client.get(f"/api/projects/{project.project_id}/"), "task_number", int)

    def _list(self, project: Project, query: JSONObject, columns: Mapping[str, str], page_size: int) -> list[JSON]:
        """All rows of a query that nobody changes meanwhile."""
        rows: list[JSON] = []
        while True:
            page = len(rows) // page_size + 1
            got = self._page(project, query, {**columns, "page_size": page_size, "page": page})
            rows += got
            if len(got) < page_size:
                return rows

    def _page(self, project: Project, query: JSONObject, params: Mapping[str, str | int]) -> tuple[JSON, ...]:
        """One page of the task list. A query travels in the URL, as some proxies drop the body of a GET, unless it is long."""
        asked = {"project": int(project.project_id), "resolve_uri": "false", **params}
        text = encoded(query).decode("utf-8")
        in_url = len(text) <= MOST_URL and "%" not in text  # Label Studio decodes a percent sign twice
        try:
            reply = self._client.get("/api/tasks/", {**asked, "query": text} if in_url else asked, None if in_url else query)
        except NotFound:
            if params.get("page", 1) == 1:
                raise gone(project.project_id, project.title) from None
            return ()  # past the end
        return payloads.rows_of(reply, "tasks")

    def changed_since(self, project: Project, cursor: str | None) -> Iterator[RemoteTaskState]:
        """Always the first page of what is at or after the last time seen, until a page brings nothing new."""
        since = None if cursor is None else payloads.filter_time(cursor, self._overlap)
        size, seen, config = self._page_size, set[tuple[int, str]](), _Refresh()
        while True:
            query = payloads.answered_query(since) if cursor is None else payloads.changed_query(since or "")
            with listing(project):
                rows = self._page(project, query, {**_CHANGED, "page_size": size})
            for row in rows:
                state = self._state(project, row, config)
                if state is not None and (state.task_id, state.updated_at) not in seen:
                    seen.add((state.task_id, state.updated_at))
                    yield state
            if len(rows) < size:
                return
            last = payloads.filter_time(payloads.field(rows[-1], "updated_at", str))
            if since is not None and last < since:
                raise LabelingUnavailable("Label Studio did not heed the filter on `updated_at`; nothing was skipped.")
            if last == since:
                size = wider(size)
            since = last

    def _state(self, project: Project, row: JSON, config: _Refresh) -> RemoteTaskState | None:
        state = payloads.task_state(row, lambda: self._reader(project))
        if state is None or config.done or all(one.problem is None for one in state.annotations):
            return state
        # Perhaps the label config was changed since it was last read: look, once a sweep.
        self._config(project, fresh=True)
        config.done = True
        return payloads.task_state(row, lambda: self._reader(project))

    def _reader(self, project: Project) -> Reader:
        return Reader(self._config(project), self._name_of, self._client.user_id())

    def _name_of(self, user_id: int) -> str:
        """E-mail of an account; kept, because an account that is deleted takes its name with it."""
        if user_id not in self._names:
            listed = self._client.get("/api/users/")
            people = listed if isinstance(listed, Sequence) and not isinstance(listed, str) else ()
            for person in people:
                self._names[payloads.field(person, "id", int)] = payloads.field(person, "email", str)
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
    """Whether a sweep has read the label config anew already."""

    done: bool = False


@dataclass(slots=True)
class _Push:
    """What became of the tasks of one push, while it goes on. Once a `reason` is there, nothing more is sent."""

    imported: list[tuple[PushKey, TaskId]] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    unknown: list[PushKey] = field(default_factory=list)
    reason: str = ""
    splits: int = 0

    def take(self, part: Sequence[Prepared], ids: Sequence[TaskId]) -> None:
        self.imported += [(task.push_key, task_id) for task, task_id in zip(part, ids, strict=True)]

    def doubt(self, part: Sequence[Prepared], reason: str) -> None:
        self.unknown += [task.push_key for task in part]
        self.reason = reason


def wider(size: int) -> int:
    """The next page size, when a whole page shares one timestamp (a bulk action)."""
    if size >= WIDEST_PAGE:
        raise LabelingUnavailable(
            f"More than {WIDEST_PAGE} tasks of one project changed in the same microsecond.",
            remedy="A bulk action in Label Studio did that; split the project, or pull with a full sweep.",
        )
    return size * 2


def gone(project_id: ProjectId, name: str) -> RemoteGone:
    return RemoteGone(f"Project {project_id} ({name}) is not in Label Studio any more.", remedy=GONE_REMEDY)


def another(known: Project) -> RemoteGone:
    return RemoteGone(
        f"Project {known.project_id} of Label Studio is not {known.title!r} but somebody else's; nothing in it was changed.",
        remedy=f"See that label_studio.url names the Label Studio that holds the answers. If it does: {GONE_REMEDY}",
    )


@contextmanager
def remote_project(project_id: ProjectId, name: str) -> Iterator[None]:
    """A 404 inside means that the project is gone."""
    try:
        yield
    except NotFound:
        raise gone(project_id, name) from None


@contextmanager
def listing(project: Project) -> Iterator[None]:
    """One row that Label Studio can't show makes a 500 of the whole list: say in which project to look for it."""
    try:
        yield
    except ServerStumbled as stumbled:
        raise LabelingUnavailable(
            stumbled.message,
            remedy="Run the command again in a while; nothing is lost. If it stays so, Label Studio stumbles over a task or an "
            f"answer of project {project.title!r} ({project.url}): see its log, and mend or delete that one.",
        ) from stumbled
