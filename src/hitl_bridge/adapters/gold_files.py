"""Files of known answers: JSON lines or CSV with `item_id` and `label`, and what a prediction has if it is to be asked."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path

from hitl_bridge.errors import UsageError


def read_gold(path: Path) -> list[dict[str, object]]:
    """The rows of the file.

    Raises:
        UsageError: it can't be read, or is neither JSON lines nor CSV.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UsageError(f"{path.name} can't be read: {reason}.", remedy="Name a file of JSON lines or CSV.") from None
    if path.suffix.lower() == ".csv":
        return [_unfolded(number, row) for number, row in enumerate(csv.DictReader(io.StringIO(text)), start=1)]
    return [_row(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]


_NESTED = ("input", "prediction", "scores", "attributes", "confidence", "output")


def _unfolded(number: int, row: Mapping[str, str | None]) -> dict[str, object]:
    """A line of CSV: nested fields are JSON text there, and an empty one is none."""
    try:
        return {name: json.loads(value) if name in _NESTED else value for name, value in row.items() if value}
    except json.JSONDecodeError:
        nested = ", ".join(_NESTED)
        raise UsageError(f"Row {number} holds no JSON where it should.", remedy=f"Write {nested} as JSON text.") from None


def _row(number: int, line: str) -> dict[str, object]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        row = None
    if not isinstance(row, dict):
        raise UsageError(f"Line {number} is no JSON object.", remedy='Write lines like {"item_id": "t-1", "label": "refund"}.')
    return row
