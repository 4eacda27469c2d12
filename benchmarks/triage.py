"""Triage of Parquet, receipts and store included, against a bare DuckDB COPY of the same columns in the same run, on two cores.

    python benchmarks/triage.py [--full] [--rows N] [--to-people SHARE] [--folder DIR]

Copying and triage take turns, each in a process of its own. `--full` takes 100 million rows in (about 30 GB of disk, all of it
given back at the end); memory is compared with fewer rows: a tenth of them, or half where they are no more than 10 million.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
from report import Report, at_least, at_most, exactly

from hitl_bridge.bootstrap import open_bridge

ROWS, FULL_ROWS = 10_000_000, 100_000_000
FILE_ROWS = 10_000_000
CORES = 2
MEMORY_MIB = 2048
LEAST_RATE = 0.5
MOST_GROWTH = 1.10
_BYTES_A_ROW = 300
"""Of disk: the input, a copy of it and the receipts, and a tenth as much again for the smaller run."""

_NO_ROOM = 2
_TURNS = 3
_SOME = 1_000_000
"""Rows that are held against what is known."""

_LABELS = ("refund", "billing", "cancel", "technical")
_WORDS = ("charged", "twice", "card", "transfer", "pending", "account", "refund", "please", "never", "arrived", "wrong", "amount")
_POLICY = """\
task: text-classification
labels: [refund, billing, cancel, technical]
attributes: {amount: float, language: string}
triage:
  rules:
    - {when: "amount > 1000000 OR scenario = 'court'", tier: comprehensive, reason: "high stakes"}
    - {when: "margin < 0.01 AND language = 'xx'", tier: comprehensive, reason: "torn"}
tiers:
  auto: {max_risk: 0.5}
  quick: {max_risk: 0.6, reviewers: 1, sla: 4h}
  comprehensive: {reviewers: 2, sla: 24h}
audit: {rate: 0.00001, uniform: 0.00001}
expertise:
  - {name: payments, when: "scenario = 'payments'"}
  - {name: general}
