"""What must stay true of the whole: light imports, and every word in the docs. `lint-imports` keeps the layers."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import get_args, get_origin

import pytest
import typer
from pydantic import BaseModel

from hitl_bridge.cli.app import app
from hitl_bridge.settings.schema import HitlYaml

ROOT = Path(__file__).parents[1]
HEAVY = {
    "alembic",
    "duckdb",
    "dvc",
    "fastapi",
    "label_studio_sdk",
    "numpy",
    "pandas",
    "prometheus_client",
    "pyarrow",
    "pydantic",
    "requests",
    "scipy",
    "sklearn",
    "sqlalchemy",
    "structlog",
    "uvicorn",
}


@cache
def doc(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize("statement", ["import hitl_bridge", "import hitl_bridge.cli"])
def test_importing_loads_no_heavy_library(statement: str) -> None:
    assert loaded_by(statement) & HEAVY == set()


def commands() -> Iterator[tuple[str, typer.models.CommandInfo]]:
    """Each command as it is typed."""
    for info in app.registered_commands:
        yield _name(info), info
    for group in app.registered_groups:
        assert group.typer_instance is not None
        for info in group.typer_instance.registered_commands:
            yield f"{group.name} {_name(info)}", info


def _name(info: typer.models.CommandInfo) -> str:
    assert info.callback is not None
    return info.name or info.callback.__name__.replace("_", "-")


def options_of(name: str) -> set[str]:
    """As the command line itself has them."""
    command = typer.main.get_command(app)
    for word in name.split():
        command = command.commands[word]  # type: ignore[attr-defined]
    return {option for parameter in command.params for option in parameter.opts if option.startswith("--")} - {"--help"}


def test_every_command_and_every_option_of_it_is_described() -> None:
    text = doc("commands.md")
    for name, _ in commands():
        found = re.search(rf"^#+ `hitl-bridge {re.escape(name)}\b.*?(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
        assert found, f"docs/commands.md does not describe {name}"
        for option in options_of(name):
            assert f"`{option}" in found[0], f"docs/commands.md does not describe {name} {option}"


def test_no_command_is_described_that_does_not_exist() -> None:
    known = {name for name, _ in commands()}
    groups = "|".join(str(group.name) for group in app.registered_groups)
    described = set(re.findall(rf"^#+ `hitl-bridge ((?:(?:{groups}) )?[a-z-]+)", doc("commands.md"), re.MULTILINE))
    assert described == known


def keys(model: type[BaseModel], before: str = "") -> Iterator[str]:
    """Every key of hitl.yaml: `audit.rate`, `triage.rules[].when`, `tiers.NAME.max_risk`."""
    for name, field in model.model_fields.items():
        written = field.alias or name
        yield before + written
        for place, section in _sections(field.annotation):
            yield from keys(section, f"{before}{written}{place}.")


def _sections(annotation: object, place: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield place, annotation
    origin = get_origin(annotation)
    inside = "[]" if origin is list else ".NAME" if origin is dict else ""
    for part in get_args(annotation):
        yield from _sections(part, inside)


def test_every_key_of_hitl_yaml_is_described_and_no_other() -> None:
    described = set(re.findall(r"^\| `([a-z_.NAME\[\]]+)` \|", doc("configuration.md"), re.MULTILINE))
    assert described == set(keys(HitlYaml))


def test_every_environment_variable_is_described() -> None:
    source = (ROOT / "src/hitl_bridge/settings/environment.py").read_text(encoding="utf-8")
    for name in set(re.findall(r'"(HITL_[A-Z_]+)"', source)):
        assert f"`{name}`" in doc("configuration.md")


def test_every_exit_code_is_described() -> None:
    for code in range(5):
        assert f"| {code} |" in doc("commands.md")
