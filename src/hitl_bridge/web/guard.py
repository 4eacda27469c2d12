"""Stands before every route, those that do not exist included: who has no token learns nothing but that.

A webhook can't carry a token (Label Studio's headers can be read by every reviewer), so its route checks a secret of its own,
which opens nothing else. A body that is announced as larger than its route reads is turned away.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BODY: Final = 64 * 1024
CALLER: Final = "hitl_bridge.caller"
"""In a request's scope: the name of the token that it came with."""

_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Door(Protocol):
    """Says whether a token is in force."""

    def knows(self, token: str) -> str | None:
        """The name of the token; None if it opens nothing."""

    def is_fresh(self) -> bool:
        """Whether `knows` answers at once, without asking the store."""


def unauthorized() -> Response:
    """The same for a missing, a wrong and a revoked token, and for a route that does not exist."""
    return JSONResponse({"error": "unauthorized"}, 401, {"WWW-Authenticate": "Bearer"})


class Guard:
    """ASGI middleware. `failed` hears the kind of what a route raised; `most_body` says how many bytes a route reads."""

    def __init__(
        self,
        app: ASGIApp,
        door: Door,
        checked_inside: Callable[[Scope], bool],
        failed: Callable[[str], None],
        most_body: Callable[[Scope], int] = lambda scope: MOST_BODY,
    ) -> None:
        self._app = app
        self._door = door
        self._checked_inside = checked_inside
        self._failed = failed
        self._most_body = most_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, with_headers(send))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = await self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:  # noqa: BLE001 (the last resort: nothing of it leaves the house)
            self._failed(type(error).__name__)
            if not begun:
                await JSONResponse({"error": "internal"}, 500)(scope, receive, send)

    async def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if not self._checked_inside(scope):
            scheme, _, token = headers.get("authorization", "").partition(" ")
            known = await self._known(token.strip()) if scheme.lower() == "bearer" else None
            if not known:
                return unauthorized()
            scope[CALLER] = known
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._most_body(scope):
            return JSONResponse({"error": "too large"}, 413, {"Connection": "close"})
        return None

    async def _known(self, token: str) -> str | None:
        """Another thread is asked only where the store has to be."""
        if self._door.is_fresh():
            return self._door.knows(token)
        return await run_in_threadpool(self._door.knows, token)


def with_headers(send: Send) -> Callable[[Message], Awaitable[None]]:
    """Every answer carries the security headers."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
        await send(message)

    return sending
