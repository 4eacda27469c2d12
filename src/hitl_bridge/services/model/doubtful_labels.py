"""Labels that are probably wrong go back to people; none is dropped, none is changed by a model.

What is doubtful was found by the pipeline's stage `examine`. An item that is asked again goes to an adjudicator who did not
decide it, who sees all the answers and what speaks against them. Until they have spoken the decision holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from hitl_bridge.core.model import ADJUDICATION, JSON, Decision, Item, ItemId, ItemState, Op, Purpose
from hitl_bridge.core.review.handed_on import to_adjudicator
from hitl_bridge.core.task_types import TaskType
from hitl_bridge.errors import UsageError
from hitl_bridge.ports import Clock, RevertChoice, Reverts, Settlement, StateStore
from hitl_bridge.services.model.reports import read_json

REPORT = "reports/doubtful.json"
_BASE = "base"


class Standing(StrEnum):
    """Whether an item can be asked again: READY; OPEN, it is being asked already; SETTLED by an adjudicator, so that a machine's
    doubt is no reason to ask once more; MEASURES, it is an audit, and looking again only at what a model doubts would bend what
    audits say; CHANGED, another label holds by now; BASE, it is labelled data of the user's own, which people never saw here."""

    READY = "ready"
    OPEN = "open"
    SETTLED = "settled by an adjudicator"
    MEASURES = "an audit"
    CHANGED = "changed since"
    BASE = "base data"


@dataclass(frozen=True, slots=True)
class DoubtfulLabel:
    """A label that is probably wrong, and why: a model that has not seen it would rather say `rather` and gives the label that
    stands the probability `support`; `twin`, an item that is nearly the same, is labelled `twin_label`."""

    item_id: str
    label: str
    rather: str | None
    support: float | None
    twin: str | None
    twin_label: str | None
    version: str
    standing: Standing


@dataclass(frozen=True, slots=True)
class DoubtfulLabels:
    """Of `examined` labels those that are `doubtful`, most doubtful first, and which items were `asked` again. `note` says why no
    model has looked, where none could."""

    examined: int
    doubtful: tuple[DoubtfulLabel, ...]
    asked: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class DoubtPorts:
    """`root` is the workspace's, `kind` its task type; `adjudicated_by` says when an adjudicator of a pool who is asked at a
    moment is to answer."""

    store: StateStore
    reverts: Reverts
    clock: Clock
    root: Path
    kind: TaskType
    adjudicated_by: Callable[[str, datetime], datetime]


def listed(ports: DoubtPorts) -> DoubtfulLabels:
    """What the last training found, and what has become of it since. Raises UsageError if there was none."""
    report = read_json(ports.root / REPORT)
    if not report:
        remedy = f"Run `hitl-bridge retrain`, or `dvc pull {REPORT}` in a clone."
        raise UsageError(f"There is no {REPORT}: labels have not been examined here.", remedy=remedy)
    rows = report.get("doubtful")
    found = [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []
    there = _decided(ports.reverts, [str(row["item_id"]) for row in found if row.get("source") != _BASE])
    examined, note = report.get("examined"), _text(report.get("note"))
    labels = tuple(_label(row, there, ports.kind) for row in found)
    return DoubtfulLabels(examined if isinstance(examined, int) else 0, labels, note=note or "")


def ask_again(ports: DoubtPorts, most: int, *, by: str, dry_run: bool = False) -> DoubtfulLabels:
    """Queues the `most` doubtful items that can be asked again for an adjudicator; the next push sends them."""
    found = listed(ports)
    ready = [each for each in found.doubtful if each.standing is Standing.READY][: max(0, most)]
    there = _decided(ports.reverts, [each.item_id for each in ready])
    now = ports.clock.now()
    settlements = [_settlement(there[each.item_id][0], each, by, ports) for each in ready]
    if settlements and not dry_run:
        ports.store.record_settlements(settlements, now)
    return replace(found, asked=tuple(each.item_id for each in ready))


def _settlement(item: Item, doubt: DoubtfulLabel, by: str, ports: DoubtPorts) -> Settlement:
    following = to_adjudicator(item, ports.adjudicated_by(item.route.pool, ports.clock.now()), because(doubt))
    return Settlement(item.item_id, item.revision, ItemState.QUEUED, next_round=following, event=f"label doubted; asked by {by}")


def because(doubt: DoubtfulLabel) -> str:
    """The sentence that the adjudicator reads."""
    speaks = []
    if doubt.rather is not None:
        speaks.append(f"a model trained on the other decisions would rather say “{doubt.rather}”")
    if doubt.twin_label is not None:
        speaks.append(f"an item that is nearly the same is labelled “{doubt.twin_label}”")
    return f"The label “{doubt.label}” may be wrong: {' and '.join(speaks)}."


_Decided = Mapping[str, tuple[Item, Decision]]


def _decided(reverts: Reverts, item_ids: Sequence[str]) -> _Decided:
    """The items that have a decision which holds, with it."""
    if not item_ids:
        return {}
    found: dict[str, tuple[Item, Decision]] = {}
    for item, history in reverts.histories(RevertChoice(items=[ItemId(each) for each in item_ids])):
        newest = max((each.decision for each in history), key=lambda decision: decision.seq, default=None)
        if newest is not None and newest.op is not Op.REMOVE:
            found[item.item_id] = item, newest
    return found


def _label(row: Mapping[str, JSON], there: _Decided, kind: TaskType) -> DoubtfulLabel:
    support = row.get("support")
    return DoubtfulLabel(
        item_id=str(row["item_id"]),
        label=str(row["label"]),
        rather=_text(row.get("rather")),
        support=float(support) if isinstance(support, int | float) else None,
        twin=_text(row.get("twin")),
        twin_label=_text(row.get("twin_label")),
        version=str(row.get("version") or ""),
        standing=_standing(row, there.get(str(row["item_id"])), kind),
    )


def _standing(row: Mapping[str, JSON], decided: tuple[Item, Decision] | None, kind: TaskType) -> Standing:
    if row.get("source") == _BASE:
        return Standing.BASE
    if decided is None:
        return Standing.CHANGED
    item, decision = decided
    if item.state not in (ItemState.DECIDED, ItemState.COMMITTED):
        return Standing.OPEN
    if kind.text(decision.output) != row.get("label"):
        return Standing.CHANGED
    if item.triage.purpose is not Purpose.REVIEW:
        return Standing.MEASURES
    return Standing.SETTLED if item.route.tier == ADJUDICATION else Standing.READY


def _text(value: JSON) -> str | None:
    return None if value is None else str(value)
