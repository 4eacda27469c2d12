"""The accounts of the embedded Label Studio: the bridge's own, and reviewers to try things out with.

Label Studio has no call that makes an account which can log in, and none that hands out a token without a
log-in. So we do what a browser does: fill in the log-in form, and the sign-up form behind the invite link.

What cannot be asked for again (passwords, tokens) is kept in files that only their owner can read.
"""

from __future__ import annotations

import html
import json
import os
import re
import secrets
import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import requests

from hitl_bridge.errors import AccessRefused, LabelingUnavailable

SERVICE_EMAIL = "bridge@localhost"
SECONDS = 60.0


class AccountRefused(AccessRefused):
    """Label Studio did not make the account, or does not let it in."""

    def __init__(self, email: str, why: str, *, remedy: str) -> None:
        self.email = email
        self.why = why
        super().__init__(f"Label Studio refused the account {email}: {why}", remedy=remedy)


class UnexpectedAnswer(LabelingUnavailable):
    """The embedded server answered in a way that this version of it should not."""

    def __init__(self, call: str, status: int) -> None:
        self.call = call
        self.status = status
        super().__init__(
            f"The local Label Studio answered {call} with {status}.",
            remedy="Look into server.log beside its data, then stop it and start it again.",
        )


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """The bridge's own account, never a reviewer's: what it writes must not look like a review."""

    email: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ReviewerAccount:
    """Someone who can log in and review. The password is the one that works now."""

    email: str
    password: str = field(repr=False)
    user_id: int


@dataclass(frozen=True, slots=True)
class ReviewerRecord:
    """What `reviewers.json` keeps of a reviewer. An empty token means that none was asked for yet."""

    password: str
    user_id: int
    token: str = ""


class LocalAccounts:
    """The accounts of the server at `url`, remembered in `home`. One caller at a time."""

    def __init__(self, home: Path, url: str) -> None:
        self.home = home
        self.url = url

    def service(self) -> ServiceAccount:
        """The bridge's account with a personal access token that works."""
        token = read_private(self.home / "token").strip()
        if not token or access_token(self.url, token) is None:
            email, password = admin_credentials(self.home)
            session = log_in(self.url, email, password)
            if session is None:
                raise AccountRefused(
                    email,
                    "the password in admin.json is not the one that it has",
                    remedy=f"Put its current password into {self.home / 'admin.json'}.",
                )
            token = new_token(self.url, session)
            write_private(self.home / "token", token + "\n")
        return ServiceAccount(SERVICE_EMAIL, token)

    def reviewer(self, email: str, password: str | None = None) -> ReviewerAccount:
        """The reviewer's account, made where it is missing."""
        email = email.strip().lower()
        known = self.records().get(email)
        for candidate in filter(None, (password, known.password if known else None)):
            session = log_in(self.url, email, candidate)
            if session is not None:
                return self.remember(email, candidate, who_am_i(self.url, session))
        wanted = password or (known.password if known else secrets.token_urlsafe(12))
        session = sign_up(self.url, self.invitation(), email, wanted)
        return self.remember(email, wanted, who_am_i(self.url, session))

    def reviewer_token(self, email: str) -> str:
        """A personal access token of the reviewer's own, so that a program can answer in the reviewer's name."""
        email = email.strip().lower()
        known = self.records().get(email)
        if known is not None and known.token and access_token(self.url, known.token) is not None:
            return known.token
        account = self.reviewer(email)
        session = log_in(self.url, account.email, account.password)
        if session is None:
            raise UnexpectedAnswer("POST /user/login/", 200)
        token = new_token(self.url, session)
        self.keep(email, replace(self.records()[email], token=token))
        return token

    def invitation(self) -> str:
        bearer = access_token(self.url, self.service().token)
        answer = browser().get(f"{self.url}/api/invite", headers={"Authorization": f"Bearer {bearer}"}, timeout=SECONDS)
        return str(parsed(answer, "GET /api/invite", 200)["token"])

    def records(self) -> dict[str, ReviewerRecord]:
        stored = json.loads(read_private(self.home / "reviewers.json") or "{}")
        return {email: ReviewerRecord(**record) for email, record in stored.items()}

    def remember(self, email: str, password: str, user_id: int) -> ReviewerAccount:
        known = self.records().get(email)
        token = known.token if known is not None and known.user_id == user_id else ""
        self.keep(email, ReviewerRecord(password, user_id, token))
        return ReviewerAccount(email, password, user_id)

    def keep(self, email: str, record: ReviewerRecord) -> None:
        records = self.records() | {email: record}
        written = {each: asdict(kept) for each, kept in sorted(records.items())}
        write_private(self.home / "reviewers.json", json.dumps(written, indent=2) + "\n")


