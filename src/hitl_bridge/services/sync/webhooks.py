"""Being called by the labeling service when somebody answers, as a hint to look, and nothing more.

The labeling service sends a webhook once, unsigned, with a secret that every reviewer can read. So nothing of what it says is
believed: a call only wakes the loop for one project, polling finds whatever a call failed to announce, and the bridge looks
from time to time whether its webhooks are still as it made them.
"""

from __future__ import annotations

import hmac
import threading
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from hitl_bridge.core import draws
from hitl_bridge.core.model import JSON, Project, ProjectId
from hitl_bridge.errors import RemoteGone, WebhookRefused
from hitl_bridge.ports import Clock, Event, RemoteWebhook, StateStore, Webhooks

SECRET_HEADER = "X-Hitl-Bridge-Secret"  # noqa: S105 (its name)
PATH = "/webhooks/label-studio/"

MOST_WAITING = 10_000
"""So many projects may wait to be looked at; a call for another one is turned away."""

CALLS_A_SECOND = 200.0
MOST_AT_ONCE = 1_000.0
"""Calls beyond these are turned away: what they would announce is found at the next poll."""


def secret_of(key: bytes, project_id: int) -> str:
    """What a call about this project has to carry. Derived, so that it is stored nowhere and differs by project."""
    return draws.digest(key, "webhook", str(project_id))


def is_secret_of(key: bytes, project_id: int, given: str) -> bool:
    return hmac.compare_digest(secret_of(key, project_id).encode(), given.encode("utf-8", "surrogatepass"))


class Nudges:
    """The projects that somebody says have changed, each at most once, for the loop to take. Any thread may add."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: set[ProjectId] = set()
        self._woken = threading.Event()
        self._allowance = MOST_AT_ONCE
        self._counted_at = time.monotonic()
        self.accepted = self.turned_away = 0

    def add(self, project_id: ProjectId) -> bool:
        """Whether the call was taken in. False: too many at once."""
        with self._lock:
            taken = self._may_pass() and (project_id in self._waiting or len(self._waiting) < MOST_WAITING)
            if taken:
                self._waiting.add(project_id)
                self.accepted += 1
            else:
                self.turned_away += 1
        if taken:
            self._woken.set()
        return taken

    def _may_pass(self) -> bool:
        now = time.monotonic()
        self._allowance = min(MOST_AT_ONCE, self._allowance + CALLS_A_SECOND * (now - self._counted_at))
        self._counted_at = now
        if self._allowance < 1.0:
            return False
        self._allowance -= 1.0
        return True

    def take(self) -> frozenset[ProjectId]:
        """All that wait; from now on they wait no more."""
        self._woken.clear()
        with self._lock:
            taken, self._waiting = frozenset(self._waiting), set()
        return taken

    def wake(self) -> None:
        """Ends a `wait` without a project: there is something else to do."""
        self._woken.set()

    def wait(self, seconds: float) -> bool:
        """Until something is added, or `seconds` have passed."""
        return self._woken.wait(max(0.0, seconds))


@dataclass(frozen=True, slots=True)
class WebhooksKept:
    """How many webhooks were `made`, `mended` (switched off, or changed by somebody) and `removed` (doubles). `refused`: the
    labeling service will not call the address, with its reason and what to do."""

    made: int = 0
    mended: int = 0
    removed: int = 0
    refused: WebhookRefused | None = None


@dataclass(frozen=True, slots=True)
class _Keeper:
    store: StateStore
    webhooks: Webhooks
    clock: Clock
    key: bytes
    url: str

    def wanted(self, project: Project) -> RemoteWebhook:
        secret = secret_of(self.key, project.project_id)
        address = f"{self.url}{PATH}{project.project_id}"
        return RemoteWebhook(0, project.project_id, address, {SECRET_HEADER: secret}, as_due=True)

    def tell(self, action: str, project: Project, what: Sequence[str] = ()) -> None:
        detail: dict[str, JSON] = {"project_id": int(project.project_id), "what": list(what)}
        self.store.record_events([Event(self.clock.now(), action, detail=detail)])


def keep_webhooks(store: StateStore, webhooks: Webhooks, clock: Clock, key: bytes, url: str) -> WebhooksKept:
    """Sees to it that each project has exactly one webhook, as it is due, to `url`. One request if all is well.

    Projects that are gone are left to `push` and `pull`, which tell. Raises LabelingUnavailable and AccessRefused.
    """
    keeper = _Keeper(store, webhooks, clock, key, url)
    there = webhooks.listed()
    kept = WebhooksKept()
    for project in store.projects():
        ours = [hook for hook in there if hook.project_id == project.project_id and is_ours(hook, project.project_id)]
        try:
            kept = _keep(keeper, project, sorted(ours, key=lambda hook: hook.webhook_id), kept)
        except RemoteGone:
            continue
        except WebhookRefused as refused:
            return replace(kept, refused=refused)  # it is the address that is refused: the others would be too
    return kept


def is_ours(hook: RemoteWebhook, project_id: ProjectId) -> bool:
    """By its path or its header, as somebody may have changed the one or the other. Webhooks of others are left alone."""
    return hook.url.endswith(f"{PATH}{project_id}") or SECRET_HEADER.lower() in {name.lower() for name in hook.headers}


def differences(hook: RemoteWebhook, wanted: RemoteWebhook) -> list[str]:
    """What somebody changed, in words; the secret itself is not among them."""
    names = {"url": hook.url != wanted.url, "headers": dict(hook.headers) != dict(wanted.headers), "settings": not hook.as_due}
    return [name for name, differs in names.items() if differs]


def _keep(keeper: _Keeper, project: Project, ours: Sequence[RemoteWebhook], kept: WebhooksKept) -> WebhooksKept:
    wanted = keeper.wanted(project)
    if not ours:
        keeper.webhooks.create(wanted)
        keeper.tell("webhook.made", project)
        return replace(kept, made=kept.made + 1)
    first, *doubles = ours
    changed = differences(first, wanted)
    if changed:
        keeper.webhooks.mend(replace(wanted, webhook_id=first.webhook_id))
        keeper.tell("webhook.mended", project, changed)
    _remove(keeper, project, doubles)
    return replace(kept, mended=kept.mended + bool(changed), removed=kept.removed + len(doubles))


def _remove(keeper: _Keeper, project: Project, doubles: Collection[RemoteWebhook]) -> None:
    for double in doubles:
        keeper.webhooks.remove(double.webhook_id)
    if doubles:
        keeper.tell("webhook.doubles_removed", project, [str(each) for each in _ids(doubles)])


def _ids(hooks: Iterable[RemoteWebhook]) -> list[int]:
    return [hook.webhook_id for hook in hooks]
