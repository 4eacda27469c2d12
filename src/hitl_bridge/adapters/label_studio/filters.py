"""Queries of Label Studio's task list: which tasks, in which order."""

from __future__ import annotations

from collections.abc import Sequence

from hitl_bridge.adapters.label_studio.payloads import BRIDGE_KEY
from hitl_bridge.core.model import JSON, JSONObject, PushKey, TaskId


def keys_query(keys: Sequence[PushKey]) -> JSONObject:
    """Tasks with one of these keys, as the JSON body of a GET: no limit on its length."""
    return _all([_condition(f"data.{BRIDGE_KEY}", "in_list", "String", list(keys))], "tasks:id")


def ids_query(ids: Sequence[TaskId]) -> JSONObject:
    """These tasks."""
    return _all([_condition("id", "in_list", "Number", [int(task_id) for task_id in ids])], "tasks:id")


def after_query(last: int) -> JSONObject:
    """Tasks with a greater id: the next page, whatever was deleted or put in meanwhile."""
    return _all([_condition("id", "greater", "Number", last)], "tasks:id")


def changed_query(since: str) -> JSONObject:
    """Tasks changed at or after `since` that somebody has touched: freshly imported ones, which nobody has, stay out.

    `updated_by` is empty until an annotation is made or deleted; the counters stand in where an account was deleted.
    """
    touched = (
        _condition("updated_by", "empty", "List", "false"),
        _condition("total_annotations", "greater", "Number", 0),
        _condition("cancelled_annotations", "greater", "Number", 0),
    )
    lines = [{**_condition("updated_at", "greater_or_equal", "Datetime", since), "child_filter": one} for one in touched]
    return {"filters": {"conjunction": "or", "items": lines}, "ordering": ["tasks:updated_at"]}


def answered_query(since: str | None) -> JSONObject:
    """Tasks that hold an annotation, by the annotations themselves and not by the task's counters, which may lie."""
    items = [_condition("annotations_ids", "empty", "String", "false")]
    if since is not None:
        items.append(_condition("updated_at", "greater_or_equal", "Datetime", since))
    return _all(items, "tasks:updated_at")


def _condition(column: str, operator: str, kind: str, value: JSON) -> dict[str, JSON]:
    return {"filter": f"filter:tasks:{column}", "operator": operator, "type": kind, "value": value}


def _all(items: Sequence[JSONObject], order: str) -> JSONObject:
    return {"filters": {"conjunction": "and", "items": items}, "ordering": [order]}
