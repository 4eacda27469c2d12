"""`POST /v1/predictions`: one prediction, or a list of them, answered with tier and receipt once they are in the store.

What was sent is neither logged nor said in an error; problems name what is wrong by field, as the rejects of a file do.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from hitl_bridge.adapters.predictions.files import strict_json
from hitl_bridge.adapters.predictions.rows import RowProblem
from hitl_bridge.core import draws
from hitl_bridge.core.model import JSON, Problem
from hitl_bridge.errors import OutsideUnavailable, RefusedForSafety
from hitl_bridge.ports import RequestKey
from hitl_bridge.services.intake.online import Answered, Asked, Conflict, Result
from hitl_bridge.services.intake.online_desk import MOST_ROWS, Busy, Desk
from hitl_bridge.web.guard import CALLER

PATH: Final = "/v1/predictions"
MOST_BODY: Final = 8 * 1024 * 1024
"""Bytes of one request."""

_KEY: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,198}[\x21-\x7e])?")
_OK, _PARTLY, _BAD, _CONFLICT, _LARGE, _PROBLEMS, _BUSY = 200, 207, 400, 409, 413, 422, 503


@dataclass(frozen=True, slots=True)
class Predictions:
    """Where predictions are answered, and the workspace's key, with which a request is digested."""

    desk: Desk
    key: bytes


def is_predictions(scope: Scope) -> bool:
    return bool(scope["method"] == "POST" and scope["path"] == PATH)


def add_predictions(app: FastAPI, predictions: Predictions) -> None:
    """The route, in `app`."""

    async def post(request: Request) -> Response:
        body = await _body(request)
        if body is None:
            return _refused(_LARGE, f"a request may have {MOST_BODY:,} bytes")
        try:
            value = strict_json(body.decode("utf-8"))
        except UnicodeDecodeError as invalid:
            return _refused(_BAD, f"invalid UTF-8 at byte {invalid.start + 1}")
        except RowProblem as broken:
            return _refused(_BAD, str(broken))
        rows = value if isinstance(value, list) else [value]
        if not rows:
            return _refused(_BAD, "an empty list")
        if len(rows) > MOST_ROWS:
            return _refused(_LARGE, f"a list may hold {MOST_ROWS:,} predictions")
        given = request.headers.get("idempotency-key")
        if given is not None and not _KEY.fullmatch(given):
            return _refused(_BAD, "Idempotency-Key: 1 to 200 printable ASCII characters")
        key = None if given is None else _key(predictions.key, str(request.scope.get(CALLER)), given, value)
        answered = await _answered(predictions.desk, Asked(rows, key), len(body))
        return answered if isinstance(answered, Response) else _told(answered, alone=not isinstance(value, list))

    app.add_route(PATH, post, methods=["POST"])  # by Starlette: FastAPI's own routes look for what is not there, at a price


async def _body(request: Request) -> bytes | None:
    """None if there is too much of it, whatever it said of its length."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MOST_BODY:
            return None
        parts.append(part)
    return b"".join(parts)


def _key(secret: bytes, caller: str, given: str, value: JSON) -> RequestKey:
    """The same JSON, however it is spaced, is the same request."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True)
    return RequestKey(caller, given, draws.digest(secret, "request", text))


async def _answered(desk: Desk, asked: Asked, size: int) -> Answered | Response:
    try:
        return await asyncio.wrap_future(desk.ask(asked, size))
    except Busy:
        return _refused(_BUSY, "too many predictions wait; nothing was taken", {"Retry-After": "1"})
    except OutsideUnavailable:
        return _refused(_BUSY, "the store can't be written to just now; nothing was taken", {"Retry-After": "5"})
    except RefusedForSafety:
        return _refused(_BUSY, "the policy waits for a sign-off (`hitl-bridge policy show`); nothing was taken", _LATER)


def _refused(code: int, reason: str, headers: dict[str, str] | None = None) -> Response:
    if code == _LARGE:
        headers = {"Connection": "close"}
    return JSONResponse({"error": _ERRORS[code], "reason": reason}, code, headers)


_LATER: Final = {"Retry-After": "60"}
_ERRORS: Final = {
    _BAD: "bad request",
    _LARGE: "too large",
    _BUSY: "busy",
    _PROBLEMS: "unprocessable",
    _CONFLICT: "conflict",
    _PARTLY: "partly",
}


def _told(answered: Answered, *, alone: bool) -> Response:
    """200: all is taken. 207: some of a list is. 422: nothing is, or the key was used before. 409: it contradicts what is
    there."""
    if answered.key_is_taken:
        return _refused(_PROBLEMS, "the Idempotency-Key was used for another request")
    problems = [result for result in answered.results if isinstance(result, Problem)]
    code = _code(answered.results, problems)
    if alone and not problems:
        return Response(_line(answered.results[0]), code, media_type="application/json")
    lines = ",".join(map(_line, answered.results))
    if not problems:
        return Response(f'{{"results":[{lines}]}}', code, media_type="application/json")
    listed = json.dumps([{"row": each.row, "reason": each.reason} for each in problems])
    return Response(f'{{"error":"{_ERRORS[code]}","problems":{listed},"results":[{lines}]}}', code, media_type="application/json")


def _code(results: Sequence[Result], problems: Sequence[Problem]) -> int:
    if not problems:
        return _OK
    if len(problems) < len(results):
        return _PARTLY
    return _CONFLICT if all(isinstance(each, Conflict) for each in problems) else _PROBLEMS


def _line(result: Result) -> str:
    """The receipt goes out as it was kept."""
    if isinstance(result, Problem):
        return "null"
    said = {
        "item_id": result.item_id,
        "revision": result.revision,
        "tier": result.tier,
        "purpose": result.purpose,
        "again": result.again,
    }
    return f'{json.dumps(said)[:-1]}, "receipt": {result.receipt}}}'
