"""What the settings say of review pages: what to go by, and of what an item can be a case."""

from __future__ import annotations

from pathlib import Path

import pytest

from hitl_bridge.errors import SettingsError
from hitl_bridge.settings import check_settings, load_settings
from hitl_bridge.settings.load import policy_version
from tests.settings_examples import GOOD, KEY

SCENARIOS = f"scenarios: [fraud, delivery]\n{GOOD}"
CRITERIA = f"{GOOD}adjudication: {{criteria: Look at the contract first.}}\n".replace(
    "sla: 4h", "sla: 4h, criteria: Go by the bill."
)


def test_criteria_and_scenarios_are_read(tmp_path: Path) -> None:
    (tmp_path / "hitl.yaml").write_text(f"scenarios: [fraud, delivery]\n{CRITERIA}", encoding="utf-8")
    policy = load_settings(tmp_path, {"HITL_WORKSPACE_KEY": KEY}).policy
    assert policy.scenarios == ("fraud", "delivery")
    assert policy.tier("quick").criteria == "Go by the bill."
    assert policy.tier("comprehensive").criteria == ""
    assert policy.tier("adjudication").criteria == "Look at the contract first."


def test_what_people_go_by_is_policy_and_what_they_may_call_an_item_is_not() -> None:
    versions = [policy_version(check_settings(text.encode())) for text in (GOOD, SCENARIOS, CRITERIA)]
    assert versions[0] == versions[1] != versions[2]


@pytest.mark.parametrize(
    ("listed", "where", "said"),
    [
        ("[fraud, delivery, fraud]", "scenarios[3]", "stands here twice"),
        ("[fraud, 'cost $price']", "scenarios[2]", "dollar"),
        ("['']", "scenarios[1]", ""),
    ],
)
def test_scenarios_that_no_page_can_show_are_refused(listed: str, where: str, said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        check_settings(f"scenarios: {listed}\n{GOOD}".encode())
    assert [(problem.where, said in problem.what) for problem in refused.value.problems] == [(where, True)]
