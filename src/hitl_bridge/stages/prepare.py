"""Stage 1: base data and decisions → `data/snapshot/{train,holdout,calibration}.parquet` and `reports/data.json`.

Only items of the uniform stream measure a model, and they never train one. What came to people for another reason
trains, unless its item, its group or its input (or nearly its input) is measured by. Rejected decisions have no label and
are left out.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hitl_bridge.core.dataset.change import version_order
from hitl_bridge.core.dataset.fold import Segment, measured_items, snapshot_with_payloads
from hitl_bridge.core.dataset.record import Consent
from hitl_bridge.core.dataset.schema import from_parquet
from hitl_bridge.core.dataset.splits import Separation, holdout_draw, keep_apart, shared
from hitl_bridge.core.model import JSON, JSONObject, Outcome, Problem, Purpose, Split
from hitl_bridge.core.task_types import TaskType
from hitl_bridge.core.triage.plan import EDGE_RISK
from hitl_bridge.stages.entry import run_stage
from hitl_bridge.stages.files import write_bytes, write_json
from hitl_bridge.stages.near_copies import NearCopies, near_copies
from hitl_bridge.stages.params import StageParams, load_params
from hitl_bridge.stages.rows import Row, find_file, read_rows
from hitl_bridge.stages.snapshot import BASE, DECISIONS, FOLDER, Example, keys, labels_of, write_examples

_VERSION_FILE = re.compile(r"v\d+\.\d+\.\d+\.parquet")
_LISTED_PROBLEMS = 100


@dataclass(frozen=True, slots=True)
class Material:
    """Examples by split, before training and measuring are kept apart, and how many rows were not used, by reason."""

    splits: Mapping[Split, list[Example]]
    not_used: Mapping[str, int]
    problems: tuple[Problem, ...] = ()


def prepare(root: Path) -> str:
    """Makes the snapshot of the workspace at `root`; returns what it did in a sentence."""
    params = load_params(root)
    decisions, payloads = segments(root / "data/decisions"), segments(root / "data/payloads")
    held = snapshot_with_payloads(decisions, payloads).to_pylist()
    base = base_data(root / "data/base", params)
    reviewed = decided(held, params)
    superseded = frozenset(str(row["item_id"]) for row in held)
    train = [example for example in base.splits[Split.TRAIN] if example.item_id not in superseded]
    splits = {split: [*base.splits[split], *reviewed.splits[split]] for split in Split}
    splits[Split.TRAIN] = [*train, *reviewed.splits[Split.TRAIN]]

    near = near_copies(root, params)
    separation = _separate(splits, params, measured_items(decisions), near)
    report = {
        "format": 1,
        "versions": sorted((version for version, _ in decisions), key=version_order),
        "not_used": {**reviewed.not_used, "superseded_base_rows": len(base.splits[Split.TRAIN]) - len(train)},
        "problems": [{"file": p.file, "row": p.row, "reason": p.reason} for p in base.problems[:_LISTED_PROBLEMS]],
        "problem_count": len(base.problems),
        **_write(root, splits, params, separation, near),
    }
    write_json(root / "reports/data.json", report)
    counted = ", ".join(f"{len(splits[split])} {split.value}" for split in Split)
    return f"Snapshot of {len(decisions)} dataset versions: {counted}; {sum(separation.left_out.values())} left out."


def segments(folder: Path) -> list[Segment]:
    """The dataset files in `folder`, by version."""
    files = sorted(path for path in folder.glob("*.parquet") if _VERSION_FILE.fullmatch(path.name))
    return [(path.stem, from_parquet(path.read_bytes())) for path in files]


def base_data(folder: Path, params: StageParams) -> Material:
    """The base data; without a holdout file, a share of the training file is drawn as holdout."""
    train, train_problems = _read_base(find_file(folder, "train"), params)
    holdout_file = find_file(folder, "holdout")
    holdout, holdout_problems = _read_base(holdout_file, params)
    if holdout_file is None:
        drawn = [holdout_draw(e.group or e.item_id, params.prepare.seed) < params.prepare.holdout_share for e in train]
        holdout = [example for example, out in zip(train, drawn, strict=True) if out]
        train = [example for example, out in zip(train, drawn, strict=True) if not out]
    splits = {Split.TRAIN: train, Split.HOLDOUT: holdout, Split.CALIBRATION: []}
    return Material(splits, {}, (*train_problems, *holdout_problems))


def _read_base(path: Path | None, params: StageParams) -> tuple[list[Example], tuple[Problem, ...]]:
    if path is None:
        return [], ()
    rows = read_rows(path, params.kind, params.labels)
    return [_base_example(row, params) for row in rows.good], rows.problems


def _canonical(output: JSONObject, kind: TaskType) -> JSONObject:
    """Without what a model or a hand put beside the answer."""
    return kind.whole(kind.parts(output))


def _base_example(row: Row, params: StageParams) -> Example:
    return Example(
        item_id=row.item_id,
        input=row.input,
        label=params.kind.text(row.output or {}),
        scenario=row.scenario,
        edge=row.edge,
        group=row.group or _group(row.attributes, params.prepare.group_by),
        source=BASE,
        output=_canonical(row.output or {}, params.kind),
    )


def decided(held: Iterable[Mapping[str, JSON]], params: StageParams) -> Material:
    """Folded decisions as examples, each on its side of the split."""
    splits: dict[Split, list[Example]] = {split: [] for split in Split}
    not_used = Counter({"rejected": 0, "erased": 0, "no_consent": 0, "unknown_label": 0, "no_measure": 0})
    for row in held:
        example = _decided_example(row, params)
        split = _side(row)
        if isinstance(example, str):
            not_used[example] += 1
        elif split is None:
            not_used["no_measure"] += 1
        else:
            splits[split].append(example)
    return Material(splits, dict(not_used))


def _decided_example(row: Mapping[str, JSON], params: StageParams) -> Example | str:
    """The decision as an example, or the reason why it is none."""
    if row["outcome"] == Outcome.REJECTED.value or row["decision"] is None:
        return "rejected"
    if row["input"] is None:
        return "erased"
    if row["consent"] == Consent.NO.value:
        return "no_consent"
    output, shown = json.loads(str(row["decision"])), json.loads(str(row["input"]))
    kind = params.kind
    if kind.output_problem(output, params.labels) or kind.input_problem(shown) or kind.pair_problem(shown, output):
        return "unknown_label"
    attributes = json.loads(str(row["attributes"] or "{}"))
    return Example(
        item_id=str(row["item_id"]),
        input=shown,
        label=kind.text(output),
        scenario=None if row["scenario"] is None else str(row["scenario"]),
        edge=bool(row["edge"]),
        group=_group(attributes, params.prepare.group_by),
        source=DECISIONS,
        version=str(row["version"]),
        doubted=_doubted(row),
        output=_canonical(output, kind),
    )


def _doubted(row: Mapping[str, JSON]) -> bool:
    """Whether an edge case is one by its risk alone. The gate finds out anew which items are doubtful (`core.gating`)."""
    risk = row["risk"]
    return bool(row["edge"]) and row.get("rule") is None and isinstance(risk, float) and risk > EDGE_RISK


def _side(row: Mapping[str, JSON]) -> Split | None:
    """Where a decision belongs: uniform items measure, all others train; a row that says otherwise does neither."""
    split = Split(str(row["split"] or Split.TRAIN.value))
    measures = row["purpose"] == Purpose.UNIFORM.value
    return split if measures is (split is not Split.TRAIN) else None


def _group(attributes: Mapping[str, JSON], name: str | None) -> str | None:
    value = attributes.get(name) if name else None
    return None if value is None else str(value)


def _separate(splits: dict[Split, list[Example]], params: StageParams, reserved: frozenset[str], near: NearCopies) -> Separation:
    """Takes out of the training split whatever is measured by, now or in an earlier version (`reserved`), or nearly is."""
    measuring = [*splits[Split.HOLDOUT], *splits[Split.CALIBRATION]]
    measured = keys(measuring, params.kind)
    known = replace(measured, item_ids=[*measured.item_ids, *sorted(reserved)])
    separation = keep_apart(keys(splits[Split.TRAIN], params.kind), known)
    kept = zip(splits[Split.TRAIN], separation.keep, strict=True)
    apart = [example for example, stays in kept if stays]
    alike = near.of(measuring, apart)
    splits[Split.TRAIN] = [example for example, copied in zip(apart, alike, strict=True) if not copied]
    return replace(separation, left_out={**separation.left_out, "near_duplicate": sum(alike)})


def _write(
    root: Path, splits: Mapping[Split, Sequence[Example]], params: StageParams, separation: Separation, near: NearCopies
) -> dict[str, object]:
    folder = root / FOLDER
    # The snapshot holds texts: nothing in this folder may ever be committed.
    write_bytes(folder / ".gitignore", b"*\n")
    digests = {split.value: write_examples(folder / f"{split.value}.parquet", splits[split]) for split in Split}
    return {
        "counts": {split.value: _counts(splits[split], params.kind) for split in Split},
        "leakage": {**_proof(splits, params, near), "left_out": separation.left_out, "sha256": digests}
        | {"near_duplicates_left_out": separation.left_out["near_duplicate"]},
    }


def _proof(splits: Mapping[Split, Sequence[Example]], params: StageParams, near: NearCopies) -> dict[str, object]:
    """What training shares with what measures, counted anew in what is written; `checked` is whether that is nothing."""
    train = keys(splits[Split.TRAIN], params.kind)
    found = {}
    for split in (Split.HOLDOUT, Split.CALIBRATION):
        alike = sum(near.of(splits[split], splits[Split.TRAIN]))
        found[split.value] = {**shared(train, keys(splits[split], params.kind)), "near_duplicate": alike}
    holdout = found[Split.HOLDOUT.value]
    return {
        "checked": not any(count for counts in found.values() for count in counts.values()),
        "holdout_items": len(splits[Split.HOLDOUT]),
        "train_items": len(splits[Split.TRAIN]),
        "same_item": holdout["item_id"],
        "same_group": holdout["group"],
        "shared_with_train": found,
        **near.told(),
    }


def _counts(examples: Sequence[Example], kind: TaskType) -> dict[str, object]:
    return {
        "rows": len(examples),
        "edge": sum(example.edge for example in examples),
        "sources": dict(Counter(example.source for example in examples)),
        "labels": dict(Counter(label for example in examples for label in labels_of(example, kind))),
        "scenarios": dict(Counter(example.scenario for example in examples if example.scenario is not None)),
    }


if __name__ == "__main__":
    run_stage(prepare)
