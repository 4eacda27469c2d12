"""What reviewers' answers tell of those who gave them.

Only items with a known answer (gold) measure how often somebody is right, and only those whose model is wrong what showing the
model's answer does. How much people agree, how fast they are and how often they keep what is filled in tells no more than that
somebody should look.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import median
from typing import TypeAlias

from hitl_bridge.core.audits.reviewers import Bounds, share_bounds
from hitl_bridge.core.model import ItemId, JSONObject, Purpose
from hitl_bridge.core.review.agreement import alpha
from hitl_bridge.core.review.anchoring import Anchoring, Look, anchoring, arms
from hitl_bridge.core.review.reliability import Said, Votes

Named: TypeAlias = Callable[[JSONObject | None], str]
"""An output in a word, None (no label fits) included: equal where the outputs say the same."""

RUBBER_FROM = 50
"""So many answers with the prediction shown, by one person and by the others, before anybody is compared."""

_CHANCE = 0.01
"""How likely it may be, over everybody who is compared, that chance alone raises a notice."""

_HURRIED = 0.5
"""Of the others' median time: who takes less is called fast."""

_MISSES = 0.2
"""A notice is raised where somebody surely takes more than this share of shown wrong answers."""


@dataclass(frozen=True, slots=True)
class GivenAnswer:
    """An answer in force, with what it was an answer to. `said`, `predicted` and `known` are outputs, None where no label fits;
    `known` counts only if `is_gold`. `shown`: the prediction was filled in; `blind_rate` is the probability with which it could
    have been otherwise, None without a draw."""

    item_id: ItemId
    revision: int
    reviewer: str
    said: JSONObject | None
    predicted: JSONObject
    pool: str
    tier: str
    scenario: str | None
    purpose: Purpose
    model_version: str
    round: int
    seconds: float | None
    shown: bool
    blind_rate: float | None
    is_gold: bool = False
    known: JSONObject | None = None


@dataclass(frozen=True, slots=True)
class ReviewerLine:
    """What is known of one person (or of one scenario, over all persons). Of `answers`, `shown` came with the prediction filled
    in, and the share `kept` of them kept it; `seconds` is the median time. Of `gold` items `right` were answered right
    (`accuracy`, with 95 % bounds). `notices` say why somebody should look."""

    name: str
    answers: int
    shown: int
    kept: float | None
    seconds: float | None
    gold: int
    right: int
    accuracy: Bounds | None
    anchoring: Anchoring
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AgreementLine:
    """Krippendorff's alpha over items that several answered; None where it says nothing. For a pair also the `share` of their
    common items on which the two say the same."""

    name: str
    items: int
    alpha: float | None
    share: float | None = None


def votes_of(answers: Iterable[GivenAnswer], named: Named) -> list[Said]:
    """Each person's one answer to each item, in words."""
    latest: dict[tuple[str, str], Said] = {}
    for each in answers:
        item = f"{each.item_id}#{each.revision}"
        known = named(each.known) if each.is_gold else None
        latest.setdefault((item, each.reviewer), Said(item, each.reviewer, named(each.said), known))
    return list(latest.values())


def told_apart(said: Sequence[Said]) -> list[Said]:
    """Those that tell how reliable somebody is: of items that several answered or whose answer is known."""
    counts: dict[str, int] = defaultdict(int)
    for each in said:
        counts[each.item] += 1
    return [each for each in said if counts[each.item] > 1 or each.known is not None]


# ------------------------------------------------------------------------------------------------------------ agreement


def agreement(name: str, said: Sequence[Said]) -> AgreementLine:
    """How far all of these agree."""
    shared = _shared(said)
    return AgreementLine(name, len({each.item for each in shared}), _alpha(shared))


def agreement_by_pair(said: Sequence[Said]) -> tuple[AgreementLine, ...]:
    """Of every two persons with common items, those with the most first."""
    by_person: dict[str, dict[str, Said]] = defaultdict(dict)
    for each in said:
        by_person[each.reviewer][each.item] = each
    lines = []
    for one, other in combinations(sorted(by_person), 2):
        common = by_person[one].keys() & by_person[other].keys()
        if common:
            both = [by_person[person][item] for item in sorted(common) for person in (one, other)]
            same = sum(by_person[one][item].answer == by_person[other][item].answer for item in common)
            lines.append(AgreementLine(f"{one} · {other}", len(common), _alpha(both), same / len(common)))
    return tuple(sorted(lines, key=lambda line: (-line.items, line.name)))


def _shared(said: Sequence[Said]) -> list[Said]:
    counts: dict[str, int] = defaultdict(int)
    for each in said:
        counts[each.item] += 1
    return [each for each in said if counts[each.item] > 1]


def _alpha(said: Sequence[Said]) -> float | None:
    import numpy as np

    if not said:
        return None
    (item, items), (reviewer, reviewers), (answer, classes) = (
        _numbered([getattr(each, name) for each in said]) for name in ("item", "reviewer", "answer")
    )
    return alpha(Votes(np.array(item), np.array(reviewer), np.array(answer), items, reviewers, classes))


