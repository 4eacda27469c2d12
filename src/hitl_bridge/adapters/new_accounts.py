"""Passwords of accounts that were just made, until somebody hands them over: in a file that only its owner can read."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from hitl_bridge.ports import NewAccount


class PasswordFile:
    """One JSON object at `path`: the first password by e-mail. To be deleted once they are handed over."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def keep(self, account: NewAccount) -> None:
        """On the disk before the next account is made: a password can't be asked for again."""
        known = json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}
        text = json.dumps({**known, account.email: account.password}, indent=2) + "\n"
        descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}-")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(self.path)