def admin_credentials(home: Path) -> tuple[str, str]:
    """E-mail and password of the bridge's account; the password is drawn at the first call."""
    path = home / "admin.json"
    stored = read_private(path)
    if stored:
        known = json.loads(stored)
        return str(known["email"]), str(known["password"])
    password = secrets.token_urlsafe(18)
    write_private(path, json.dumps({"email": SERVICE_EMAIL, "password": password}, indent=2) + "\n")
    return SERVICE_EMAIL, password


def browser() -> requests.Session:
    """A session that goes straight to the server: a proxy from the environment knows nothing of our loopback."""
    session = requests.Session()
    session.trust_env = False
    return session


def log_in(url: str, email: str, password: str) -> requests.Session | None:
    """A logged-in session, or None where e-mail and password are not accepted (the form is shown again, 200)."""
    session = browser()
    answer = submit(session, f"{url}/user/login/", {"email": email, "password": password, "persist_session": "on"})
    if answer.status_code == 302:
        return session
    if answer.status_code == 200:
        return None
    raise UnexpectedAnswer("POST /user/login/", answer.status_code)


def sign_up(url: str, invitation: str, email: str, password: str) -> requests.Session:
    """Make the account through the invite link and stay logged in as it."""
    session = browser()
    page = f"{url}/user/signup/?token={invitation}"
    answer = submit(session, page, {"email": email, "password": password})
    if answer.status_code == 302:
        return session
    if answer.status_code == 200:
        raise AccountRefused(
            email,
            "; ".join(form_errors(answer.text)) or "the sign-up form came back without a reason",
            remedy="Give a password of at least 8 characters; for an account that exists, give the password it has.",
        )
    raise UnexpectedAnswer("POST /user/signup/", answer.status_code)


def submit(session: requests.Session, page: str, form: dict[str, str]) -> requests.Response:
    """Send a form as its own page would: with that page's CSRF token, not following where it leads."""
    session.get(page, timeout=SECONDS).raise_for_status()
    return session.post(
        page,
        data=form | {"csrfmiddlewaretoken": session.cookies.get("csrftoken", "")},
        headers={"Referer": page},
        allow_redirects=False,
        timeout=SECONDS,
    )


def form_errors(page: str) -> list[str]:
    lists = re.findall(r'<ul class="field_errors">(.*?)</ul>', page, flags=re.DOTALL)
    return [html.unescape(error.strip()) for each in lists for error in re.findall(r"<li>(.*?)</li>", each, re.DOTALL)]


def access_token(url: str, token: str) -> str | None:
    """A bearer token (five minutes) for a personal access token, or None where that no longer counts."""
    answer = browser().post(f"{url}/api/token/refresh/", json={"refresh": token}, timeout=SECONDS)
    if answer.status_code == 401:
        return None
    return str(parsed(answer, "POST /api/token/refresh/", 200)["access"])


def new_token(url: str, session: requests.Session) -> str:
    """A fresh personal access token. An account has one, which is shown once: an old one that is lost is revoked."""
    answer = session.post(f"{url}/api/token/", timeout=SECONDS)
    if answer.status_code == 409:
        revoke_tokens(url, session)
        answer = session.post(f"{url}/api/token/", timeout=SECONDS)
    return str(parsed(answer, "POST /api/token/", 201)["token"])


def revoke_tokens(url: str, session: requests.Session) -> None:
    for old in parsed(session.get(f"{url}/api/token/", timeout=SECONDS), "GET /api/token/", 200):
        answer = session.post(f"{url}/api/token/blacklist/", json={"refresh": old["token"]}, timeout=SECONDS)
        if answer.status_code not in (204, 404):
            raise UnexpectedAnswer("POST /api/token/blacklist/", answer.status_code)


def who_am_i(url: str, session: requests.Session) -> int:
    answer = session.get(f"{url}/api/current-user/whoami", timeout=SECONDS)
    return int(parsed(answer, "GET /api/current-user/whoami", 200)["id"])


def parsed(answer: requests.Response, call: str, expected: int) -> Any:
    if answer.status_code != expected:
        raise UnexpectedAnswer(call, answer.status_code)
    return answer.json()


def read_private(path: Path) -> str:
    """The text of a file, or nothing where there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step, readable by its owner only from its first byte (`mkstemp` gives 0600)."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    Path(name).replace(path)
