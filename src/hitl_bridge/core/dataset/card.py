"""A dataset version's card: what is in it, counted, and what changed since the one before.

The counts are kept in the card itself (in the block between its first two lines of dashes, which is YAML and JSON at once), so
that the next card costs what is new and not what is there.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hitl_bridge.core.dataset.change import DatasetChange
from hitl_bridge.core.model import JSON, Op
from hitl_bridge.core.task_types.outputs import labels_in

if TYPE_CHECKING:
    import pyarrow as pa

PATH = "data/README.md"

_MARK = "hitl_bridge: "
_COUNTED = ("outcome", "label", "scenario", "tier", "purpose", "split", "reviewer", "agreed")
_HEADS = {
    "outcome": "Outcomes",
    "label": "Labels",
    "scenario": "Scenarios",
    "tier": "Risk tiers",
    "purpose": "Why people saw them",
    "split": "What they may be used for",
}
_LISTED = 30


@dataclass(frozen=True, slots=True)
class Totals:
    """What holds at a version: decisions, how many of each kind (`outcome` → `corrected` → 12), and the sum of agreement by
    scenario, of which means are made."""

    decisions: int = 0
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    agreement: Mapping[str, float] = field(default_factory=dict)

    def after(self, gone: Iterable[Mapping[str, JSON]], come: Iterable[Mapping[str, JSON]]) -> Totals:
        """The totals without the rows that are `gone` and with those that have `come`: rows as a dataset file holds them."""
        counts = {name: Counter(self.counts.get(name, {})) for name in _COUNTED}
        agreement = {name: [value] for name, value in self.agreement.items()}
        decisions = self.decisions
        for rows, sign in ((gone, -1), (come, 1)):
            for row in rows:
                decisions += sign
                for name, value in _kinds(row):
                    counts[name][value] += sign
                share = row.get("agreement")
                scenario = _scenario(row)
                agreement.setdefault(scenario, []).append(sign * (float(share) if isinstance(share, int | float) else 0.0))
        return Totals(
            decisions,
            {name: {value: n for value, n in sorted(each.items()) if n} for name, each in counts.items()},
            {name: round(math.fsum(parts), 6) for name, parts in sorted(agreement.items()) if counts["agreed"][name]},
        )


def totals_of(held: pa.Table) -> Totals:
    """The totals of all that holds (`fold.fold`), counted column by column."""
    import pyarrow.compute as pc

    scenarios = pc.fill_null(held["scenario"], "")
    counts = {name: _counted(held[name]) for name in ("outcome", "tier", "purpose", "split", "scenario")}
    labels: Counter[str] = Counter()
    for decision, number in _counted(held["decision"]).items():
        for label in _labels(decision):
            labels[label] += number
    counts |= {"label": labels, "reviewer": _counted(pc.list_flatten(held["reviewers"])), "agreed": _counted(scenarios)}
    shares = (
        held.select(["agreement"]).append_column("scenario", scenarios).group_by("scenario").aggregate([("agreement", "sum")])
    )
    sums = {row["scenario"]: round(row["agreement_sum"] or 0.0, 6) for row in shares.to_pylist()}
    return Totals(held.num_rows, {name: dict(sorted(counts[name].items())) for name in _COUNTED}, dict(sorted(sums.items())))


def _counted(column: pa.ChunkedArray) -> dict[str, int]:
    import pyarrow.compute as pc

    return {str(each["values"]): each["counts"] for each in pc.value_counts(column).to_pylist() if each["values"] is not None}


def render(change: DatasetChange, totals: Totals, before: str | None, at: str) -> str:
    """The card. `before` is the version before (None for the first), `at` a date."""
    kept: dict[str, JSON] = {
        "version": change.version,
        "decisions": totals.decisions,
        "counts": {name: dict(each) for name, each in totals.counts.items()},
        "agreement": dict(totals.agreement),
    }
    lines = [
        "---",
        f"pretty_name: Decisions {change.version}",
        "tags: [human-in-the-loop]",
        _MARK + json.dumps(kept, sort_keys=True, ensure_ascii=True),
        "---",
        "",
        f"# Decisions {change.version}",
        "",
        f"{totals.decisions:,} decisions of {len(totals.counts.get('reviewer', {}))} reviewers hold at this version "
        f"({at}). Written by HITL Bridge with each version; a change made here is overwritten by the next.",
        "",
        "Each version is a Parquet file of decisions that are new, changed or removed (`decisions/`), and one of the inputs and "
        "rationales that belong to them (`payloads/`), which can be erased. What holds is the last word on each item:",
        f'`load_decisions("{change.version}")` in Python; `hitl-bridge diff` tells what changed between two versions.',
        "Reviewers stand here by pseudonyms that only the key's owner can resolve.",
        "",
        *_since(change, before),
        *_agreement(totals),
        *(line for name in _HEADS for line in _table(_HEADS[name], totals.counts.get(name, {}), totals.decisions)),
    ]
    return "\n".join(lines).rstrip() + "\n"


def read_totals(card: str) -> tuple[str, Totals] | None:
    """Version and totals of a card; None for a text that is none of ours."""
    head = card.split("\n---\n", 1)[0]
    line = next((line for line in head.splitlines() if line.startswith(_MARK)), None)
    try:
        kept = json.loads(line.removeprefix(_MARK)) if line is not None else {}
        return str(kept["version"]), Totals(int(kept["decisions"]), dict(kept["counts"]), dict(kept["agreement"]))
    except (ValueError, KeyError, TypeError):
        return None


def _kinds(row: Mapping[str, JSON]) -> Iterable[tuple[str, str]]:
    for name in ("outcome", "tier", "purpose", "split"):
        if row.get(name) is not None:
            yield name, str(row[name])
    if row.get("scenario") is not None:
        yield "scenario", str(row["scenario"])
    yield "agreed", _scenario(row)
    yield from (("label", label) for label in _labels(row.get("decision")))
    reviewers = row.get("reviewers")
    for reviewer in reviewers if isinstance(reviewers, Sequence) and not isinstance(reviewers, str) else ():
        yield "reviewer", str(reviewer)


def _scenario(row: Mapping[str, JSON]) -> str:
    return "" if row.get("scenario") is None else str(row["scenario"])


def _labels(decision: JSON) -> tuple[str, ...]:
    """Each label that a decision names, once."""
    said = json.loads(decision) if isinstance(decision, str) else None
    return (labels_in(said) or ()) if isinstance(said, dict) else ()


def _since(change: DatasetChange, before: str | None) -> list[str]:
    heading = f"## Since {before}" if before else "## The first version"
    lines = [heading, "", f"{change.added:,} added, {change.changed:,} changed, {change.removed:,} removed.", ""]
    causes = Counter(str(row["cause"]) for row in change.records)
    reasons = Counter(str(row["cause_reason"]) for row in change.records if row["cause_reason"])
    if causes.keys() - {"settled"}:
        lines += _table("Why they changed", causes, len(change.records))
    for reason, count in sorted(reasons.items()):
        lines += [f"{count:,} taken back: {_plain(reason)}", ""]
    outcomes = Counter(str(row["outcome"]) for row in change.records if row["op"] != Op.REMOVE.value)
    return lines + (_table("Outcomes of these", outcomes, sum(outcomes.values())) if outcomes else [])


def _agreement(totals: Totals) -> list[str]:
    counted = totals.counts.get("agreed", {})
    rows = {name: (counted[name], totals.agreement.get(name, 0.0)) for name in counted}
    number = sum(n for n, _ in rows.values())
    if not number:
        return []
    lines = ["## Agreement", "", "Share of the answers to an item that agree with its decision, on average.", ""]
    lines += ["| scenario | decisions | agreement |", "|---|---:|---:|"]
    lines.append(f"| all | {number:,} | {sum(total for _, total in rows.values()) / number:.3f} |")
    named = sorted((name for name in rows if name), key=lambda name: (-rows[name][0], name))
    lines += [f"| {_plain(name)} | {rows[name][0]:,} | {rows[name][1] / rows[name][0]:.3f} |" for name in named[:_LISTED]]
    return [*lines, *_more(len(named)), ""]


def _table(heading: str, counts: Mapping[str, int], of: int) -> list[str]:
    if not counts:
        return []
    most_first = sorted(counts, key=lambda value: (-counts[value], value))
    rows = [f"| {_plain(value)} | {counts[value]:,} | {counts[value] / max(1, of):.1%} |" for value in most_first[:_LISTED]]
    return [f"## {heading}", "", "| | decisions | share |", "|---|---:|---:|", *rows, *_more(len(most_first)), ""]


def _more(number: int) -> list[str]:
    return [f"| … {number - _LISTED:,} more | | |"] if number > _LISTED else []


def _plain(text: str) -> str:
    """Names come from data: nothing in them is markup here."""
    escaped = "".join(f"\\{char}" if char in "\\`*_{}[]<>|#" else char for char in " ".join(text.split()))
    return escaped[:200]
