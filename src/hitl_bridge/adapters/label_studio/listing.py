"""Lists of tasks from Label Studio: by query, by what changed, by id, all; also where it stumbles over a row of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeAlias

from hitl_bridge.adapters.label_studio import filters, remote, replies
from hitl_bridge.adapters.label_studio.client import LabelStudioClient, NotFound, ServerStumbled, encoded
from hitl_bridge.adapters.label_studio.payloads import GONE_REMEDY
from hitl_bridge.core.model import JSON, JSONObject, Project, ProjectId, TaskId
from hitl_bridge.errors import LabelingUnavailable, RemoteGone
from hitl_bridge.ports import ManifestTask

MANIFEST_PAGE: Final = 1_000
MOST_URL: Final = 2_000
WIDEST_PAGE: Final = 12_800
MANY_UNREADABLE: Final = 10
UNREADABLE: Final = "Label Studio answers 500 where its annotations are to be shown"

Columns = Mapping[str, str | int]
_WHOLE: Final[Columns] = {"include": remote.STATE_ROW, "fields": "all", "page": 1}
_MANIFEST: Final[Columns] = {"include": remote.MANIFEST_ROW, "fields": "all", "page": 1}


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A task that can't be listed with its annotations, as a row without them."""

    row: JSON


Row: TypeAlias = "JSON | Unreadable"


class TaskLists:
    """`overlap` is how far before the cursor changes are read again. No list goes by offset where others may write."""

    def __init__(self, client: LabelStudioClient, overlap: timedelta, page_size: int, manifest_page: int = MANIFEST_PAGE) -> None:
        self._client = client
        self._overlap = overlap
        self._page_size = page_size
        self._manifest_page = manifest_page

    def all(self, project: Project, query: JSONObject, columns: Columns, page_size: int) -> list[JSON]:
        """All rows of a query that nobody changes meanwhile."""
        rows: list[JSON] = []
        while True:
            page = len(rows) // page_size + 1
            got = self._page(project, query, {**columns, "page_size": page_size, "page": page})
            rows += got
            if len(got) < page_size:
                return rows

    def changed(self, project: Project, cursor: str | None) -> Iterator[Row]:
        """Always the first page of what is at or after the last time seen, until a page brings nothing new.

        Rows can come twice. A server whose clock was set back writes times before the cursor: then its own time counts.
        """
        since, size = self._since(cursor), self._page_size
        while True:
            query = filters.answered_query(since) if cursor is None else filters.changed_query(since or "")
            rows, last = self._first_page(project, query, size)
            yield from rows
            if len(rows) < size:
                return
            if since is not None and last < since:
                raise LabelingUnavailable("Label Studio did not heed the filter on `updated_at`; nothing was skipped.")
            if last == since:
                size = wider(size)
            since = last

    def whole(self, project: Project) -> Iterator[JSON]:
        """Every task that holds an annotation, with its predictions. Rows can come twice."""
        since: str | None = None
        size = self._page_size
        while True:
            query = filters.answered_query(since)
            columns: Columns = {**_WHOLE, "include": f"{remote.STATE_ROW},{remote.PREDICTION_ROW}", "page_size": size}
            with listing(project):
                rows = self._page(project, query, columns)
            yield from rows
            if len(rows) < size:
                return
            last = replies.moment(rows[-1], "updated_at")
            since, size = last, wider(size) if last == since else size

    def _since(self, cursor: str | None) -> str | None:
        if cursor is None:
            return None
        now = self._client.server_time
        newest = cursor if now is None else min(replies.filter_time(cursor), replies.filter_time(now.isoformat()))
        return replies.filter_time(newest, self._overlap)

    def _first_page(self, project: Project, query: JSONObject, size: int) -> tuple[Sequence[Row], str]:
        """The rows, and the time of the last. One row that Label Studio can't show makes a 500 of the whole page: then the
        rows are asked for by their ids, and halved until it stands alone."""
        try:
            whole = self._page(project, query, {**_WHOLE, "page_size": size}, one_row=True)
            return whole, replies.moment(whole[-1], "updated_at") if whole else ""
        except ServerStumbled:
            rows = self._light(project, query, size)
            ids = [TaskId(replies.field(row, "id", int)) for row in rows]
            return self.by_ids(project, ids), replies.moment(rows[-1], "updated_at") if rows else ""

    def by_ids(self, project: Project, ids: Sequence[TaskId]) -> list[Row]:
        """Of these tasks those that are there, in the order of `ids`."""
        found: list[Row] = []
        for start in range(0, len(ids), self._page_size):
            found += self._halved(project, ids[start : start + self._page_size])
        if len(found) > MANY_UNREADABLE and all(isinstance(row, Unreadable) for row in found):
            raise stumbles(project)
        place = {task_id: number for number, task_id in enumerate(ids)}
        return sorted(found, key=lambda row: place.get(_id(row), len(place)))

    def _halved(self, project: Project, ids: Sequence[TaskId]) -> list[Row]:
        if not ids:
            return []
        query, alone = filters.ids_query(ids), len(ids) == 1  # of one that stands alone a passing trouble must not be believed
        try:
            return list(self._page(project, query, {**_WHOLE, "page_size": len(ids)}, one_row=not alone))
        except ServerStumbled:
            if alone:
                return [Unreadable(row) for row in self._light(project, query, 1)]
            half = len(ids) // 2
            return [*self._halved(project, ids[:half]), *self._halved(project, ids[half:])]

    def _light(self, project: Project, query: JSONObject, size: int) -> tuple[JSON, ...]:
        """The rows without their annotations, and if need be without their data."""
        columns: dict[str, str | int] = {"fields": "task_only", "page": 1, "page_size": size}
        try:
            return self._page(project, query, {**columns, "include": remote.LIGHT_ROW}, one_row=True)
        except ServerStumbled:
            with listing(project):
                return self._page(project, query, {**columns, "include": remote.LIGHTEST_ROW})

    def manifest(self, project: Project) -> Iterator[ManifestTask]:
        """Every task by id."""
        last = 0
        while True:
            with listing(project):
                rows = self._page(project, filters.after_query(last), {**_MANIFEST, "page_size": self._manifest_page})
            for row in rows:
                task = remote.manifest_task(row)
                yield task
                last = max(last, task.task_id)
            if len(rows) < self._manifest_page:
                return

    def _page(self, project: Project, query: JSONObject, params: Columns, *, one_row: bool = False) -> tuple[JSON, ...]:
        """One page of the task list. A query travels in the URL, as some proxies drop the body of a GET, unless it is long."""
        asked = {"project": int(project.project_id), "resolve_uri": "false", **params}
        text = encoded(query).decode("utf-8")
        in_url = len(text) <= MOST_URL and "%" not in text  # Label Studio decodes a percent sign twice
        params_sent, body = ({**asked, "query": text}, None) if in_url else (asked, query)
        try:
            reply = self._client.get("/api/tasks/", params_sent, body, one_row=one_row)
        except NotFound:
            if params.get("page", 1) == 1:
                raise gone(project.project_id, project.title) from None
            return ()  # past the end
        return replies.rows_of(reply, "tasks")


