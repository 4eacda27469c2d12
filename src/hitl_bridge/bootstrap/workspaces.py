"""A workspace before it has a bridge: made, checked, given a Label Studio to try with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hitl_bridge.adapters.clock import SystemClock
from hitl_bridge.bootstrap.bridge import Bridge
from hitl_bridge.core.model import ADJUDICATION
from hitl_bridge.errors import BridgeError, UsageError
from hitl_bridge.settings import Settings, cache_dir, load_settings

if TYPE_CHECKING:
    from hitl_bridge.adapters.label_studio.local_server import LocalServer
    from hitl_bridge.core.people import Term
    from hitl_bridge.services.desk.gold import GoldStock
    from hitl_bridge.services.keeping.doctor import Check
    from hitl_bridge.services.keeping.init import InitRequest, InitResult


def make_workspace(request: InitRequest) -> InitResult:
    """`init`, with the template of this installation, on this machine's git and DVC."""
    from hitl_bridge.adapters.workspace import WorkspaceTools
    from hitl_bridge.adapters.workspace_template import PackagedTemplate
    from hitl_bridge.services.keeping.init import init

    return init(request, PackagedTemplate(), WorkspaceTools())


def check_workspace(root: Path) -> list[Check]:
    """`doctor`: every check with its remedy. Never raises."""
    from hitl_bridge.adapters.triage_engine.rules import DuckDbRules
    from hitl_bridge.adapters.workspace import WorkspaceTools
    from hitl_bridge.services.keeping.doctor import Probes, doctor

    tools = WorkspaceTools()
    settings: Settings | BridgeError
    try:
        settings = load_settings(root, rules=DuckDbRules())
    except BridgeError as error:
        settings = error
    probes = Probes(
        git_version=tools.git_version,
        dvc_version=tools.dvc_version,
        repository=lambda known: _look(known).dataset.check(),
        ignores=lambda path: tools.ignores(root, path),
        store=_open_store,
        labeling=lambda known: _look(known).labeling.ping(),
        label_configs=_read_label_configs,
        channels=_channels,
        gold=_gold_stock,
        terms=_terms,
        nobody_settles=_nobody_settles,
    )
    return doctor(root, settings, probes)


def _look(settings: Settings) -> Bridge:
    return Bridge(settings, labeling=None, clock=SystemClock())


def _channels(settings: Settings) -> dict[str, str | None]:
    from hitl_bridge.adapters.notices import trouble_with

    return {name: trouble_with(settings.notice_addresses.get(name)) for name in settings.notices.channels}


def _open_store(settings: Settings) -> str:
    with _look(settings) as bridge:
        return bridge.store.description


def _gold_stock(settings: Settings) -> GoldStock:
    with _look(settings) as bridge:
        return bridge.gold_stock()


def _terms(settings: Settings) -> list[Term]:
    with _look(settings) as bridge:
        return bridge.store.people().terms()


def _nobody_settles(settings: Settings) -> Mapping[str, int]:
    with _look(settings) as bridge:
        return bridge.nobody_settles()


def _read_label_configs(settings: Settings) -> list[str]:
    bridge = _look(settings)
    tiers = [tier.name for tier in settings.tiers] + [ADJUDICATION]
    for tier in tiers:
        bridge.label_config(tier)
    return [f"{settings.task}.{tier}" for tier in tiers]


def local_server(root: Path, *, progress: Callable[[str], None]) -> LocalServer:
    """The embedded Label Studio of a workspace, on the port that its settings name."""
    from urllib.parse import urlsplit

    from hitl_bridge.adapters.label_studio.local_server import LocalServer
    from hitl_bridge.adapters.triage_engine.rules import DuckDbRules

    settings = load_settings(root, rules=DuckDbRules())
    address = urlsplit(settings.label_studio_url)
    if address.hostname not in ("127.0.0.1", "localhost"):
        raise UsageError(
            f"hitl.yaml names {settings.label_studio_url}, which is not on this machine.",
            remedy="The embedded server is for trying out: name it as label_studio: {url: http://127.0.0.1:8080}.",
        )
    home = settings.paths.state / "label-studio"
    return LocalServer(home, cache=cache_dir(), port=address.port or 8080, progress=progress)
