"""What `--help` says of options and arguments, in words of people rather than of Python (`--json`, not `--json <bool>`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import typer
from typer.core import TyperArgument, TyperGroup


@cache  # whoever calls `main` more than once in a process: reading all the signatures takes longer than most commands
def worded(app: typer.Typer) -> Callable[[], Any]:
    """The program as it can be run. A switch takes no value, a text needs no type, and an argument's name says what it is."""
    program = typer.main.get_command(app)
    for parameter in parameters(program):
        if isinstance(parameter, TyperArgument):
            parameter.display_type_rich = lambda ctx: None  # type: ignore[method-assign]
        elif parameter.metavar is None:
            parameter.metavar = "" if parameter.is_flag else "TEXT"
    return program


def parameters(command: Any) -> Iterator[Any]:
    """Those of a command and of all below it."""
    yield from command.get_params(typer.Context(command))
    for each in command.commands.values() if isinstance(command, TyperGroup) else ():
        yield from parameters(each)
