"""What every test can rely on, whoever runs it and wherever."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


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
