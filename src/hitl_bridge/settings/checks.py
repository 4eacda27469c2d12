"""What the settings say about one another: tiers that rise, rules that name a tier, pools that leave nobody out.

These look at the file's raw values, so that they speak even where some other part of the file is broken.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

from hitl_bridge.core.ladder import ADJUDICATOR
from hitl_bridge.core.model import NONE_OF_THESE
from hitl_bridge.core.task_types import TASK_TYPE_NAMES, task_type
from hitl_bridge.core.task_types.controls import choice_problem, variable_problem
from hitl_bridge.errors import SettingsProblem
from hitl_bridge.ports import RuleChecker
from hitl_bridge.settings.document import Document, Path
from hitl_bridge.settings.schema import unknown_word

AUTO = "auto"
"""The tier of this name needs no person."""

BY_BUDGET = "budget"
"""In place of a `max_risk`: chosen from the error budget."""

_FOR_PEOPLE = ("reviewers", "sla", "consensus", "rationale", "checklist", "escalate_after", "reasons", "criteria",
               "max_reviewers", "blind", "around_the_clock", "at_risk", "ladder")  # fmt: skip

Complaint: TypeAlias = "tuple[Path, str]"
Check: TypeAlias = "Callable[[dict[str, object]], Iterator[Complaint]]"


def cross_problems(document: Document) -> list[SettingsProblem]:
    """Every contradiction between parts of the file."""
    return [document.problem(path, what) for check in _CHECKS for path, what in check(document.values)]


def expression_problems(document: Document, rules: RuleChecker) -> list[SettingsProblem]:
    """Every rule's and every pool's `when` that can't be evaluated."""
    attributes = {name: kind for name, kind in _mapping(document.values, "attributes").items() if isinstance(kind, str)}
    found = ((path, rules.problem(expression, attributes)) for path, expression in _expressions(document.values))
    return [document.problem(path, what) for path, what in found if what is not None]


def _expressions(values: dict[str, object]) -> Iterator[tuple[Path, str]]:
    triage = _mapping(values, "triage")
    for start, entries in ((("triage", "rules"), _list(triage, "rules")), (("expertise",), _list(values, "expertise"))):
        for place, entry in enumerate(entries):
            when = entry.get("when") if isinstance(entry, dict) else None
            if isinstance(when, str) and when.strip():
                yield (*start, place, "when"), when.strip()


def labels_are_distinct(values: dict[str, object]) -> Iterator[Complaint]:
    labels = ((place, label) for place, label in enumerate(_list(values, "labels")) if isinstance(label, str))
    for place, label, first in _repeated(labels, lambda label: unicodedata.normalize("NFC", label)):
        yield ("labels", place), f"{label!r} stands here twice (also as number {first + 1}); remove one"


def labels_are_no_variables(values: dict[str, object]) -> Iterator[Complaint]:
    """What else a label may not be, the shape of the file says already."""
    for place, label in enumerate(_list(values, "labels")):
        problem = variable_problem(label) if isinstance(label, str) else None
        if problem is not None:
            yield ("labels", place), problem


def choices_can_be_shown(values: dict[str, object]) -> Iterator[Complaint]:
    for name, tier in _mapping(values, "tiers").items():
        if isinstance(tier, dict):
            for key in ("checklist", "reasons"):
                yield from _bad_choices(_list(tier, key), ("tiers", name, key))
    yield from _bad_choices(_list(values, "scenarios"), ("scenarios",))


def _bad_choices(listed: Sequence[object], where: Path) -> Iterator[Complaint]:
    entries = [(place, each.strip()) for place, each in enumerate(listed) if isinstance(each, str)]
    for place, entry in entries:
        problem = choice_problem(entry) if entry else None
        if problem is not None:
            yield (*where, place), problem
    for place, entry, first in _repeated(entries, str):
        yield (*where, place), f"{entry!r} stands here twice (also as number {first + 1}); remove one"


def attributes_are_distinct(values: dict[str, object]) -> Iterator[Complaint]:
    # SQL does not tell `Amount` from `amount`.
    for _, name, _ in _repeated(enumerate(_mapping(values, "attributes")), str.casefold):
        yield ("attributes", name), "differs from another attribute in capital letters only; choose another name"


def rules_name_a_tier(values: dict[str, object]) -> Iterator[Complaint]:
    known = tuple(_mapping(values, "tiers"))
    for place, rule in enumerate(_list(_mapping(values, "triage"), "rules")):
        tier = rule.get("tier") if isinstance(rule, dict) else None
        if isinstance(tier, str) and tier not in known:
            yield ("triage", "rules", place, "tier"), unknown_word("tier", tier, known)


