"""What was decided on similar items: found for a page, or for whoever asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hitl_bridge.core.model import ADJUDICATION, Decision, Item, ItemId, JSONObject
from hitl_bridge.core.prior import SHOWN, Asked, Beside, MissingLabel, PriorDecision, excerpt, settled_as
from hitl_bridge.core.review.handed_on import CHALLENGED
from hitl_bridge.core.similarity import Terms, terms_of
from hitl_bridge.core.task_types import TaskType
from hitl_bridge.errors import UnknownName
from hitl_bridge.ports import DecidedIndex, PriorStore
from hitl_bridge.ports.prior import Identity

_SPARE = 9
"""So many more are looked for: of what was once decided something was taken back meanwhile, or is the item itself."""


@dataclass(frozen=True, slots=True)
class PriorPorts:
    """`key` is the workspace's, with which terms are hashed."""

    store: PriorStore
    index: DecidedIndex
    kind: TaskType
    key: bytes


@dataclass(frozen=True, slots=True)
class SimilarItem:
    """An item that was decided before. `alike` lies in [0, 1], `text` is how it begins, and `decided` says the decision in a few
    words."""

    item_id: str
    revision: int
    alike: float
    text: str
    outcome: str
    output: JSONObject | None
    decided: str
    rationale: str
    reason_codes: tuple[str, ...]
    decided_at: str


@dataclass(frozen=True, slots=True)
class SimilarResult:
    """The decided items that are most like `item_id`, out of `among`; `new` of them were decided since somebody last looked."""

    item_id: str
    similar: tuple[SimilarItem, ...]
    among: int
    new: int


def refresh(ports: PriorPorts) -> int:
    """Takes in what was decided since the last time; returns how many items that were. Its cost is theirs: what was there is not
    looked at again."""
    with ports.index.alone():
        before, now = ports.index.head(), ports.store.head()
        if before == now:
            return 0
        known = before if before is not None and ports.store.knows(before) else None
        news = (
            ((each.item_id, each.revision), _terms(ports, each.input, each.scores)) for each in ports.store.newly_decided(known)
        )
        return ports.index.take_in(news, now, anew=known is None)


def beside(ports: PriorPorts, items: Sequence[Item]) -> Asked:
    """What the pages of these items show beside them. On blind ones nothing is: who answers there answers from scratch."""
    refresh(ports)
    seeing = [item for item in items if not item.route.blind]
    found = _nearest(ports, seeing, SHOWN)
    challenged = _challenged(ports.store, seeing)
    return {each: Beside(found.get(each, ()), challenged.get(each)) for each in map(_identity, seeing)}


def similar(ports: PriorPorts, item_id: ItemId, most: int) -> SimilarResult:
    """The decided items that are most like this one.

    Raises:
        UnknownName: no person was to see an item of that name, so that nothing is known of what it says.
    """
    item = ports.store.latest(item_id)
    if item is None:
        said = "Only items that people see can be compared: of those approved without a look the bridge keeps no text."
        raise UnknownName("item", item_id, remedy=said)
    new = refresh(ports)
    found = _nearest(ports, [item], most).get(_identity(item), [])
    return SimilarResult(item_id, tuple(_told(each, ports.kind) for each in found), ports.index.size, new)


def missing_labels(store: PriorStore) -> list[MissingLabel]:
    """What reviewers call the labels that they miss."""
    return store.missing_labels()


def _nearest(ports: PriorPorts, items: Sequence[Item], most: int) -> dict[Identity, list[PriorDecision]]:
    """For each of the items the decisions that hold on those that are most like it. Of the item itself there is none: whoever is
    asked again is not told what was said."""
    if not ports.index.size:
        return {}
    near = {
        _identity(item): ports.index.nearest(_terms(ports, item.prediction.input, item.prediction.scores), most + _SPARE)
        for item in items
    }
    holding = ports.store.holding([place for found in near.values() for place, _ in found])
    return {
        asked: [
            replace(holding[place], similarity=alike)
            for place, alike in dict(found).items()
            if place in holding and place[0] != asked[0]
        ][:most]
        for asked, found in near.items()
    }


def _challenged(store: PriorStore, items: Sequence[Item]) -> dict[Identity, Decision]:
    """The decision that somebody challenges, of each item that is with an adjudicator for that."""
    asked = [_identity(item) for item in items if item.route.tier == ADJUDICATION and item.route.reason.startswith(CHALLENGED)]
    return dict(store.last_decisions(asked)) if asked else {}


def _terms(ports: PriorPorts, shown: JSONObject, scores: Mapping[str, float]) -> Terms:
    value = shown.get(ports.kind.input_field)
    text = value if ports.kind.input_field == "text" and isinstance(value, str) else None
    return terms_of(text, scores, value, ports.key)


def _identity(item: Item) -> Identity:
    return item.item_id, item.revision


def _told(prior: PriorDecision, kind: TaskType) -> SimilarItem:
    decision = prior.decision
    return SimilarItem(
        item_id=prior.item_id,
        revision=prior.revision,
        alike=round(prior.similarity, 3),
        text=excerpt(prior, kind),
        outcome=decision.outcome.value,
        output=decision.output,
        decided=settled_as(decision, kind, prior.input),
        rationale=decision.rationale,
        reason_codes=decision.reason_codes,
        decided_at=decision.decided_at.isoformat(timespec="seconds"),
    )