"""


# ---------------------------------------------------------------------------------------------------- the input


def make_input(folder: Path, first: int, rows: int, to_people: float) -> None:
    """Predictions `first` to `first + rows`, in native columns, in files of up to `FILE_ROWS`.

    Args:
        to_people: the share whose risk is above what the policy approves.
    """
    folder.mkdir(parents=True)
    with _copying(folder) as connection:
        for at in range(first, first + rows, FILE_ROWS):
            end = min(at + FILE_ROWS, first + rows)
            path = folder / f"part-{at:012d}.parquet"
            connection.execute(f"COPY ({_predictions(at, end, to_people)}) TO '{path}' (FORMAT parquet, COMPRESSION zstd)")


def _predictions(first: int, end: int, to_people: float) -> str:
    doubtful = f"hash(i, 10) % 1000000 < {round(to_people * 1_000_000)}"
    word = "{words}[1 + (hash(i, {n}) % {count})::INT]"
    words = " || ' ' || ".join(word.format(words=_listed(_WORDS), n=n, count=len(_WORDS)) for n in range(1, 6))
    rest = "(1 - conf) / 3"
    scores = ", ".join(f"{name}: CASE WHEN best = {at} THEN conf ELSE {rest} END" for at, name in enumerate(_LABELS))
    return f"""
    SELECT 'txn-' || lpad(i::VARCHAR, 10, '0') AS item_id,
        {{text: 'I was ' || {words} || ' on order ' || (hash(i, 6) % 1000000)::VARCHAR}} AS input,
        {{label: {_listed(_LABELS)}[1 + best]}} AS prediction,
        {{{scores}}} AS scores, conf AS confidence, 'intent-3' AS model_version,
        ['payments', 'cards', 'legal', 'general'][1 + (hash(i, 7) % 4)::INT] AS scenario,
        {{amount: (hash(i, 8) % 2000000) / 100.0::DOUBLE, language: ['en', 'de', 'fr'][1 + (hash(i, 9) % 3)::INT]}} AS attributes
    FROM (SELECT i, (hash(i, 11) % 4)::INT AS best,
        (CASE WHEN {doubtful} THEN 0.3 + 0.19 * u ELSE 0.6 + 0.4 * u END)::DOUBLE AS conf
        FROM (SELECT i, (hash(i, 12) % 1000000) / 1000000.0 AS u FROM range({first}, {end}) t(i)))
    """  # noqa: S608 (numbers and names of ours)


def _listed(texts: Sequence[str]) -> str:
    return "[" + ", ".join(f"'{text}'" for text in texts) + "]"


@contextmanager
def _copying(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    config = {"memory_limit": "2GB", "threads": str(CORES), "temp_directory": str(folder / ".spilled")}
    with duckdb.connect(":memory:", config=config) as connection:
        yield connection


# ---------------------------------------------------------------------------------------------------- the steps


def copy(source: Path, target: Path) -> dict[str, Any]:
    """The bare COPY of every column, file by file, in the compression that receipts have."""
    target.mkdir()
    with _copying(target) as connection:
        started = time.perf_counter()
        for path in sorted(source.glob("*.parquet")):
            wanted = f"SELECT * FROM read_parquet('{path}')"  # noqa: S608 (our own path)
            connection.execute(f"COPY ({wanted}) TO '{target / path.name}' (FORMAT parquet, COMPRESSION zstd)")
        return {"seconds": time.perf_counter() - started}


def ingest(source: Path, workspace: Path) -> dict[str, Any]:
    """Everything that `hitl-bridge ingest` does."""
    with open_bridge(workspace) as bridge:
        started = time.perf_counter()
        result = bridge.ingest(str(source))
        seconds = time.perf_counter() - started
        told = {"read": result.read, "accepted": result.accepted, "duplicates": result.duplicates, "problems": result.rejected}
        people = result.accepted - result.tiers.get("auto", 0)
        receipts = sum(each.stat().st_size for each in bridge.paths.receipts.glob("*.parquet"))
    return {"seconds": seconds, **told, "to_people": people, "audits": result.audits, "receipt_bytes": receipts}


_STEPS: Mapping[str, Callable[[Path, Path], dict[str, Any]]] = {"copy": copy, "ingest": ingest}


def _in_a_process(step: str, source: Path, target: Path) -> dict[str, Any]:
    """The step with its peak of memory, in MiB, and its processor time."""
    command = [sys.executable, __file__, "--step", step, str(source), str(target)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _step(name: str, source: str, target: str) -> int:
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    os.sched_setaffinity(0, cores)
    found = _STEPS[name](Path(source), Path(target))
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({**found, "mib": used.ru_maxrss / 1024, "cpu": used.ru_utime + used.ru_stime}))
    return 0


def _workspace(folder: Path) -> Path:
    folder.mkdir()
    (folder / ".hitl").mkdir()
    (folder / "hitl.yaml").write_text(_POLICY)
    (folder / ".hitl" / "workspace.key").write_text("5e" * 32)
    (folder / ".hitl" / "workspace.key").chmod(0o600)
    return folder


# -------------------------------------------------------------------------------------------------- what is told


def _copied(source: Path, folder: Path) -> dict[str, Any]:
    target = folder / "copy"
    try:
        return _in_a_process("copy", source, target)
    finally:
        shutil.rmtree(target, ignore_errors=True)


def _taken_in(source: Path, folder: Path, name: str, *, keep: bool = False) -> dict[str, Any]:
    workspace = _workspace(folder / name)
    try:
        return _in_a_process("ingest", source, workspace)
    finally:
        if not keep:
            shutil.rmtree(workspace, ignore_errors=True)


def _against_copy(report: Report, source: Path, folder: Path, rows: int, turns: int) -> dict[str, Any]:
    """Turn about, and the median of the ratios: what the machine does meanwhile hits both."""
    ratios, copies, takes = [], [_copied(source, folder)], []
    for turn in range(turns):
        takes.append(_taken_in(source, folder, f"workspace-{turn}"))
        copies.append(_copied(source, folder))
        around = (copies[-1]["seconds"] + copies[-2]["seconds"]) / 2
        ratios.append(around / takes[-1]["seconds"])
        print(f"  copy {around:.1f} s, triage {takes[-1]['seconds']:.1f} s: {ratios[-1]:.3f}", flush=True)
    best = takes[ratios.index(statistics.median_low(ratios))]
    report.add("rows", "rows of Parquet taken in", best["accepted"], exactly(best["accepted"], rows))
    report.add("to_people", "of those sent to people, audits not counted", best["to_people"])
    report.add("copy_rows_a_second", "rows a second, bare COPY", rows / statistics.median(each["seconds"] for each in copies))
    report.add("triage_rows_a_second", "rows a second, triage with receipts", rows / best["seconds"])
    ratio = statistics.median(ratios)
    report.add("ratio", "triage : bare COPY, median of the turns", ratio, at_least(ratio, LEAST_RATE))
    report.add("cpu_a_row", "processor time a row, µs: COPY · triage", _cpu(copies, best, rows))
    report.add("receipt_bytes", "bytes of receipts a row", best["receipt_bytes"] / rows)
    return best


def _cpu(copies: Sequence[Mapping[str, Any]], taken: Mapping[str, Any], rows: int) -> dict[str, float]:
    return {"copy": 1e6 * statistics.median(each["cpu"] for each in copies) / rows, "triage": 1e6 * taken["cpu"] / rows}


def _memory(report: Report, large: Mapping[str, Any], small: Mapping[str, Any], fewer: int) -> None:
    report.add("mib", "peak memory, MiB", large["mib"], at_most(large["mib"], MEMORY_MIB))
    report.add("mib_fewer", f"peak memory with {fewer:,} rows, MiB", small["mib"])
    growth = large["mib"] / small["mib"]
    report.add("growth", "the one : the other", growth, at_most(growth, MOST_GROWTH))


def _dedupe(report: Report, workspace: Path, folder: Path, known: int, taken: Mapping[str, Any]) -> None:
    """Against what that workspace knows; and the same where nothing is known, to compare."""
    some = min(_SOME, known)
    make_input(folder / "new", known * 20, some, 0.0)
    make_input(folder / "again", known // 3, some // 2, 0.0)
    alone = _taken_in(folder / "new", folder, "workspace-new")
    new = _in_a_process("ingest", folder / "new", workspace)
    report.add("known", "known items", known)
    report.add("new_alone", "new rows a second where nothing is known", some / alone["seconds"])
    report.add("new", "new rows a second against them", some / new["seconds"])
    report.add("new_accepted", "of those accepted", new["accepted"], exactly(new["accepted"], some))
    again = _in_a_process("ingest", folder / "again", workspace)
    report.add("again", "known rows a second, in another file", some // 2 / again["seconds"])
    report.add("again_accepted", "of those accepted", again["accepted"], exactly(again["accepted"], 0))
    same = _in_a_process("ingest", folder / "small", workspace)
    report.add("same", "rows a second of the very input that was taken in", known / same["seconds"])
    same_known = same["duplicates"] + same["problems"]
    report.add("same_known", "of those known again", same_known, exactly(same_known, taken["accepted"]))


def _run(folder: Path, rows: int, to_people: float, turns: int) -> int:
    report = Report("triage")
    fewer = rows // (10 if rows > FILE_ROWS else 2)
    make_input(folder / "input", 0, rows, to_people)
    make_input(folder / "small", 0, fewer, to_people)
    large = _against_copy(report, folder / "input", folder, rows, turns)
    shutil.rmtree(folder / "input")
    small = _taken_in(folder / "small", folder, "workspace", keep=True)
    _memory(report, large, small, fewer)
    _dedupe(report, folder / "workspace", folder, fewer, small)
    return report.finish()


@contextmanager
def _folder(above: Path | None) -> Iterator[Path]:
    """Gone at the end, however it ends."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    made = Path(tempfile.mkdtemp(prefix="hitl-triage-benchmark-", dir=above))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--full", action="store_true", help=f"{FULL_ROWS:,} rows instead of {ROWS:,}")
    parser.add_argument("--rows", type=int, help="so many rows")
    parser.add_argument("--to-people", type=float, default=0.0001, help="share of the rows that people are to see")
    parser.add_argument("--folder", type=Path, help="where to make, and remove, a folder for all this")
    parser.add_argument("--step", nargs=3, metavar=("STEP", "SOURCE", "TARGET"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.step:
        return _step(*given.step)
    rows = given.rows or (FULL_ROWS if given.full else ROWS)
    with _folder(given.folder) as folder:
        free = shutil.disk_usage(folder).free
        if free < rows * _BYTES_A_ROW:
            print(f"{rows:,} rows need about {rows * _BYTES_A_ROW / 1e9:.0f} GB of disk; {free / 1e9:.0f} GB are free.")
            return _NO_ROOM
        return _run(folder, rows, given.to_people, 1 if rows > FILE_ROWS else _TURNS)


if __name__ == "__main__":
    sys.exit(main())