def what_is_named_is_an_attribute(values: dict[str, object]) -> Iterator[Complaint]:
    name, known = _mapping(values, "triage").get("group_by"), tuple(_mapping(values, "attributes"))
    if isinstance(name, str) and name not in known:
        yield ("triage", "group_by"), unknown_word("attribute", name, known)
    said = _mapping(values, "privacy").get("consent")
    if isinstance(said, str) and said not in known:
        yield ("privacy", "consent"), unknown_word("attribute", said, known)


def tiers_rise(values: dict[str, object]) -> Iterator[Complaint]:
    """Each tier but the last has a `max_risk`, higher than the one before."""
    tiers = [(name, tier) for name, tier in _mapping(values, "tiers").items() if isinstance(tier, dict)]
    before: float | None = None
    for name, tier in tiers[:-1]:
        bound = tier.get("max_risk")
        if bound is None:
            yield ("tiers", name, "max_risk"), "is missing; every tier but the last needs a number up to which it takes a risk"
        if not isinstance(bound, int | float) or isinstance(bound, bool):
            continue
        if before is not None and bound <= before:
            yield (
                ("tiers", name, "max_risk"),
                f"must be more than {before:g}, the tier before it (tiers go from lenient to strict)",
            )
        before = bound
    if tiers and tiers[-1][1].get("max_risk") is not None:
        yield ("tiers", tiers[-1][0], "max_risk"), "must not stand here: the last tier takes every risk that is left"


def only_auto_has_a_budget(values: dict[str, object]) -> Iterator[Complaint]:
    """What `max_risk: budget` needs: a budget, items to choose by, and no rule that would go round it."""
    tiers, triage = _mapping(values, "tiers"), _mapping(values, "triage")
    for name in tiers:
        if name != AUTO and _mapping(tiers, name).get("max_risk") == BY_BUDGET:
            yield ("tiers", name, "max_risk"), "must be a number here: `budget` is for the tier `auto` alone"
    if _mapping(tiers, AUTO).get("max_risk") != BY_BUDGET:
        return
    if triage.get("error_budget") is None:
        yield ("triage", "error_budget"), "is missing: `tiers.auto.max_risk: budget` chooses its threshold from it"
    if _mapping(values, "audit").get("uniform") == 0:
        yield ("audit", "uniform"), "must be more than 0: thresholds are chosen by what people said of these items"
    for place, rule in enumerate(_list(triage, "rules")):
        if isinstance(rule, dict) and rule.get("tier") == AUTO:
            what = "a rule can't approve without a look where the error budget decides: name another tier, or set auto by hand"
            yield ("triage", "rules", place, "tier"), what


def costs_name_labels(values: dict[str, object]) -> Iterator[Complaint]:
    known = tuple(label for label in _list(values, "labels") if isinstance(label, str))
    for true, said in _mapping(_mapping(values, "triage"), "costs").items():
        if true not in (*known, NONE_OF_THESE):
            yield ("triage", "costs", true), unknown_word("label", true, known)
        for predicted in said if isinstance(said, dict) else ():
            if predicted not in known:
                yield ("triage", "costs", true, predicted), unknown_word("label", predicted, known)
            elif predicted == true:
                yield ("triage", "costs", true, predicted), "is no error: the predicted label is the true one"


def costs_are_of_one_label(values: dict[str, object]) -> Iterator[Complaint]:
    task = values.get("task")
    if _mapping(_mapping(values, "triage"), "costs") and task in TASK_TYPE_NAMES and task_type(str(task)).several:
        yield ("triage", "costs"), f"can't be told where an answer has several parts, as with {task}: remove them"


def auto_comes_first(values: dict[str, object]) -> Iterator[Complaint]:
    """`auto` is the first tier if it is there, nobody works in it, and another one is there for people."""
    tiers = _mapping(values, "tiers")
    if AUTO not in tiers:
        return
    if next(iter(tiers)) != AUTO:
        yield ("tiers", AUTO), "must be the first tier (tiers go from lenient to strict)"
    if len(tiers) == 1:
        yield ("tiers",), "must have a tier that people work in, after `auto`"
    for setting in _FOR_PEOPLE:
        if setting in _mapping(tiers, AUTO):
            yield ("tiers", AUTO, setting), "has no meaning here: nobody reviews what is approved automatically"


def consensus_fits_reviewers(values: dict[str, object]) -> Iterator[Complaint]:
    for name, tier in _mapping(values, "tiers").items():
        if not isinstance(tier, dict) or tier.get("consensus") != "single":
            continue
        if isinstance(tier.get("reviewers"), int) and tier["reviewers"] > 1:
            yield ("tiers", name, "consensus"), "`single` is for one reviewer; write `majority` or `unanimous`"


