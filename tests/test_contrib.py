"""What an operator copies: the unit, the alert rules, and a paragraph for each of them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from hitl_bridge.adapters.clock import SystemClock
from hitl_bridge.services.intake.online_desk import OnlineFigures
from hitl_bridge.services.keeping.health import Figures, Vitals
from hitl_bridge.services.sync.webhooks import Nudges
from hitl_bridge.web.metrics import exposition

ROOT = Path(__file__).parents[1]
UNIT = ROOT / "contrib" / "systemd" / "hitl-bridge.service"


def rules() -> list[dict[str, Any]]:
    read: Any = YAML(typ="safe").load((ROOT / "contrib" / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))
    return [rule for group in read["groups"] for rule in group["rules"]]


def test_each_alert_has_its_paragraph_and_no_paragraph_is_left_over() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    paragraphs = re.findall(r"^### (HitlBridge\w+)\n(.+)", text, re.MULTILINE)
    assert {name for name, _ in paragraphs} == {rule["alert"] for rule in rules()}


def test_each_alert_asks_for_figures_that_there_are() -> None:
    vitals = Vitals(SystemClock())
    vitals.note("store", up=True)
    figures = Figures({"queued": 1}, {"quick": {"at_risk": 1, "overdue": 0}})
    there = set(re.findall(r"^(hitl_bridge_\w+)", exposition(vitals, Nudges(), figures).decode(), re.MULTILINE))
    for rule in rules():
        assert set(re.findall(r"hitl_bridge_\w+", rule["expr"])) <= there, rule["alert"]


def test_every_figure_is_described() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    shown = exposition(Vitals(SystemClock()), Nudges(), Figures({}, {}), OnlineFigures()).decode()
    told = {name for name, kind in re.findall(r"^# TYPE hitl_bridge_(\w+) (\w+)", shown, re.MULTILINE)}
    assert len(told) > 20
    assert {name for name in told if f"`{name}" not in text} == set()


def test_every_action_of_the_log_is_described() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    sources = [*(ROOT / "src/hitl_bridge/daemon").glob("*.py"), ROOT / "src/hitl_bridge/cli/daemon.py"]
    actions = {action for path in sources for action in re.findall(r'"((?:daemon|web)\.[a-z_]+)"', path.read_text("utf-8"))}
    assert len(actions) > 15
    assert {action for action in actions if f"`{action}`" not in text} == set()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_the_unit_is_one_that_systemd_understands(tmp_path: Path) -> None:
    text = UNIT.read_text(encoding="utf-8").replace("/opt/hitl-bridge/bin/hitl-bridge", sys.executable)
    text = re.sub(r"^(User|Group)=.*$", r"\1=root", text, flags=re.MULTILINE)
    unit = tmp_path / UNIT.name
    unit.write_text(text, encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    told = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert (done.returncode, told) == (0, [])
