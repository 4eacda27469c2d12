"""docs/reliability.md promises nothing that no test proves: each row of its catalogue, and each test that it names."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "reliability.md").read_text(encoding="utf-8")
ROWS = [
    *(f"A{number}" for number in range(1, 11)),
    *(f"B{number}" for number in range(1, 14)),
    *(f"C{number}" for number in (1, 2, 3, 4, 6, 7, 8, 9)),
    *(f"D{number}" for number in range(1, 9)),
]


@cache
def marked_tests() -> dict[str, set[str]]:
    """The names of the tests that carry a row's number, on themselves, on their class or on their module."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for path in TESTS.rglob("test_*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        of_module = [each.value for each in tree.body if isinstance(each, ast.Assign) and "pytestmark" in ast.unparse(each)]
        _collect(tree, list(_numbers(of_module)), found)
    return found


def _collect(tree: ast.Module | ast.ClassDef, above: list[str], found: defaultdict[str, set[str]]) -> None:
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            _collect(node, [*above, *_numbers(node.decorator_list)], found)
        elif isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            for row in (*above, *_numbers(node.decorator_list)):
                found[row].add(node.name)
        elif isinstance(node, ast.Assign) and ast.unparse(node).startswith("Test"):
            for row in above:
                found[row].add(ast.unparse(node.targets[0]))


def _numbers(nodes: list[ast.expr]) -> Iterator[str]:
    for node in nodes:
        for call in ast.walk(node):
            if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("mark.catalogue"):
                yield from (str(ast.literal_eval(argument)) for argument in call.args)


def all_tests() -> set[str]:
    sources = [path.read_text(encoding="utf-8") for path in TESTS.rglob("*.py")]
    return {name for source in sources for name in re.findall(r"def (test_\w+)|class (Test\w+)", source) for name in name if name}


@pytest.mark.parametrize("row", ROWS)
def test_every_row_of_the_catalogue_is_on_the_page_and_has_a_test_of_its_number(row: str) -> None:
    assert re.search(rf"^\| {row} \|", PAGE, re.MULTILINE), f"docs/reliability.md has no row {row}"
    assert marked_tests()[row], f"no test is marked @pytest.mark.catalogue({row!r})"


def test_every_test_that_the_page_names_is_there() -> None:
    named = set(re.findall(r"`(test_\w+|Test\w+)`", PAGE))
    assert len(named) > 40
    assert sorted(named - all_tests()) == []


def test_a_test_named_in_a_row_carries_its_number() -> None:
    marked = marked_tests()
    for row in ROWS:
        line = next(line for line in PAGE.splitlines() if line.startswith(f"| {row} |"))
        named = set(re.findall(r"`(test_\w+)`", line))
        assert named, f"row {row} names no test"
        assert named <= marked[row], f"row {row}: {sorted(named - marked[row])}"
