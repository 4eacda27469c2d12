"""Stage 3: candidate and champion on the same holdout, and on the user's checks → metrics, plots, `reports/paired.parquet`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hitl_bridge.core.dataset.schema import canonical_bytes
from hitl_bridge.core.model import Split
from hitl_bridge.stages.artifacts import CANDIDATE, CHAMPION, LoadedModel, load_candidate, load_champion
from hitl_bridge.stages.checks import RESULTS, read_checks, run_checks, to_json
from hitl_bridge.stages.entry import run_stage
from hitl_bridge.stages.files import sha256, write_bytes, write_csv, write_json
from hitl_bridge.stages.judging import Judged, judge
from hitl_bridge.stages.latency import Latency, single_item_latency
from hitl_bridge.stages.metrics import Flags, Outcomes, figures, reliability
from hitl_bridge.stages.params import StageParams, load_params
from hitl_bridge.stages.slices import COLUMNS, slices
from hitl_bridge.stages.snapshot import FOLDER, Example, known, labels_of, read_examples
from hitl_bridge.stages.trainers import Unlabelled

if TYPE_CHECKING:
    import pyarrow as pa

PAIRED = Path("reports/paired.parquet")
LATENCY = Path("reports/latency.json")


@dataclass(frozen=True, slots=True)
class _Evaluated:
    """How a model did on the holdout, and how long that took."""

    model: LoadedModel
    judged: Judged
    seconds: float

    @property
    def found(self) -> Outcomes:
        return self.judged.outcomes


def evaluate(root: Path) -> str:
    """Measures the models of the workspace at `root`; returns the candidate's accuracy in a sentence."""
    params = load_params(root)
    holdout_file = root / FOLDER / f"{Split.HOLDOUT.value}.parquet"
    holdout = known(read_examples(holdout_file), params.kind, params.labels)
    found_models = {"candidate": load_candidate(root, params.labels), "champion": load_champion(root, params.labels)}
    models = {name: model for name, model in found_models.items() if model is not None}
    checks = read_checks(root, params.kind, params.labels)
    done = {name: _evaluated(model, holdout, params) for name, model in models.items()}
    bins = params.evaluate.bins
    sizes = {"candidate": _size(root / CANDIDATE), "champion": _size(root / CHAMPION)}
    write_json(root / "reports/metrics.json", {name: _report(each, holdout, bins, sizes[name]) for name, each in done.items()})
    single = single_item_latency(models, [Unlabelled(e.item_id, e.input) for e in holdout], params.evaluate.latency_items)
    write_json(root / LATENCY, {name: _latency(each, single[name]) for name, each in done.items()})
    write_json(root / RESULTS, to_json(run_checks(checks, models, params.kind, params.labels)))
    _write_plots(root / "reports/plots", done, holdout, bins)
    paired = _paired(done, holdout, params, sha256(holdout_file.read_bytes()))
    write_bytes(root / PAIRED, canonical_bytes(paired))
    write_csv(root / "reports/plots/slices.csv", COLUMNS, slices(paired))
    found = done["candidate"].found
    right = f"{found.right.mean():.1%} right" if len(holdout) else "nothing to measure"
    return f"{done['candidate'].model.model_version} on {len(holdout)} holdout items: {right}."


def _evaluated(model: LoadedModel, holdout: Sequence[Example], params: StageParams) -> _Evaluated:
    started = time.perf_counter()
    judged = judge(model, holdout, params.kind, params.labels)
    return _Evaluated(model, judged, time.perf_counter() - started)


def _size(folder: Path) -> int:
    """Bytes of a model's files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _report(each: _Evaluated, holdout: Sequence[Example], bins: int, size: int) -> dict[str, object]:
    """Figures overall, on the edge cases and by scenario."""
    edge = np.array([example.edge for example in holdout], dtype=bool)
    return {
        "model_version": each.model.model_version,
        "size_bytes": size,
        "overall": figures(each.found, bins),
        "edge": figures(each.found.where(edge), bins),
        "scenarios": {name: figures(each.found.where(here), bins) for name, here in _scenarios(holdout).items()},
    }


def _scenarios(holdout: Sequence[Example]) -> dict[str, Flags]:
    names = sorted({example.scenario for example in holdout if example.scenario is not None})
    return {name: np.array([example.scenario == name for example in holdout], dtype=bool) for name in names}


def _latency(each: _Evaluated, single: Latency) -> dict[str, float | None]:
    """Apart from the metrics, because these are the figures that are never the same twice."""
    n = len(each.found.right)
    together = round(1000 * each.seconds / n, 4) if n else 0.0
    return {"seconds": round(each.seconds, 4), "milliseconds_per_item": together, "milliseconds_single": single.milliseconds}


def _write_plots(folder: Path, done: Mapping[str, _Evaluated], holdout: Sequence[Example], bins: int) -> None:
    judged = done["candidate"].judged
    found = judged.outcomes
    curve = ((round(each.confidence, 6), round(each.accuracy, 6), each.n) for each in reliability(found, bins))
    write_csv(folder / "reliability.csv", ("confidence", "accuracy", "n"), curve)
    write_csv(folder / "confusion.csv", ("actual", "predicted"), judged.confused)
    bars = (
        (f"{scenario} ({name})", round(float(each.found.right[here].mean()), 6), scenario, name, int(here.sum()))
        for scenario, here in _scenarios(holdout).items()
        for name, each in done.items()
    )
    write_csv(folder / "scenarios.csv", ("slice", "accuracy", "scenario", "model", "n"), bars)


def _paired(done: Mapping[str, _Evaluated], holdout: Sequence[Example], params: StageParams, digest: str) -> pa.Table:
    """One row a holdout item: what each model said, with how much confidence, and whether it was right. No texts. `labels`, where
    an item can have several, are those that it has, each once."""
    import pyarrow as pa

    columns: dict[str, object] = {
        "item_id": pa.array([example.item_id for example in holdout], pa.string()),
        "label": pa.array([example.label for example in holdout], pa.string()),
        "scenario": pa.array([example.scenario for example in holdout], pa.string()),
        "edge": pa.array([example.edge for example in holdout], pa.bool_()),
        "doubted": pa.array([example.doubted for example in holdout], pa.bool_()),
        "source": pa.array([example.source for example in holdout], pa.string()),
    }
    if params.kind.several:
        columns["labels"] = pa.array([sorted(set(labels_of(each, params.kind))) for each in holdout], pa.list_(pa.string()))
    metadata = {"holdout_sha256": digest}
    for name, each in done.items():
        columns[f"{name}_label"] = pa.array(each.judged.said, pa.string())
        columns[f"{name}_confidence"] = pa.array(each.found.confidence.round(6), pa.float64())
        columns[f"{name}_right"] = pa.array(each.found.right, pa.bool_())
        metadata[f"{name}_version"] = each.model.model_version
        metadata[f"{name}_trained_on"] = each.model.snapshot_sha256
    return pa.table(columns).replace_schema_metadata(metadata)


if __name__ == "__main__":
    run_stage(evaluate)
