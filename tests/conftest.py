"""What every test can rely on, whoever runs it and wherever."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

_LONGEST_FIRST = (
    "tests/live/test_desk.py",
    "tests/live/test_loop.py",
    "tests/stages/test_pipeline.py",
    "tests/live/",
    "tests/faults/",
    "tests/adapters/test_dvc",
    "tests/stages/",
    "tests/test_daemon.py",
    "tests/services/test_state_machine.py",
    "tests/adapters/",
)
"""A worker that starts with a file of five minutes when the others are done lets them wait for it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files in the order in which they are handed to the workers (`make test`); within a file everything stays as it is."""
    items.sort(key=lambda item: next((place for place, path in enumerate(_LONGEST_FIRST) if item.nodeid.startswith(path)), 99))


@pytest.fixture(scope="session", autouse=True)
def a_git_of_the_tests_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Git with an identity for the tests, and without the settings and variables of whoever runs them."""
    config = tmp_path_factory.mktemp("git") / "config"
    config.write_text("[user]\n    name = Ana Test\n    email = ana@example.com\n[init]\n    defaultBranch = main\n", "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("GIT_")]:
            patch.delenv(name)
        patch.setenv("GIT_CONFIG_GLOBAL", str(config))
        yield
