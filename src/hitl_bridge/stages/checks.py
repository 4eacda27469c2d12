"""The user's own must-pass cases: the files of `checks/`, and how the models do on them, for the gate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from hitl_bridge.core.gating.checks import Check, CheckKind, CheckResult, inputs_of, judge_checks, read_check
from hitl_bridge.core.model import JSON
from hitl_bridge.core.task_types import TaskType
from hitl_bridge.errors import SettingsError, SettingsProblem
from hitl_bridge.stages.artifacts import LoadedModel
from hitl_bridge.stages.trainers import Unlabelled

FOLDER = Path("checks")
RESULTS = Path("reports/checks.json")


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry of a file: what it says, and in which line it begins."""

    content: JSON
    line: int


def read_checks(root: Path, kind: TaskType, labels: Sequence[str]) -> list[Check]:
    """Every check in `checks/*.yaml`, in the order of names and lines; none where there is no such folder.

    Raises SettingsError with all that is wrong in the first file that can't be read.
    """
    checks: list[Check] = []
    for path in sorted((root / FOLDER).glob("*.yaml")):
        read = [(entry.line, _read(entry, kind, labels)) for entry in _entries(path)]
        names = {check.name for check in checks}
        problems = [SettingsProblem(line, "checks", each) for line, each in read if isinstance(each, str)]
        for line, check in read:
            if not isinstance(check, str):
                if check.name in names:
                    problems.append(SettingsProblem(line, check.name, "is the name of an earlier check"))
                names.add(check.name)
                checks.append(check)
        if problems:
            raise SettingsError(f"{FOLDER}/{path.name}", tuple(sorted(problems, key=lambda problem: problem.line)))
    return checks


def _read(entry: _Entry, kind: TaskType, labels: Sequence[str]) -> Check | str:
    return read_check(entry.content, kind, labels) if isinstance(entry.content, Mapping) else "must be a mapping"


def _entries(path: Path) -> Iterator[_Entry]:
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedSeq
    from ruamel.yaml.error import YAMLError

    name = f"{FOLDER}/{path.name}"
    try:
        content = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(name, (SettingsProblem(0, name, str(error).splitlines()[0]),)) from error
    if content is None:
        return
    if not isinstance(content, CommentedSeq):
        raise SettingsError(name, (SettingsProblem(1, name, "must be a list of checks"),))
    for place, each in enumerate(content):
        yield _Entry(_plain(each), content.lc.item(place)[0] + 1)


def _plain(value: object) -> JSON:
    """Without ruamel's own types. A date or the like becomes text, and is then found out to be no label and no input."""
    import json

    plain: JSON = json.loads(json.dumps(value, default=str))
    return plain


def run_checks(
    checks: Sequence[Check], models: Mapping[str, LoadedModel], kind: TaskType, labels: Sequence[str]
) -> dict[str, list[CheckResult]]:
    """How each model does; the candidate's results say how many cases the champion fails."""
    items = [Unlabelled(f"check-{number}", shown) for number, shown in enumerate(inputs_of(checks))]
    if not items:
        return {name: [] for name in models}
    if not kind.several:
        return {name: judge_checks(checks, model.scores(items), labels) for name, model in models.items()}
    return {name: _by_answers(checks, model, items, labels) for name, model in models.items()}


def _by_answers(
    checks: Sequence[Check], model: LoadedModel, items: Sequence[Unlabelled], labels: Sequence[str]
) -> list[CheckResult]:
    """Where an item can have several labels: a label without a score counts as sure if it is named, else as surely absent."""
    answers = model.answers(items)
    said = [frozenset(map(model.kind.label_of, model.kind.parts(each.output))) for each in answers]
    scores = [[each.scores.get(label, float(label in named)) for label in labels]
              for each, named in zip(answers, said, strict=True)]  # fmt: skip
    return judge_checks(checks, np.array(scores), labels, said)


def to_json(results: Mapping[str, Sequence[CheckResult]]) -> dict[str, object]:
    return {"format": 1, **{name: [asdict(each) for each in found] for name, found in results.items()}}


def from_json(content: Mapping[str, JSON]) -> list[CheckResult]:
    """The candidate's results, each with how many cases the champion fails."""
    ours, theirs = _results(content.get("candidate")), _results(content.get("champion"))
    failed = {each.name: each.failed for each in theirs}
    return [_beside(each, failed.get(each.name)) for each in ours]


def _beside(result: CheckResult, champion_failed: int | None) -> CheckResult:
    return replace(result, champion_failed=champion_failed)


def _results(listed: JSON) -> list[CheckResult]:
    return [_result(each) for each in listed if isinstance(each, Mapping)] if isinstance(listed, list) else []


def _result(row: Mapping[str, JSON]) -> CheckResult:
    failures, must_pass = row.get("failures"), row.get("must_pass")
    return CheckResult(
        name=str(row["name"]),
        kind=CheckKind(str(row["kind"])),
        cases=int(str(row["cases"])),
        failed=int(str(row["failed"])),
        must_pass=float(must_pass) if isinstance(must_pass, int | float) else 1.0,
        failures=tuple(str(each) for each in failures) if isinstance(failures, list) else (),
    )
