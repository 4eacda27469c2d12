"""What every test in a real browser needs: the browser, a way in, and a box put out of the way."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

import pytest
from playwright.sync_api import Locator, Page, TimeoutError

from tests.live.conftest import PASSWORD

PATIENCE = 60_000.0
"""Milliseconds: Label Studio's pages are large, and the machine may be busy."""

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
HOW_TO_INSTALL = (
    "There is no Chromium for the browser tests. Install one (Debian: apt-get install chromium; macOS: brew install --cask "
    "google-chrome), or name one in HITL_CHROMIUM."
)
CLICKS = 6


def chromium_path(environ: Mapping[str, str]) -> str:
    """The browser of this machine. Without one the tests are skipped; where CI is true that would hide too much."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = environ.get("HITL_CHROMIUM") or next(
        filter(None, (shutil.which(name, path=environ.get("PATH")) for name in names)), None
    )
    if found:
        return found
    if environ.get("CI") == "true":
        pytest.fail(HOW_TO_INSTALL)
    pytest.skip(HOW_TO_INSTALL)


def log_in(page: Page, url: str, email: str) -> None:
    page.goto(f"{url}/user/login/")
    page.fill("input[name=email]", email)
    page.fill("input[name=password]", PASSWORD)
    page.press("input[name=password]", "Enter")
    page.wait_for_url(lambda there: "/user/login" not in there)


def put_aside(button: Locator) -> None:
    """Clicks the button of a box until the box is gone: while it still grows, a click can miss."""
    for _ in range(CLICKS):
        button.click()
        try:
            return button.wait_for(state="hidden", timeout=PATIENCE / CLICKS)
        except TimeoutError:
            continue
    raise AssertionError(f"the box stayed after {CLICKS} clicks: {button}")
