"""Takes the README's pictures from a demo that has ended and whose Label Studio still runs.

    python docs/images/make.py .demo/support-inbox demo.log

`demo.log` is what `hitl-bridge demo` printed. A few invented predictions are taken in and pushed, so that there is a task
to look at. Needs Chromium (`HITL_CHROMIUM` names it, else the one on the PATH).
"""

from __future__ import annotations

import html
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from urllib.parse import urlsplit

from PIL import Image
from playwright.sync_api import Page, ViewportSize, sync_playwright

HERE = Path(__file__).parent
SIZE: ViewportSize = {"width": 1280, "height": 860}
LARGEST = 200_000
REVIEWER = "demo-ana@example.com"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TEXT = (
    "The invoice in my account shows 89.90 euros twice for the same floor lamp, booked on two days in a row. "
    "Can you look into it and send one of them back?"
)
SCORES = {"double_charge": 0.55, "refund_request": 0.33, "invoice_copy": 0.05, "payment_failed": 0.03, "change_plan": 0.02}
FOLDER = ".demo/support-inbox"
TRIES = 5
TERMINAL = """\
<body style="margin:0;background:#e9ebf2;display:flex;justify-content:center;align-items:center;height:860px">
<div style="width:1216px;border-radius:10px;overflow:hidden;background:#1d2130;box-shadow:0 8px 28px #0004">
<div style="background:#2a2f42;padding:9px 14px;font:13px sans-serif;color:#a9b0c6">$ make demo</div>
<pre style="margin:0;padding:12px 20px 14px;color:#e3e6ef;font:{size}px/1.34 'DejaVu Sans Mono','Liberation Mono',monospace;\
white-space:pre-wrap">{text}</pre></div></body>
"""


def main() -> None:
    workspace, log = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=chromium(), args=FLAGS, viewport=SIZE, device_scale_factor=1
        )
        page = context.pages[0]
        save(review_page(page, workspace), HERE / "review-page.png")
        save(summary(page, ending(log.read_text("utf-8"))), HERE / "demo-summary.png")
        context.close()


def chromium() -> str:
    named = [os.environ.get("HITL_CHROMIUM"), *map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))]
    found = next((path for path in named if path), None)
    if found is None:
        sys.exit("There is no Chromium here: install one, or name it in HITL_CHROMIUM.")
    return found


# ------------------------------------------------------------------------------------------- the review page


def review_page(page: Page, workspace: Path) -> bytes:
    """A task of payments · quick, as a reviewer meets it: the model is torn, its answer is filled in."""
    project = a_fresh_task(workspace)
    parts = urlsplit(project)
    log_in(page, f"{parts.scheme}://{parts.netloc}", workspace)
    open_stream(page, project)
    page.wait_for_timeout(1_000)  # the side panels are remembered a moment after they are shown
    page.evaluate(
        "() => { const kept = JSON.parse(localStorage.panelState);"
        " kept.collapsedSide = {left: true, right: true}; localStorage.panelState = JSON.stringify(kept); }"
    )
    open_stream(page, project)
    page.get_by_text("What to go by", exact=True).click()
    page.mouse.move(2, 400)
    page.wait_for_timeout(1_000)  # what moves has come to rest
    return page.screenshot()


def open_stream(page: Page, project: str) -> None:
    """The project's next task, with the instructions put aside; blind tasks of an earlier try are passed over."""
    page.goto(f"{project}data?labeling=1")
    page.locator(".hb-label").wait_for()
    page.wait_for_timeout(500)
    instructions = page.get_by_role("button", name="Close modal")
    if instructions.is_visible():
        instructions.click()
    while not page.locator(".hb-label .ant-checkbox-checked").count():
        page.get_by_role("button", name="Skip").click()
        page.wait_for_timeout(1_000)


