"""Time, and where things lie in a workspace."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """Now, aware, in UTC."""

    def sleep(self, seconds: float) -> None:
        """Returns after that long."""


@dataclass(frozen=True, slots=True)
class WorkspacePaths:
    """Where things lie in a workspace."""

    root: Path

    @property
    def settings(self) -> Path:
        return self.root / "hitl.yaml"

    @property
    def state(self) -> Path:
        return self.root / ".hitl"

    @property
    def receipts(self) -> Path:
        return self.state / "receipts"

    @property
    def similar(self) -> Path:
        """The index of decided items, which can be made anew."""
        return self.state / "similar"

    @property
    def decisions(self) -> Path:
        return self.root / "data" / "decisions"

    @property
    def payloads(self) -> Path:
        return self.root / "data" / "payloads"

    @property
    def champion(self) -> Path:
        return self.root / "models" / "champion.json"

    @property
    def label_configs(self) -> Path:
        return self.root / "label_configs"