def more_reviewers_can_help(values: dict[str, object]) -> Iterator[Complaint]:
    """A further answer has to be able to settle what those before left open."""
    for name, tier in _mapping(values, "tiers").items():
        most = tier.get("max_reviewers") if isinstance(tier, dict) else None
        if not isinstance(tier, dict) or not isinstance(most, int):
            continue
        first, consensus = tier.get("reviewers", 1), tier.get("consensus")
        if isinstance(first, int) and most <= first:
            yield ("tiers", name, "max_reviewers"), f"must be more than {first}, the number of reviewers who are asked at first"
        if consensus == "unanimous":
            what = "no further answer makes different ones unanimous; write `consensus: weighted` or `majority`"
            yield ("tiers", name, "max_reviewers"), what
        elif first == 1 and consensus != "weighted":
            what = "one answer agrees with itself, so nobody is ever added; write `consensus: weighted`, or ask two reviewers"
            yield ("tiers", name, "max_reviewers"), what


def ladders_can_be_climbed(values: dict[str, object]) -> Iterator[Complaint]:
    """Each step does one thing at one time, and none is there twice; and it leads somewhere that there is."""
    known = _pool_names(values)
    for name, tier in _mapping(values, "tiers").items():
        if isinstance(tier, dict) and "ladder" in tier:
            if tier.get("escalate_after") is not None:
                what = "write it as a step of the ladder: {after: …, give_to: adjudicator}, counted from the deadline"
                yield ("tiers", name, "escalate_after"), what
            yield from _steps(("tiers", name, "ladder"), _list(tier, "ladder"), (*known, ADJUDICATOR))
    yield from _steps(("adjudication", "ladder"), _list(_mapping(values, "adjudication"), "ladder"), known)


def _steps(path: Path, steps: list[object], places: tuple[str, ...]) -> Iterator[Complaint]:
    seen: dict[tuple[object, object, bool], int] = {}
    for number, step in enumerate(steps):
        if not isinstance(step, dict):
            continue
        if ("tell" in step) is ("give_to" in step):
            yield (*path, number), "must either `tell: pool` (or lead) or `give_to:` a pool or adjudicator"
        if "after" in step and "before" in step:
            yield (*path, number), "is either so long `after` the deadline or so long `before` it"
        place = step.get("give_to")
        if isinstance(place, str) and place not in places:
            yield (*path, number, "give_to"), unknown_word("pool", place, places)
        what = (step.get("tell"), place, "before" in step and "tell" in step)
        if what in seen:
            yield (*path, number), f"does what step {seen[what] + 1} does; each is taken once"
        seen.setdefault(what, number)


def notices_name_pools(values: dict[str, object]) -> Iterator[Complaint]:
    known = _pool_names(values)
    for name in _mapping(_mapping(values, "notices"), "pools"):
        if name not in known:
            yield ("notices", "pools", name), unknown_word("pool", name, known)
    for place, pool in _pools(values):
        if pool.get("name") == ADJUDICATOR:
            what = f"{ADJUDICATOR!r} is what a ladder calls a pool's adjudicators; choose another name"
            yield ("expertise", place, "name"), what


def _pool_names(values: dict[str, object]) -> tuple[str, ...]:
    return tuple(str(pool.get("name")) for _, pool in _pools(values)) if "expertise" in values else ("general",)


def pools_are_distinct(values: dict[str, object]) -> Iterator[Complaint]:
    names = ((place, pool.get("name")) for place, pool in _pools(values))
    texts = ((place, name) for place, name in names if isinstance(name, str))
    for place, name, first in _repeated(texts, str.casefold):
        yield ("expertise", place, "name"), f"{name!r} is the name of pool {first + 1} already; choose another one"


def the_last_pool_takes_the_rest(values: dict[str, object]) -> Iterator[Complaint]:
    """The first pool whose `when` is true gets the item, so exactly the last has none."""
    pools = list(_pools(values))
    for place, pool in pools[:-1]:
        if pool.get("when") is None:
            yield ("expertise", place), "needs a `when`: without one it takes every item, and the pools after it get none"
    if pools and pools[-1][1].get("when") is not None:
        yield (
            ("expertise", pools[-1][0], "when"),
            "must not stand in the last pool: it takes the items that no pool before it takes",
        )


def people_stand_once(values: dict[str, object]) -> Iterator[Complaint]:
    for place, pool in _pools(values):
        for role in ("reviewers", "adjudicators"):
            people = ((number, each) for number, each in enumerate(_list(pool, role)) if isinstance(each, str))
            for number, person, _ in _repeated(people, str.casefold):
                yield ("expertise", place, role, number), f"{person!r} stands here twice; remove one"


