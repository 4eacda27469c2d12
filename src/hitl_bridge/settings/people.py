"""The roster in a file of its own: `reviewers.yaml` beside `hitl.yaml`, for those who keep people and policy apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hitl_bridge.errors import SettingsProblem
from hitl_bridge.settings.document import Document, read_document

FILE = "reviewers.yaml"

_ROSTER = "roster"


def with_people(document: Document, content: bytes) -> Document:
    """`document` with the roster of the other file in it. What is wrong with that file is a problem of the result."""
    people = read_document(content)
    problems = [replace(each, where=_named(each.where)) for each in people.problems]
    if _ROSTER in document.values:
        problems.append(document.problem((_ROSTER,), f"stands here and in {FILE}, too; keep one of them"))
        return replace(document, problems=(*document.problems, *problems))
    for name in people.values:
        if name != _ROSTER:
            wrong = people.problem((name,), f"is no setting of this file, which holds `{_ROSTER}` alone")
            problems.append(replace(wrong, where=_named(wrong.where)))
    if _ROSTER not in people.values and not people.problems:
        problems.append(SettingsProblem(1, _named("the file"), f"holds no `{_ROSTER}`"))
    theirs = {path: line for path, line in people.lines.items() if path[:1] == (_ROSTER,)}
    values = {**document.values, **{name: value for name, value in people.values.items() if name == _ROSTER}}
    return Document(values, {**document.lines, **theirs}, (*document.problems, *problems))


def told_apart(problems: Iterable[SettingsProblem]) -> list[SettingsProblem]:
    """The same problems; those of the roster say in which file their line is."""
    return [replace(each, where=_named(each.where)) if each.where.startswith(_ROSTER) else each for each in problems]


def _named(where: str) -> str:
    return f"{FILE}: {where}"
