"""Stands before every route, those that do not exist included: who has no token learns nothing but that.

A webhook can't carry a token (Label Studio's headers can be read by every reviewer), so its route checks a secret of its own,
which opens nothing else. No route reads a request's body; one that is announced as large is turned away.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BODY: Final = 64 * 1024
Knows = Callable[[str], str | None]
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def unauthorized() -> Response:
    """The same for a missing, a wrong and a revoked token, and for a route that does not exist."""
    return JSONResponse({"error": "unauthorized"}, 401, {"WWW-Authenticate": "Bearer"})


class Guard:
    """ASGI middleware. `knows` says whether a token is in force; `failed` hears the kind of what a route raised."""

    def __init__(
        self, app: ASGIApp, knows: Knows, checked_inside: Callable[[Scope], bool], failed: Callable[[str], None]
    ) -> None:
        self._app = app
        self._knows = knows
        self._checked_inside = checked_inside
        self._failed = failed

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
            known = await run_in_threadpool(self._knows, token.strip()) if scheme.lower() == "bearer" else None
            if not known:
                return unauthorized()
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MOST_BODY:
            return JSONResponse({"error": "too large"}, 413, {"Connection": "close"})
        return None


def with_headers(send: Send) -> Callable[[Message], Awaitable[None]]:
    """Every answer carries the security headers."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
        await send(message)

    return sending