def _numbered(values: Sequence[str]) -> tuple[list[int], int]:
    places = {value: place for place, value in enumerate(dict.fromkeys(values))}
    return [places[value] for value in values], len(places)


# ------------------------------------------------------------------------------------------------------------ reviewers


def reviewer_lines(answers: Sequence[GivenAnswer], named: Named) -> tuple[ReviewerLine, ...]:
    """Everybody who answered, by name; with notices about those who may keep what is filled in without reading."""
    by_person = _grouped(answers, lambda each: each.reviewer)
    lines = [_line(person, by_person[person], named) for person in sorted(by_person)]
    compared = sum(line.shown >= RUBBER_FROM for line in lines)
    return tuple(_with_notices(line, lines, compared) for line in lines)


def scenario_lines(answers: Sequence[GivenAnswer], named: Named) -> tuple[ReviewerLine, ...]:
    """The same by scenario, over all persons; nothing where there is but one."""
    by_scenario = _grouped(answers, lambda each: each.scenario or "–")
    return tuple(_line(name, by_scenario[name], named) for name in sorted(by_scenario)) if len(by_scenario) > 1 else ()


def everybody(answers: Sequence[GivenAnswer], named: Named) -> ReviewerLine:
    """All persons and scenarios together."""
    return _line("all", answers, named)


def _grouped(answers: Sequence[GivenAnswer], of: Callable[[GivenAnswer], str]) -> Mapping[str, list[GivenAnswer]]:
    found: dict[str, list[GivenAnswer]] = defaultdict(list)
    for each in answers:
        found[of(each)].append(each)
    return found


def _line(name: str, answers: Sequence[GivenAnswer], named: Named) -> ReviewerLine:
    shown = [each for each in answers if each.shown]
    kept = sum(named(each.said) == named(each.predicted) for each in shown)
    times = [each.seconds for each in answers if each.seconds is not None]
    gold = [each for each in answers if each.is_gold]
    right = sum(named(each.said) == named(each.known) for each in gold)
    return ReviewerLine(
        name=name,
        answers=len(answers),
        shown=len(shown),
        kept=kept / len(shown) if shown else None,
        seconds=median(times) if times else None,
        gold=len(gold),
        right=right,
        accuracy=share_bounds(right, len(gold), 0.05) if gold else None,
        anchoring=anchoring(arms(_looks(gold, named))),
    )


def _looks(gold: Iterable[GivenAnswer], named: Named) -> Iterable[Look]:
    """Of gold items whose model is wrong, what was answered in the first round, where the draw decided what was shown."""
    for each in gold:
        wrong = named(each.known) != named(each.predicted)
        if wrong and each.round == 1 and each.blind_rate is not None:
            yield Look(not each.shown, each.blind_rate, named(each.said) == named(each.predicted))


def _with_notices(line: ReviewerLine, lines: Sequence[ReviewerLine], compared: int) -> ReviewerLine:
    notices = tuple(said for said in (_hurried(line, lines, compared), _taking(line)) if said)
    return replace(line, notices=notices)


def _hurried(line: ReviewerLine, lines: Sequence[ReviewerLine], compared: int) -> str | None:
    """Keeps far more of what is filled in than the others do, and takes less than half their time. Fisher's exact test, at a
    level divided by the number of persons compared."""
    others = [each for each in lines if each.name != line.name and each.shown]
    shown, kept = sum(each.shown for each in others), sum(_kept(each) for each in others)
    times = [each.seconds for each in others if each.seconds is not None]
    if line.shown < RUBBER_FROM or shown < RUBBER_FROM or line.seconds is None or not times:
        return None
    if line.seconds >= _HURRIED * median(times):
        return None
    from scipy.stats import hypergeom

    mine = _kept(line)
    chance = float(hypergeom.sf(mine - 1, shown + line.shown, kept + mine, line.shown))
    if chance > _CHANCE / max(1, compared):
        return None
    return (
        f"keeps {mine / line.shown:.0%} of what is filled in (the others {kept / shown:.0%}) and takes {line.seconds:.0f} s"
        f" an item (the others {median(times):.0f} s)"
    )


def _kept(line: ReviewerLine) -> int:
    return round((line.kept or 0.0) * line.shown)


def _taking(line: ReviewerLine) -> str | None:
    """Surely takes more shown wrong answers than anybody should, on gold."""
    seen = line.anchoring
    if seen.shown is None or seen.answers_shown == 0:
        return None
    taken = round(seen.shown * seen.answers_shown)
    bounds = share_bounds(taken, seen.answers_shown, 0.05)
    if bounds.low <= _MISSES:
        return None
    return f"took {taken} of {seen.answers_shown} wrong answers that were shown on gold items"


@dataclass(frozen=True, slots=True)
class GoldMisses:
    """Blind answers to gold items whose model is wrong: so many, of which so many said what the model says."""

    answers: int = 0
    missed: int = 0


def blind_misses(answers: Iterable[GivenAnswer], named: Named) -> GoldMisses:
    """How often a person who is shown no prediction errs in the model's own way."""
    looks = [
        named(each.said) == named(each.predicted)
        for each in answers
        if each.is_gold and not each.shown and named(each.known) != named(each.predicted)
    ]
    return GoldMisses(len(looks), sum(looks))