def a_fresh_task(workspace: Path) -> str:
    """Pushes an invented prediction; returns the address of its project. Tries again where it was drawn to be blind."""
    for _ in range(TRIES):
        item_id = f"picture-{uuid.uuid4().hex[:8]}"
        prediction = {
            "item_id": item_id,
            "input": {"text": TEXT},
            "prediction": {"label": next(iter(SCORES))},
            "scores": SCORES,
            "confidence": SCORES["double_charge"],
            "model_version": "picture",
            "scenario": "payments",
            "attributes": {"amount": 89.9, "language": "en"},
        }
        bridge(workspace, "ingest", "-", said=json.dumps(prediction) + "\n")
        bridge(workspace, "push")
        life = json.loads(bridge(workspace, "trace", item_id, "--json"))
        if life["receipts"][0]["purpose"] == "review":
            status = json.loads(bridge(workspace, "status", "--json"))
            return next(str(each["url"]) for each in status["projects"] if each["project_id"] == life["tasks"][0]["project_id"])
    sys.exit("Every task was drawn to be blind.")


def bridge(workspace: Path, *arguments: str, said: str | None = None) -> str:
    program = Path(sys.executable).parent / "hitl-bridge"
    command = [str(program), "-C", str(workspace), *arguments]
    return subprocess.run(command, input=said, check=True, capture_output=True, text=True).stdout


def log_in(page: Page, url: str, workspace: Path) -> None:
    people = json.loads((workspace / ".hitl" / "label-studio" / "reviewers.json").read_text("utf-8"))
    page.goto(f"{url}/user/login/")
    page.fill("input[name=email]", REVIEWER)
    page.fill("input[name=password]", people[REVIEWER]["password"])
    page.press("input[name=password]", "Enter")
    page.wait_for_url(lambda there: "/user/login" not in there)


# ----------------------------------------------------------------------------------------------- the summary


def ending(log: str) -> list[str]:
    """The demo's last words, from 'What happened' on. Wherever it ran, the picture names program and folder as `make demo` has
    them."""
    told = re.search(r"^ +the workspace +(\S+)", log, re.MULTILINE)
    log = log.replace(told[1], FOLDER) if told else log
    lines = re.sub(r"\S*hitl-bridge -C \S+", f".venv/bin/hitl-bridge -C {FOLDER}", log).splitlines()
    first = max(number for number, line in enumerate(lines) if line.startswith("What happened"))
    last = max(number for number, line in enumerate(lines) if "to stop it" in line)
    return [line.rstrip() for line in lines[first : last + 1]]


def summary(page: Page, lines: list[str]) -> bytes:
    """The lines as a terminal shows them, in the largest type in which all of them fit."""
    for size in (14.5, 14, 13.5, 13, 12.5, 12, 11.5, 11, 10.5, 10):
        page.set_content(TERMINAL.format(size=size, text="\n".join(map(colored, lines))))
        if page.locator("pre").bounding_box()["height"] <= SIZE["height"] - 70:  # type: ignore[index]
            break
    return page.screenshot()


def colored(line: str) -> str:
    shown = html.escape(line)
    if "──" in line:
        words = shown.strip("─ ")
        return f'<b style="color:#9db2ff">{words}</b> <span style="color:#444c68">{"─" * (96 - len(words))}</span>'
    if line and not line.startswith(" ") and "  " not in line.strip():
        return f"<b>{shown}</b>"
    for verdict, color in (("promote", "#7fd48a"), ("unverified", "#e8c46a"), ("hold", "#ef8a80")):
        if line.endswith(verdict):
            return f'{shown[: -len(verdict)]}<span style="color:{color}">{verdict}</span>'
    return shown


# ------------------------------------------------------------------------------------------------- the files


def save(picture: bytes, path: Path) -> None:
    """As a PNG of 256 colours, which is enough for a page of text and a fifth of the size."""
    image = Image.open(io.BytesIO(picture)).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    image.save(path, optimize=True)
    size = path.stat().st_size
    if size > LARGEST:
        sys.exit(f"{path} has {size:,} bytes, which is too much for a README.")
    sys.stdout.write(f"{path}: {size:,} bytes\n")


if __name__ == "__main__":
    main()
