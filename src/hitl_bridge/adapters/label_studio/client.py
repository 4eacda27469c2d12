"""HTTP to Label Studio: one session, every outcome translated into the bridge's errors.

What may be repeated is repeated here (GET, a few times); what may not (POST, PATCH) is sent exactly once and, when the
answer is not clear, raises `OutcomeUnclear`, so that somebody looks before anything is sent again. Messages carry the
method, the path and the server's own sentence, never a token and never the data of a task.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from random import SystemRandom
from typing import Final, NoReturn
from urllib.parse import urlsplit

import requests

from hitl_bridge.adapters.label_studio.circuit import CLOSED
from hitl_bridge.adapters.label_studio.tokens import Signer
from hitl_bridge.core.model import JSON
from hitl_bridge.errors import AccessRefused, LabelingUnavailable, RefusedForSafety, UsageError
from hitl_bridge.ports import Clock

GET_ATTEMPTS: Final = 4
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0
CONNECT_SECONDS: Final = 10.0
READ_SECONDS: Final = 120.0
WRITE_SECONDS: Final = 180.0
"""A Label Studio on SQLite makes writers queue: of many imports at once the last was answered after two minutes."""

MOST_BYTES: Final = 256 * 1024 * 1024
_CHUNK: Final = 1 << 16
_SENTENCE: Final = 300

Query = Mapping[str, str | int]


class OutcomeUnclear(LabelingUnavailable):
    """A write was sent and it is not known whether it took effect."""


class CircuitOpen(LabelingUnavailable):
    """Too many calls failed of late: nothing was sent."""


class Forbidden(AccessRefused):
    """403: the account may not do this here. Elsewhere it may."""


class ServerStumbled(LabelingUnavailable):
    """500: the server came upon something that it can't deal with, so that asking again may be of no use."""


class NotFound(RefusedForSafety):
    """404. What is missing is for the caller to say."""


class RequestRejected(UsageError):
    """The server understood and said no (400 and its kind): nothing was stored."""

    def __init__(self, message: str, reason: str, *, status: int) -> None:
        self.reason = reason
        self.status = status
        super().__init__(message, remedy="Mend what the message names; sending the same again will be refused again.")


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    content_type: str
    retry_after: str
    body: bytes


