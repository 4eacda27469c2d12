"""The composition root: settings → a `Bridge` whose methods are the verbs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hitl_bridge.adapters.clock import SystemClock
from hitl_bridge.bootstrap.bridge import Bridge as Bridge
from hitl_bridge.bootstrap.workspaces import check_workspace as check_workspace
from hitl_bridge.bootstrap.workspaces import local_server as local_server
from hitl_bridge.bootstrap.workspaces import make_workspace as make_workspace
from hitl_bridge.ports import Clock, LabelingService
from hitl_bridge.settings import load_settings

if TYPE_CHECKING:
    import pandas as pd


def open_bridge(root: Path | str, *, labeling: LabelingService | None = None, clock: Clock | None = None) -> Bridge:
    """The bridge of the workspace at `root`.

    Args:
        labeling: takes the place of the Label Studio named in the settings (to try things out).
        clock: takes the place of the system's clock.

    Raises:
        SettingsError: every mistake in `hitl.yaml`, each with its line.
    """
    from hitl_bridge.adapters.triage_engine.rules import DuckDbRules

    settings = load_settings(Path(root), rules=DuckDbRules())
    return Bridge(settings, labeling=labeling, clock=clock or SystemClock())


def load_decisions(version: str | None = None, root: Path | str = ".") -> pd.DataFrame:
    """What held at a dataset version (the latest if None), one row an item, with inputs and rationales.

    Args:
        version: like `v0.12.0`.
        root: the workspace.

    Raises:
        UnknownName: there is no such version.
    """
    with open_bridge(root) as bridge:
        return bridge.load_decisions(version)