def the_roster_names_pools(values: dict[str, object]) -> Iterator[Complaint]:
    known = _pool_names(values)
    people = [(place, person) for place, person in enumerate(_list(values, "roster")) if isinstance(person, dict)]
    for place, person in people:
        for number, pool in enumerate(_list(person, "pools")):
            if isinstance(pool, str) and pool not in known:
                yield ("roster", place, "pools", number), unknown_word("pool", pool, known)
    emails = ((place, person["email"]) for place, person in people if isinstance(person.get("email"), str))
    for place, email, first in _repeated(emails, str.casefold):
        yield ("roster", place, "email"), f"{email!r} stands in the roster already (as number {first + 1}); keep one"


def _of_roster(values: dict[str, object], pool: object) -> list[str]:
    people = [person for person in _list(values, "roster") if isinstance(person, dict)]
    return [str(person.get("email")).casefold() for person in people if pool in _list(person, "pools")]


def a_project_a_reviewer_needs_reviewers(values: dict[str, object]) -> Iterator[Complaint]:
    if values.get("assignment") != "reviewer":
        return
    for place, pool in _pools(values):
        if not _list(pool, "reviewers") and not _of_roster(values, pool.get("name")):
            yield ("expertise", place), "names no reviewers, and `assignment: reviewer` gives each item to somebody: list them"
    if "expertise" not in values and not _of_roster(values, "general"):
        yield ("assignment",), "`reviewer` gives each item to somebody: list reviewers under `expertise` or `roster`"


def pools_have_enough_people(values: dict[str, object]) -> Iterator[Complaint]:
    """Only the people of a pool may decide its items, so there must be as many as the strictest tier asks for."""
    needed = max(_reviewers(values), default=(1, ""))
    for place, pool in _pools(values):
        people = {str(each).casefold() for role in ("reviewers", "adjudicators") for each in _list(pool, role)}
        others = _of_roster(values, pool.get("name"))
        people |= set(others)
        if (_list(pool, "reviewers") or others) and len(people) < needed[0]:
            what = (
                f"only {len(people)} may answer here, but the tier {needed[1]!r} needs {needed[0]}; add somebody, or list nobody"
            )
            yield ("expertise", place, "reviewers"), what


def _reviewers(values: dict[str, object]) -> Iterator[tuple[int, str]]:
    for name, tier in _mapping(values, "tiers").items():
        for setting in ("reviewers", "max_reviewers"):
            count = tier.get(setting) if isinstance(tier, dict) else None
            if isinstance(count, int):
                yield count, name


def _pools(values: dict[str, object]) -> Iterator[tuple[int, dict[str, object]]]:
    return ((place, pool) for place, pool in enumerate(_list(values, "expertise")) if isinstance(pool, dict))


def _mapping(values: dict[str, object], name: str) -> dict[str, object]:
    value = values.get(name)
    return value if isinstance(value, dict) else {}


def _list(values: dict[str, object], name: str) -> list[object]:
    value = values.get(name)
    return value if isinstance(value, list) else []


def _repeated(entries: Iterable[tuple[int, str]], fold: Callable[[str], str]) -> Iterator[tuple[int, str, int]]:
    """The entries that were there before, with the place of the first."""
    seen: dict[str, int] = {}
    for place, text in entries:
        first = seen.setdefault(fold(text), place)
        if first != place:
            yield place, text, first


def webhooks_have_a_receiver(values: dict[str, object]) -> Iterator[Complaint]:
    daemon = _mapping(values, "daemon")
    if daemon.get("webhook_url") and not daemon.get("listen"):
        yield ("daemon", "webhook_url"), "Label Studio would call a daemon that does not listen; name daemon.listen too"


_CHECKS: tuple[Check, ...] = (
    labels_are_distinct,
    labels_are_no_variables,
    choices_can_be_shown,
    attributes_are_distinct,
    rules_name_a_tier,
    what_is_named_is_an_attribute,
    tiers_rise,
    only_auto_has_a_budget,
    costs_name_labels,
    costs_are_of_one_label,
    auto_comes_first,
    consensus_fits_reviewers,
    more_reviewers_can_help,
    ladders_can_be_climbed,
    notices_name_pools,
    pools_are_distinct,
    the_last_pool_takes_the_rest,
    people_stand_once,
    the_roster_names_pools,
    a_project_a_reviewer_needs_reviewers,
    pools_have_enough_people,
    webhooks_have_a_receiver,
)
