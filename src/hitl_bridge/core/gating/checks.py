"""The user's own must-pass cases: what a model has to get right, whatever its average.

Three kinds (Ribeiro et al. 2020, *Beyond accuracy: behavioral testing of NLP models with CheckList*, ACL): minimum
functionality (this input has that label), invariance (these inputs have the same label) and direction (what is added to
an input must raise, or lower, the score of a label). Cases are data: nothing of them is executed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import product
from math import ceil, prod
from typing import Final

import numpy as np
import numpy.typing as npt

from hitl_bridge.core.model import JSON, JSONObject
from hitl_bridge.core.task_types import TaskType

MOST_INPUTS: Final = 20_000
"""Of one check: a template with a few lists too many is a mistake, not a wish."""

_FIELD = re.compile(r"\{(\w+)\}")
_TOLD: Final = 10
_COMMON: Final = frozenset({"name", "kind", "cases", "with", "must_pass"})


class CheckKind(StrEnum):
    MINIMUM_FUNCTIONALITY = "minimum functionality"
    INVARIANCE = "invariance"
    DIRECTION = "direction"


_KEYS: Final[Mapping[CheckKind, frozenset[str]]] = {
    CheckKind.MINIMUM_FUNCTIONALITY: frozenset({"label"}),
    CheckKind.INVARIANCE: frozenset({"within"}),
    CheckKind.DIRECTION: frozenset({"rises", "falls", "at_least"}),
}


@dataclass(frozen=True, slots=True)
class Check:
    """One check. `cases` holds the inputs of each case: one (minimum functionality), at least two (invariance), before and
    after (direction). `amount` is the most that the label's score may move (invariance; None: as far as it likes while the
    label stays), or the least it must (direction). `rises` is False where it must fall. `must_pass` is a share of cases."""

    name: str
    kind: CheckKind
    cases: tuple[tuple[JSONObject, ...], ...]
    label: str | None = None
    amount: float | None = None
    rises: bool = True
    must_pass: float = 1.0


@dataclass(frozen=True, slots=True)
class CheckResult:
    """How a model did. `failures` tells of the first ten cases that failed, by number and label and never by text;
    `champion_failed` is how many the champion fails, None without one."""

    name: str
    kind: CheckKind
    cases: int
    failed: int
    must_pass: float = 1.0
    failures: tuple[str, ...] = ()
    champion_failed: int | None = None

    @property
    def allowed(self) -> int:
        """Cases that may fail."""
        return self.cases - ceil(self.must_pass * self.cases - 1e-9)

    @property
    def passed(self) -> bool:
        return self.failed <= self.allowed

    def told(self) -> str:
        first = f" ({self.failures[0]})" if self.failures else ""
        return f"{self.name!r} fails {self.failed} of {self.cases} cases, {self.allowed} may{first}"


def read_check(content: Mapping[str, JSON], kind: TaskType, labels: Sequence[str]) -> Check | str:
    """The check that an entry of a file in `checks/` describes, or what is wrong with it."""
    name, of = content.get("name"), content.get("kind")
    if not isinstance(name, str) or not name.strip():
        return "name must be a text that is not empty"
    if of not in tuple(CheckKind):
        return f"kind must be one of: {', '.join(CheckKind)}"
    check = Check(name, CheckKind(str(of)), ())
    unknown = sorted(content.keys() - _COMMON - _KEYS[check.kind])
    if unknown:
        return f"{', '.join(unknown)} is not known for {check.kind.value}; known are: " + ", ".join(
            sorted(_COMMON | _KEYS[check.kind])
        )
    must_pass = _share(content.get("must_pass", 1.0))
    if must_pass is None or must_pass == 0.0:
        return "must_pass must be a share above 0, at most 1"
    demanded = _demanded(replace(check, must_pass=must_pass), content, labels)
    return demanded if isinstance(demanded, str) else _with_cases(demanded, content, kind)


def _demanded(check: Check, content: Mapping[str, JSON], labels: Sequence[str]) -> Check | str:
    """The check with what it demands of each case."""
    if check.kind is CheckKind.INVARIANCE:
        within = _share(content["within"]) if "within" in content else None
        return "within must be a share" if within is None and "within" in content else replace(check, amount=within)
    names = ("label",) if check.kind is CheckKind.MINIMUM_FUNCTIONALITY else ("rises", "falls")
    given = [name for name in names if name in content]
    if len(given) != 1 or content[given[0]] not in labels:
        return f"{' or '.join(names)} must be one of the labels in hitl.yaml"
    least = _share(content.get("at_least", 0.0))
    if least is None:
        return "at_least must be a share"
    return replace(check, label=str(content[given[0]]), amount=least, rises=given[0] != "falls")


def _share(value: JSON) -> float | None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
    return float(value) if good and isinstance(value, int | float) else None


def _with_cases(check: Check, content: Mapping[str, JSON], kind: TaskType) -> Check | str:
    cases, words = content.get("cases"), content.get("with", {})
    if not isinstance(cases, list) or not cases:
        return "cases must be a list that is not empty"
    if not isinstance(words, Mapping) or not all(_are_texts(each) for each in words.values()):
        return "with must give a list of texts for each name"
    expanded: list[tuple[JSONObject, ...]] = []
    for number, case in enumerate(cases, start=1):
        inputs = [_input(each, kind) for each in (case if isinstance(case, list) else [case])]
        good = [each for each in inputs if not isinstance(each, str)]
        if len(good) < len(inputs):
            return f"case {number}: {next(each for each in inputs if isinstance(each, str))}"
        lists = _used(good, words)
        if len(good) * prod(map(len, lists.values())) > MOST_INPUTS:
            return f"case {number} stands for more than {MOST_INPUTS} inputs"
        expanded.extend(_expanded(check.kind, good, lists))
    return _counted(replace(check, cases=tuple(expanded)))


def _counted(check: Check) -> Check | str:
    """The check, if each case has as many inputs as its kind needs."""
    needs = {CheckKind.MINIMUM_FUNCTIONALITY: (1, 1), CheckKind.INVARIANCE: (2, MOST_INPUTS), CheckKind.DIRECTION: (2, 2)}
    least, most = needs[check.kind]
    if not all(least <= len(case) <= most for case in check.cases):
        wanted = {1: "one input", 2: "a list of two inputs, before and after"}.get(most, "a list of two inputs or more")
        return f"each case of {check.kind.value} must be {wanted}"
    if sum(map(len, check.cases)) > MOST_INPUTS:
        return f"the check has more than {MOST_INPUTS} inputs"
    return check


def _are_texts(value: JSON) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, str) for each in value)


def _input(given: JSON, kind: TaskType) -> JSONObject | str:
    """An input, which may be given as its one field alone; or what is wrong with it."""
    shown = {kind.input_field: given} if isinstance(given, str) else given
    if not isinstance(shown, Mapping):
        return "an input must be a text or an object"
    return kind.input_problem(shown) or shown


def _used(inputs: Sequence[JSONObject], words: Mapping[str, JSON]) -> dict[str, list[str]]:
    """The lists of those names in braces that occur in these inputs; other braces stay as they are."""
    found = {name for each in inputs for value in each.values() if isinstance(value, str) for name in _FIELD.findall(value)}
    return {name: [str(each) for each in given] for name, given in words.items() if name in found and isinstance(given, list)}


def _expanded(
    kind: CheckKind, inputs: Sequence[JSONObject], lists: Mapping[str, Sequence[str]]
) -> Iterator[tuple[JSONObject, ...]]:
    """A case for each way to fill the braces in; for invariance all these ways are one case."""
    ways = [dict(zip(lists, chosen, strict=True)) for chosen in product(*lists.values())]
    filled = [tuple(_filled(each, way) for each in inputs) for way in ways]
    if kind is CheckKind.INVARIANCE:
        yield tuple(each for case in filled for each in case)
    else:
        yield from filled


def _filled(shown: JSONObject, way: Mapping[str, str]) -> JSONObject:
    def fill(match: re.Match[str]) -> str:
        return way.get(match[1], match[0])

    return {key: _FIELD.sub(fill, value) if isinstance(value, str) else value for key, value in shown.items()}


def inputs_of(checks: Sequence[Check]) -> list[JSONObject]:
    """Every input of every case, in the order in which `judge_checks` wants their scores."""
    return [each for check in checks for case in check.cases for each in case]


def judge_checks(
    checks: Sequence[Check],
    scores: npt.NDArray[np.float64],
    labels: Sequence[str],
    said: Sequence[frozenset[str]] | None = None,
) -> list[CheckResult]:
    """How a model did that gave these scores (a row each of `inputs_of`, a column each of `labels`).

    Args:
        said: the labels that it named for each, where there can be several; None: the one with the best score.
    """
    if said is None:
        said = [frozenset({labels[int(best)]}) for best in scores.argmax(axis=1)]
    results, place = [], 0
    for check in checks:
        failures = []
        for number, case in enumerate(check.cases, start=1):
            here = slice(place, place + len(case))
            wrong = _wrong(check, scores[here], said[here], labels)
            place += len(case)
            if wrong is not None:
                failures.append(f"case {number}: {wrong}")
        told = tuple(failures[:_TOLD])
        results.append(CheckResult(check.name, check.kind, len(check.cases), len(failures), check.must_pass, told))
    return results


def _wrong(check: Check, scores: npt.NDArray[np.float64], said: Sequence[frozenset[str]], labels: Sequence[str]) -> str | None:
    """What is wrong with a model's scores of one case."""
    if check.kind is CheckKind.MINIMUM_FUNCTIONALITY:
        return None if check.label in said[0] else f"{_told(said[0])} instead of {check.label!r}"
    if check.kind is CheckKind.INVARIANCE:
        if len(set(said)) > 1:
            return f"{' and '.join(sorted(set(map(_told, said)))[:3])} for what should be the same"
        spreads = {label: float(np.ptp(scores[:, labels.index(label)])) for label in sorted(said[0])}
        far = [label for label, spread in spreads.items() if check.amount is not None and spread > check.amount]
        return f"the score of {far[0]!r} moves by {spreads[far[0]]:.2f}" if far else None
    before, after = scores[:, labels.index(str(check.label))]
    change, least = float(after - before), check.amount or 0.0
    good = change >= least if check.rises else change <= -least
    return None if good else f"the score of {check.label!r} changes by {change:+.2f}"


def _told(labels: frozenset[str]) -> str:
    return " with ".join(repr(each) for each in sorted(labels)) or "no label"
