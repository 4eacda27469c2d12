"""The routes. Each is a few lines: what there is to tell is kept in `services.keeping.health`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from hitl_bridge.core.model import ProjectId
from hitl_bridge.services.intake.online_desk import Desk
from hitl_bridge.services.keeping.access import Doorkeeper
from hitl_bridge.services.keeping.health import (
    DATASET,
    LABELING,
    STORE,
    Counted,
    Figures,
    Kept,
    OutsideWatch,
    Vitals,
    described,
    figures,
)
from hitl_bridge.services.sync.webhooks import PATH, SECRET_HEADER, Nudges, is_secret_of
from hitl_bridge.web import predictions
from hitl_bridge.web.guard import MOST_BODY, Door, Guard, unauthorized
from hitl_bridge.web.metrics import exposition
from hitl_bridge.web.predictions import Predictions, add_predictions, is_predictions

if TYPE_CHECKING:
    from hitl_bridge.bootstrap import Bridge

_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
_LONGEST_ID = 18


@dataclass(frozen=True, slots=True)
class Sources:
    """What the routes ask. `door` knows tokens; `watch` asks outside systems, `store_watch` the store alone;
    `is_secret(project_id, given)` checks what a webhook carries; `failed` hears the kind of an error inside a route."""

    vitals: Vitals
    nudges: Nudges
    door: Door
    is_secret: Callable[[int, str], bool]
    watch: OutsideWatch
    store_watch: OutsideWatch
    figures: Callable[[], Figures | None]
    failed: Callable[[str], None]
    predictions: Predictions | None = None


def sources_of(
    bridge: Bridge, vitals: Vitals, nudges: Nudges, failed: Callable[[str], None], desk: Desk | None = None
) -> Sources:
    """Over a bridge that only the routes use. Predictions are answered where there is a `desk`."""
    key = bridge.settings.workspace_key
    store = bridge.store

    def counted() -> Figures:
        return figures(Counted(store, store.insights(), store.escalations(), store.notices(), bridge.policy), bridge.clock)

    probes = {STORE: bridge.ping_store, LABELING: bridge.ping_labeling, DATASET: bridge.ping_dataset}
    return Sources(
        vitals=vitals,
        nudges=nudges,
        door=Doorkeeper(bridge.access_tokens, bridge.clock),
        is_secret=lambda project_id, given: is_secret_of(key, project_id, given),
        watch=OutsideWatch(probes, vitals),
        store_watch=OutsideWatch({STORE: bridge.ping_store}, vitals, fresh=2.0),
        figures=Kept(counted).get,
        failed=failed,
        predictions=None if desk is None else Predictions(desk, key),
    )


def create_app(sources: Sources) -> FastAPI:
    """The application; nothing of it can be asked without a token, and it describes itself to nobody."""
    app = FastAPI(title="HITL Bridge", docs_url=None, redoc_url=None, openapi_url=None)
    _looking(app, sources)
    _being_called(app, sources)
    if sources.predictions is not None:
        add_predictions(app, sources.predictions)
    app.add_middleware(Guard, door=sources.door, checked_inside=is_webhook, failed=sources.failed, most_body=_most_body)
    return app


def _most_body(scope: Scope) -> int:
    return predictions.MOST_BODY if is_predictions(scope) else MOST_BODY


def is_webhook(scope: Scope) -> bool:
    return scope["method"] == "POST" and str(scope["path"]).startswith(PATH)


def _looking(app: FastAPI, sources: Sources) -> None:
    @app.get("/livez")
    async def livez() -> Response:
        return JSONResponse({"alive": True})

    @app.get("/readyz")
    def readyz() -> Response:
        """It can work: the store is there, and it leads or stands by."""
        ready = all(each.up for each in sources.store_watch.look())
        role = "leader" if sources.vitals.lease_held else "standby"
        return JSONResponse({"ready": ready, "role": role}, 200 if ready else 503)

    @app.get("/health")
    def health() -> Response:
        """Each outside system, and since when it is as it is. 200 also if one is away: the answer is what was asked for."""
        outside = sources.watch.look()
        good = sources.vitals.last_good_cycle
        told = {
            "healthy": all(each.up for each in outside),
            "role": "leader" if sources.vitals.lease_held else "standby",
            "last_good_cycle": good.isoformat(timespec="seconds") if good else None,
            "outside": [described(each) for each in outside],
        }
        return JSONResponse(told)

    @app.get("/metrics")
    def metrics() -> Response:
        online = sources.predictions.desk.figures if sources.predictions else None
        told = exposition(sources.vitals, sources.nudges, sources.figures(), online)
        return Response(told, media_type=_PROMETHEUS)


def _being_called(app: FastAPI, sources: Sources) -> None:
    @app.post(PATH + "{project_id}")
    async def webhook(project_id: str, request: Request) -> Response:
        """Wakes the loop for a project. The body is not even read; what changed, the bridge asks by itself.

        A project that is not known here can have no caller who knows its secret, and would be ignored by the loop.
        """
        given = request.headers.get(SECRET_HEADER, "")
        number = int(project_id) if project_id.isascii() and project_id.isdecimal() and len(project_id) <= _LONGEST_ID else -1
        if not sources.is_secret(number, given):
            return unauthorized()
        if not sources.vitals.lease_held or not sources.nudges.add(ProjectId(number)):
            return Response(status_code=503, headers={"Retry-After": "30"})
        return Response(status_code=204)
