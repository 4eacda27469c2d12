"""Takes the pictures of the review pages: runs the live tests of the desk, which keep what the browser shows, and shrinks it.

    python docs/images/desk.py

Needs what `make test` needs: Chromium, and a Label Studio that is installed at the first run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PICTURES = {
    "quick": "desk-quick",
    "comprehensive": "desk-comprehensive",
    "asked-again": "desk-asked-again",
    "adjudication": "desk-adjudication",
    "blind": "desk-blind",
    "special-missing": "desk-none-of-these",
    "several-labels": "desk-several-labels",
    "entities": "desk-entities",
}
LARGEST = 120_000


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        tests = ["tests/live/test_desk.py", "tests/live/test_multi_label.py", "tests/live/test_entity_page.py"]
        command = [sys.executable, "-m", "pytest", "-q", "-n0", "-m", "browser", *tests]
        subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "HITL_SCREENSHOTS": folder})
        for taken, name in PICTURES.items():
            save(Path(folder) / f"{taken}.png", HERE / f"{name}.png")


def save(taken: Path, path: Path) -> None:
    """As a PNG of 128 colours, which is enough for a page of text."""
    Image.open(taken).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
    size = path.stat().st_size
    if size > LARGEST:
        sys.exit(f"{path} has {size:,} bytes, which is too much for a page of documentation.")
    sys.stdout.write(f"{path}: {size:,} bytes\n")


if __name__ == "__main__":
    main()
