"""How the program ends where a person, a reader or the machine stops it: a word, a way on, and an exit code of its own."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from shutil import disk_usage
from tempfile import gettempdir
from typing import Any

import typer
from typer.core import TyperGroup

from hitl_bridge.cli.stopping import Stopped
from hitl_bridge.errors import OutsideUnavailable

READER_GONE = 141
"""128 + SIGPIPE, as other programs in a pipe end."""

_AGAIN = "then run the command again: what was done is not done twice."
_ROOM = f"Make room on that disk, {_AGAIN}"
_RIGHTS = f"Let the user who runs this read and write there, {_AGAIN}"
_MACHINE = f"Mend that, {_AGAIN}"
_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _ROOM),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _RIGHTS),
    **dict.fromkeys((errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOLCK), _MACHINE),
}
"""What no program can foresee of its machine. Any other OSError is a bug, and ends with its traceback."""


class Program(TyperGroup):
    """The outermost group. Left to itself, typer ends without a word on Ctrl-C, and with the code of mere problems where nobody
    reads any more."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stopped:
            raise Stopped(str(stopped)) from None
        except BrokenPipeError:
            raise typer.Exit(READER_GONE) from None
        except OSError as error:
            if ended := written_out(0):
                raise typer.Exit(ended) from None
            if error.errno not in _REMEDIES:
                raise
            what = f"{error.filename} can't be used" if error.filename else "Something can't be read or written"
            where = "" if error.filename else _free(ctx.obj or Path.cwd(), Path(gettempdir()))
            raise OutsideUnavailable(f"{what}: {error.strerror}.{where}", remedy=_REMEDIES[error.errno]) from error


def _free(*places: Path) -> str:
    """Writing to a full disk does not tell to which."""
    free = [f"{disk_usage(place).free / 1e6:,.1f} MB in {place}" for place in places]
    return f" Free: {', '.join(free)}."


def written_out(code: int) -> int:
    """The exit code: `code`, if all that was said has arrived."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # What is left would fail once more when Python ends, which says so in its own words.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return READER_GONE
        sys.stderr.write(f"The output can't be written: {error.strerror}.\n→ {_REMEDIES.get(error.errno or 0, _MACHINE)}\n")
        return OutsideUnavailable.exit_code
    return code