class LabelStudioClient:
    """The dozen calls of Label Studio that the bridge makes go through `get`, `post`, `patch` and `delete`.

    Raises LabelingUnavailable (connection, time-out, 5xx, an answer that can't be read; OutcomeUnclear on a write;
    CircuitOpen where nothing was sent because of earlier failures), AccessRefused (401; Forbidden: 403), NotFound (404),
    RequestRejected (other 4xx). `server_time` is the server's own clock, as the last answer told it.
    """

    def __init__(
        self,
        url: str,
        token: str,
        clock: Clock,
        *,
        session: requests.Session | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self.url = checked_url(url)
        self._clock = clock
        self._most_bytes = most_bytes
        self._session = session if session is not None else new_session()
        self._signer = Signer(token, clock.now, self._exchange)
        self._chance = SystemRandom()
        self._circuit = CLOSED
        self.requests_made = 0
        self.server_time: datetime | None = None

    def get(self, path: str, params: Query | None = None, body: JSON = None, *, one_row: bool = False) -> JSON:
        """GET, repeated after a pause where that may help. `body` carries filters too long for a URL. With `one_row` a 500
        (ServerStumbled) is an answer: it may be the fault of one row, is not repeated and says nothing of the server."""
        return parsed(self._get(path, params, body, one_row=one_row), f"GET {path}")

    def get_text(self, path: str) -> str:
        """A page that is not JSON."""
        answer = self._get(path, None, None)
        return answer.body.decode("utf-8", "replace") if answer.status == 200 else ""

    def post(self, path: str, body: JSON | bytes, params: Query | None = None) -> JSON:
        """POST, sent once. `body` may be JSON that is encoded already."""
        return self._write("POST", path, params, body)

    def patch(self, path: str, body: JSON) -> JSON:
        """PATCH, sent once."""
        return self._write("PATCH", path, None, body)

    def delete(self, path: str) -> JSON:
        """DELETE, sent once."""
        return self._write("DELETE", path, None, None)

    def user_id(self) -> int | None:
        """The account whose token this is, if the token says so."""
        return self._signer.user_id()

    def close(self) -> None:
        self._session.close()

    def _write(self, method: str, path: str, params: Query | None, body: JSON | bytes) -> JSON:
        what = f"{method} {path}"
        self._refuse_while_open()  # neither this nor a token that can't be had is a doubt about the write
        self._signer.ready()
        try:
            answer = self._authorized(method, path, params, body)
            check(answer, what)
            return parsed(answer, what)
        except OutcomeUnclear:
            raise
        except LabelingUnavailable as unclear:
            raise OutcomeUnclear(unclear.message, remedy=unclear.remedy) from unclear

    def _get(self, path: str, params: Query | None, body: JSON, *, one_row: bool = False) -> _Answer:
        what, attempt = f"GET {path}", 1
        while True:
            told = ""
            try:
                answer = self._authorized("GET", path, params, body, one_row=one_row)
                told = answer.retry_after
                check(answer, what)
                return answer
            except LabelingUnavailable as away:
                if isinstance(away, CircuitOpen) or (one_row and isinstance(away, ServerStumbled)):
                    raise
                pause = pause_before_retry(attempt, told, self._chance.random(), self._clock.now())
                if pause is None:
                    raise
            self._clock.sleep(pause)
            attempt += 1

    def _authorized(self, method: str, path: str, params: Query | None, body: JSON | bytes, *, one_row: bool = False) -> _Answer:
        """One request; a 401 with a renewable token means "too old" once, and was not carried out."""
        answer = self._send(method, path, params, body, self._signer)
        if answer.status == 401 and self._signer.can_renew:
            self._signer.forget()
            answer = self._send(method, path, params, body, self._signer)
        self._judge(answer, stumbling_is_a_failure=not one_row)
        return answer

    def _exchange(self, token: str) -> str:
        answer = self._send("POST", "/api/token/refresh/", None, {"refresh": token}, None)
        if answer.status >= 500:  # that a token is to be had says nothing of the rest: no success closes the circuit here
            self._failed()
        if answer.status in (400, 401, 403):
            raise AccessRefused(f"Label Studio at {self.url} does not accept the token ({answer.status}).", remedy=_ACCESS_REMEDY)
        check(answer, "POST /api/token/refresh/")
        reply = parsed(answer, "POST /api/token/refresh/")
        access = reply.get("access") if isinstance(reply, Mapping) else None
        if not isinstance(access, str) or not access:
            raise LabelingUnavailable(f"Label Studio at {self.url} answered the token exchange with no token.")
        return access

    def _send(self, method: str, path: str, params: Query | None, body: JSON | bytes, signer: Signer | None) -> _Answer:
        self._refuse_while_open()
        seconds = READ_SECONDS if method == "GET" else WRITE_SECONDS
        self.requests_made += 1
        try:
            with self._session.request(
                method,
                self.url + path,
                params=params,
                data=None if body is None else encoded(body),
                headers={"Accept": "application/json, */*;q=0.1", "Content-Type": "application/json"},
                auth=signer,
                timeout=(CONNECT_SECONDS, seconds),
                allow_redirects=False,
                stream=True,
            ) as response:
                answer = _Answer(
                    response.status_code,
                    response.headers.get("Content-Type", ""),
                    response.headers.get("Retry-After", ""),
                    capped(response, f"{method} {path}", self._most_bytes),
                )
                self.server_time = date_told(response.headers.get("Date", "")) or self.server_time
        except requests.RequestException as failure:
            self._failed()
            raise LabelingUnavailable(
                f"Label Studio at {self.url} did not answer {method} {path} ({type(failure).__name__}).",
                remedy="See whether it runs and can be reached from here, then run the command again.",
            ) from None
        return answer

    def _judge(self, answer: _Answer, *, stumbling_is_a_failure: bool) -> None:
        """A 500 may be the fault of one row: then it says neither that the server is well nor that it is ill."""
        if answer.status in _OVERLOADED or (answer.status == 500 and stumbling_is_a_failure):
            self._failed(seconds_told(answer.retry_after, self._clock.now()))
        elif answer.status != 500:
            self._circuit = self._circuit.succeeded()

    def _failed(self, told: float = 0.0) -> None:
        self._circuit = self._circuit.failed(self._clock.now(), self._chance.random(), told)

    def _refuse_while_open(self) -> None:
        left = self._circuit.seconds_left(self._clock.now())
        if left:
            raise CircuitOpen(
                f"Label Studio at {self.url} failed {self._circuit.failures} times in a row; it is left alone for {left:.0f} s.",
                remedy="See whether it runs and can be reached from here. It is asked again by itself; nothing is lost.",
            )


_OVERLOADED: Final = frozenset({408, 429, 502, 503, 504})
_ACCESS_REMEDY: Final = (
    "Make a new personal access token in Label Studio (Account & Settings), put it into HITL_LABEL_STUDIO_TOKEN, "
    "and see with `hitl-bridge doctor` that it is accepted."
)
_RIGHTS_REMEDY: Final = (
    "See in Label Studio that the bridge's account is a member of the organization that the project belongs to; then run the "
    "command again."
)


def new_session() -> requests.Session:
    """No cookies: Label Studio hands out a session cookie, and a cookie would outlive the token."""
    session = requests.Session()
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return session


def checked_url(url: str) -> str:
    """The address without a trailing slash. Raises UsageError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise UsageError(
            "label_studio.url in hitl.yaml is not the address of a web server.",
            remedy="Write it like http://127.0.0.1:8080, without user name or query.",
        )
    return url.rstrip("/")


def encoded(body: JSON | bytes) -> bytes:
    """JSON as bytes; NaN and infinities are refused before anything is sent."""
    if isinstance(body, bytes):
        return body
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")


def capped(response: requests.Response, what: str, most_bytes: int) -> bytes:
    """The body, as long as it is not absurd."""
    parts, size = [], 0
    for part in response.iter_content(_CHUNK):
        size += len(part)
        if size > most_bytes:
            raise LabelingUnavailable(f"The answer to {what} is larger than {most_bytes} bytes; it was not read.")
        parts.append(part)
    return b"".join(parts)


def check(answer: _Answer, what: str) -> None:
    """Raises for every status but 2xx."""
    if 200 <= answer.status < 300:
        return
    if 300 <= answer.status < 400:
        raise LabelingUnavailable(
            f"{what} was answered with a redirect ({answer.status}), which is not followed.",
            remedy="Set label_studio.url in hitl.yaml to the address that Label Studio itself uses (http or https, host).",
        )
    if answer.status in (401, 403):
        message = f"{what} was refused ({answer.status}): {sentence(answer)}"
        if answer.status == 403:
            raise Forbidden(message, remedy=_RIGHTS_REMEDY)
        raise AccessRefused(message, remedy=_ACCESS_REMEDY)
    if answer.status == 404:
        raise NotFound(f"{what}: not found (404).")
    if answer.status in (408, 409, 429) or answer.status >= 500:
        trouble = ServerStumbled if answer.status == 500 else LabelingUnavailable
        raise trouble(f"{what} was answered with {answer.status}.", remedy="Run the command again in a while; nothing is lost.")
    reason = sentence(answer)
    raise RequestRejected(f"{what} was refused ({answer.status}): {reason}", reason, status=answer.status)


def parsed(answer: _Answer, what: str) -> JSON:
    """The body as JSON; believed only if it says that it is JSON and is."""
    if answer.status == 204:
        return None
    if not answer.content_type.lower().startswith("application/json"):
        raise LabelingUnavailable(
            f"{what} was answered with {answer.content_type or 'no content type'} where JSON is due.",
            remedy="Is label_studio.url in hitl.yaml Label Studio's own address, and not a proxy's page?",
        )
    try:
        read: JSON = json.loads(answer.body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise LabelingUnavailable(f"{what} was answered with JSON that can't be read.") from None
    return read


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def sentence(answer: _Answer) -> str:
    """The server's own explanation, short, without the task data that it likes to quote after `::`."""
    if not answer.content_type.lower().startswith("application/json"):
        return "no explanation given"
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        return "no explanation given"
    if not isinstance(body, dict):
        return "no explanation given"
    found = [*_strings(body.get("validation_errors")), *_strings(body.get("predictions"))] or _strings(body.get("detail"))
    shown = [re.sub(r"\s+", " ", text.split(" :: ")[0]).strip(" -") for text in found]
    return "; ".join(text for text in shown if text)[:_SENTENCE] or "no explanation given"


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for part in value.values() for text in _strings(part)]
    if isinstance(value, list):
        return [text for part in value for text in _strings(part)]
    return []


def pause_before_retry(attempt: int, retry_after: str, chance: float, now: datetime) -> float | None:
    """Seconds to wait before the next attempt, or None to give up. Doubling with full jitter; `Retry-After` is a floor.

    `attempt` counts from 1; `chance` lies in [0, 1). A server that asks for more than `LONGEST_PAUSE` is left alone.
    """
    if attempt >= GET_ATTEMPTS:
        return None
    told = seconds_told(retry_after, now)
    if told > LONGEST_PAUSE:
        return None
    return max(told, chance * min(FIRST_PAUSE * float(2 ** (attempt - 1)), LONGEST_PAUSE))


def seconds_told(retry_after: str, now: datetime) -> float:
    """`Retry-After` as seconds: it is a number or a date."""
    if not retry_after:
        return 0.0
    if retry_after.strip().isdigit():
        return float(retry_after)
    at = date_told(retry_after)
    return 0.0 if at is None else max(0.0, (at - now).total_seconds())


def date_told(header: str) -> datetime | None:
    """A date of HTTP, aware; None if it is none."""
    try:
        at = parsedate_to_datetime(header)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