def _id(row: Row) -> TaskId:
    return TaskId(replies.field(row.row if isinstance(row, Unreadable) else row, "id", int))


def wider(size: int) -> int:
    """The next page size, when a whole page shares one timestamp (a bulk action)."""
    if size >= WIDEST_PAGE:
        raise LabelingUnavailable(
            f"More than {WIDEST_PAGE} tasks of one project changed in the same microsecond.",
            remedy="A bulk action in Label Studio did that; split the project, or pull with --sweep.",
        )
    return size * 2


# ------------------------------------------------------------------------------------ what may be wrong with a project


def gone(project_id: ProjectId, name: str) -> RemoteGone:
    return RemoteGone(f"Project {project_id} ({name}) is not in Label Studio any more.", remedy=GONE_REMEDY)


def another(known: Project) -> RemoteGone:
    return RemoteGone(
        f"Project {known.project_id} of Label Studio is not {known.title!r} but somebody else's; nothing in it was changed.",
        remedy=f"See that label_studio.url names the Label Studio that holds the answers. If it does: {GONE_REMEDY}",
    )


def stumbles(project: Project) -> LabelingUnavailable:
    return LabelingUnavailable(
        f"Label Studio answers 500 to every list of tasks of project {project.title!r}.",
        remedy="Run the command again in a while; nothing is lost. If it stays so, Label Studio stumbles over a task or an "
        f"answer of project {project.title!r} ({project.url}): see its log, and mend or delete that one.",
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
    """Says in which project to look for what Label Studio can't show."""
    try:
        yield
    except ServerStumbled as stumbled:
        raise stumbles(project) from stumbled
