"""The bridge's webhooks in Label Studio: one a project, as `/api/webhooks/` keeps them.

Label Studio has no webhooks for all projects (`project` is mandatory), lets every account change them, and refuses addresses
in private networks unless its environment allows them: with 403 when the webhook is made, silently when it is sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from hitl_bridge.adapters.label_studio import replies
from hitl_bridge.adapters.label_studio.client import LabelStudioClient, NotFound, OutcomeUnclear, RequestRejected, ServerStumbled
from hitl_bridge.core.model import JSON, JSONObject, ProjectId
from hitl_bridge.errors import AccessRefused, LabelingUnavailable, RemoteGone, WebhookRefused
from hitl_bridge.ports import RemoteWebhook

_WEBHOOKS: Final = "/api/webhooks/"
ACTIONS: Final = (
    "ANNOTATION_CREATED",
    "ANNOTATION_UPDATED",
    "ANNOTATIONS_CREATED",
    "ANNOTATIONS_DELETED",
    "TASKS_DELETED",
)
_AS_DUE: Final[Mapping[str, JSON]] = {"send_payload": False, "send_for_all_actions": False, "is_active": True}
_RESERVED: Final = "reserved network address"
_NO_ADDRESS: Final = "Enter a valid URL"


class LabelStudioWebhooks:
    """Implements `ports.Webhooks`."""

    def __init__(self, client: LabelStudioClient) -> None:
        self._client = client

    def listed(self) -> list[RemoteWebhook]:
        rows = self._client.get(_WEBHOOKS)
        if not isinstance(rows, list):
            raise LabelingUnavailable(f"GET {_WEBHOOKS} was not answered with a list; nothing of it was believed.")
        return [_webhook(row) for row in rows]

    def create(self, wanted: RemoteWebhook) -> None:
        with _told(wanted):
            self._client.post(_WEBHOOKS, {**_json(wanted), "project": int(wanted.project_id)})

    def mend(self, wanted: RemoteWebhook) -> None:
        with _told(wanted):
            self._client.patch(f"{_WEBHOOKS}{wanted.webhook_id}/", _json(wanted))

    def remove(self, webhook_id: int) -> None:
        try:
            self._client.delete(f"{_WEBHOOKS}{webhook_id}/")
        except NotFound:
            return  # somebody was faster


def _json(wanted: RemoteWebhook) -> JSONObject:
    return {"url": wanted.url, "headers": dict(wanted.headers), "actions": list(ACTIONS), **_AS_DUE}


def _webhook(row: JSON) -> RemoteWebhook:
    webhook_id, project = replies.field(row, "id", int), row.get("project") if isinstance(row, Mapping) else None
    actions, headers = replies.field(row, "actions", list), replies.field(row, "headers", dict)
    as_due = {str(action) for action in actions} == set(ACTIONS) and all(_is(row, *due) for due in _AS_DUE.items())
    told = {str(name): str(value) for name, value in headers.items()}
    of_project = ProjectId(project) if isinstance(project, int) else ProjectId(0)
    return RemoteWebhook(webhook_id, of_project, replies.field(row, "url", str), told, as_due=as_due)


def _is(row: JSON, name: str, value: JSON) -> bool:
    return isinstance(row, Mapping) and row.get(name) == value


@contextmanager
def _told(wanted: RemoteWebhook) -> Iterator[None]:
    """Tells apart: the address is refused, the project is gone, we are refused."""
    try:
        yield
    except AccessRefused as refused:
        if _RESERVED in refused.message:
            raise _not_called(wanted.url, refused.message, _ALLOW) from None
        raise
    except RequestRejected as rejected:
        raise _not_called(wanted.url, rejected.reason, _DOTTED if _NO_ADDRESS in rejected.reason else "") from None
    except OutcomeUnclear as unclear:
        if isinstance(unclear.__cause__, ServerStumbled):  # 500 is what it says of a host that it can't resolve
            raise _not_called(wanted.url, "it answered 500, as it does to a host that it can't find", _DOTTED) from None
        raise
    except NotFound:
        raise RemoteGone(f"Project {wanted.project_id} is not in Label Studio any more.") from None


def _not_called(url: str, reason: str, remedy: str) -> WebhookRefused:
    return WebhookRefused(f"Label Studio will not call {url}: {reason}", remedy=remedy)


_ALLOW: Final = (
    "Label Studio calls no private addresses unless its environment says USE_DEFAULT_BANNED_SUBNETS=false and "
    "USER_ADDITIONAL_BANNED_SUBNETS=… (its own list without the network of the bridge). Until then answers are found by polling."
)
_DOTTED: Final = (
    "Name daemon.webhook_url with a host that Label Studio's machine can resolve and that has a dot in it (bridge.internal, "
    "not bridge). Until then answers are found by polling."
)
