"""A model of the workspace → predictions in the form in which they come in (`hitl-bridge ingest`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from hitl_bridge.errors import UsageError
from hitl_bridge.stages.artifacts import LoadedModel, load_candidate, load_champion
from hitl_bridge.stages.files import canonical, write_bytes
from hitl_bridge.stages.params import load_params
from hitl_bridge.stages.rows import Row, read_rows
from hitl_bridge.stages.trainers import Unlabelled

_CHUNK = 5_000
_DIGITS = 6


def predict(
    workspace: Path,
    inputs: Path,
    out: Path,
    *,
    model: Literal["champion", "candidate"] = "champion",
    progress: Callable[[int], None] = lambda done: None,
) -> int:
    """Scores the rows of `inputs` (JSONL, CSV or Parquet: `item_id`, `input`, `scenario`?, `attributes`?).

    Writes one prediction a line to `out` and returns how many; `progress` hears how many are done. Rows that can't be
    read are listed in `<out>.problems.jsonl` (file, row number, reason), which is not there if there are none.
    Raises UsageError if the workspace has no such model, RefusedForSafety if its files were changed.
    """
    params = load_params(workspace)
    loaded = _loaded(workspace, params.labels, model)
    rows = read_rows(inputs, params.kind, labels=None)
    lines: list[str] = []
    for chunk in _chunks(rows.good):
        lines.extend(_predictions(loaded, chunk))
        progress(len(lines))
    _write_lines(out, lines)
    problems = out.with_name(out.name + ".problems.jsonl")
    problems.unlink(missing_ok=True)
    if rows.problems:
        _write_lines(problems, [canonical({"file": p.file, "row": p.row, "reason": p.reason}) for p in rows.problems])
    return len(lines)


def _loaded(workspace: Path, labels: tuple[str, ...], name: str) -> LoadedModel:
    if name == "candidate":
        return load_candidate(workspace, labels)
    champion = load_champion(workspace, labels)
    if champion is None:
        remedy = "Run `dvc repro` and `hitl-bridge promote`, or predict with the candidate."
        raise UsageError("This workspace has no champion yet.", remedy=remedy)
    return champion


def _chunks(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    for start in range(0, len(rows), _CHUNK):
        yield rows[start : start + _CHUNK]


def _predictions(loaded: LoadedModel, rows: Sequence[Row]) -> Iterator[str]:
    said = loaded.answers([Unlabelled(row.item_id, row.input) for row in rows])
    for row, each in zip(rows, said, strict=True):
        prediction: dict[str, object] = {
            "item_id": row.item_id,
            "input": row.input,
            "prediction": each.output,
            "scores": {label: round(score, _DIGITS) for label, score in each.scores.items()},
            "confidence": round(each.confidence, _DIGITS),
            "model_version": loaded.model_version,
        }
        if row.scenario is not None:
            prediction["scenario"] = row.scenario
        if row.attributes:
            prediction["attributes"] = row.attributes
        yield canonical(prediction)


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    write_bytes(path, "".join(line + "\n" for line in lines).encode())
