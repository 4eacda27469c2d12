"""hitl.yaml and the environment: what is read from them, and what by default."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl_bridge.core.budget.costs import Costs
from hitl_bridge.core.routing import Pool
from hitl_bridge.core.triage.plan import CLOSED, TierBound
from hitl_bridge.core.triage.selection import ReviewBudget
from hitl_bridge.errors import UsageError
from hitl_bridge.settings import cache_dir, check_settings, duration_text, load_settings, parse_duration, read_approver_token
from hitl_bridge.settings.load import policy_version
from tests.settings_examples import GOOD, KEY, SelectiveRules, changed, only_problem, written

PROJECT = Path(__file__).parents[1]


class TestReading:
    def test_the_shape_in_the_documentation_is_read_into_the_policies(self, tmp_path: Path) -> None:
        settings = load_settings(written(tmp_path), {"HITL_WORKSPACE_KEY": KEY})
        assert settings.labels == ("refund", "billing", "cancel", "technical")
        assert [(tier.name, tier.max_risk) for tier in settings.plan.tiers] == [
            ("auto", 0.02),
            ("quick", 0.30),
            ("comprehensive", 1.0),
        ]
        assert settings.plan.rules[0].tier == "comprehensive"
        assert (settings.plan.audit_rate, settings.plan.uniform_rate, settings.audit_sla) == (0.05, 0.02, timedelta(hours=48))
        assert [tier.name for tier in settings.tiers] == ["quick", "comprehensive"]
        assert settings.tiers[1].rationale_required
        assert settings.tiers[1].escalate_after == timedelta(hours=20)
        assert settings.pools[1] == Pool("general", None, ("cy@example.com",), ("dee@example.com",))
        assert (settings.error_budget, settings.budget_confidence) == (0.02, 0.95)

    def test_the_policy_has_every_review_tier_and_pool(self, tmp_path: Path) -> None:
        policy = load_settings(written(tmp_path), {"HITL_WORKSPACE_KEY": KEY}).policy
        assert policy.kind.name == "text-classification"
        assert (set(policy.tiers), set(policy.pools)) == ({"quick", "comprehensive"}, {"payments", "general"})

    def test_addresses_of_reviewers_are_kept_in_small_letters_as_label_studio_does(self, tmp_path: Path) -> None:
        settings = load_settings(written(tmp_path), {"HITL_WORKSPACE_KEY": KEY})
        assert settings.pools[0].reviewers == ("ana@example.com", "ben@example.com")

    def test_a_relative_sqlite_path_counts_from_the_workspace(self, tmp_path: Path) -> None:
        settings = load_settings(written(tmp_path), {"HITL_WORKSPACE_KEY": KEY})
        assert settings.store_url == f"sqlite:///{tmp_path}/.hitl/bridge.db"

    def test_three_lines_are_a_policy_with_everybody_in_one_pool(self, tmp_path: Path) -> None:
        text = "task: image-classification\nlabels: [cat, dog]\ntiers: {review: {}}\n"
        settings = load_settings(written(tmp_path, text), {"HITL_WORKSPACE_KEY": KEY})
        assert settings.plan.auto_tier is None
        assert settings.pools == (Pool("general"),)
        assert settings.tiers[0].consensus == "single"

    @pytest.mark.parametrize(("text", "hours"), [("500/day", 24), ("500 / week", 168), ("500/hour", 1)])
    def test_a_review_budget_is_a_number_in_a_stretch_of_time(self, tmp_path: Path, text: str, hours: int) -> None:
        lines = f"  error_budget: 0.02\n  max_reviews: {text}"
        settings = load_settings(written(tmp_path, changed("  error_budget: 0.02", lines)), {"HITL_WORKSPACE_KEY": KEY})
        assert settings.policy.review_budget == ReviewBudget(500, timedelta(hours=hours), 0.1)
        assert load_settings(written(tmp_path), {"HITL_WORKSPACE_KEY": KEY}).policy.review_budget is None

    def test_several_reviewers_settle_by_majority_where_nothing_is_said(self, tmp_path: Path) -> None:
        text = changed("consensus: unanimous, ", "")
        settings = load_settings(written(tmp_path, text), {"HITL_WORKSPACE_KEY": KEY})
        assert settings.tiers[1].consensus == "majority"

    def test_the_template_is_a_policy_that_works_out_of_the_box(self) -> None:
        file = check_settings((PROJECT / "hitl.yaml").read_bytes())
        assert list(file.tiers) == ["auto", "quick", "comprehensive"]
        assert (file.audit.rate, file.audit.uniform) == (0.05, 0.02)
        assert [(pool.name, pool.reviewers) for pool in file.expertise] == [("general", [])]

    def test_the_commented_examples_of_the_template_work_when_the_comment_sign_is_taken_away(self) -> None:
        text = (PROJECT / "hitl.yaml").read_text()
        text = re.sub(r"^# (attributes|  amount|  language|adjudication|  sla):", r"\1:", text, flags=re.MULTILINE)
        text = re.sub(r"^  # (rules:|  - \{|- name|  when|  reviewers|  adjudicators)", r"  \1", text, flags=re.MULTILINE)
        text = text.replace("  rules: []\n", "").replace("  - name: general\n", "") + "  # the end\n"
        text = text.replace("  adjudicators: [dee@example.com]\n", "  adjudicators: [dee@example.com]\n  - name: general\n")
        file = check_settings(text.encode(), rules=SelectiveRules())
        assert len(file.triage.rules) == 2
        assert [pool.name for pool in file.expertise] == ["payments", "general"]
        assert file.attributes == {"amount": "float", "language": "string"}


class TestPolicyVersion:
    def test_comments_connections_people_and_defaults_written_out_leave_the_version_as_it_is(self) -> None:
        version = policy_version(check_settings(GOOD.encode()))
        same = changed("assignment: pool\n", "# a remark\n").replace("8080", "9090").replace("cy@example.com", "eve@example.com")
        assert re.fullmatch(r"p-[0-9a-f]{12}", version)
        assert policy_version(check_settings(same.encode())) == version

    def test_how_many_people_can_look_at_decides_no_tier_and_is_no_other_version(self) -> None:
        limited = changed(
            "  error_budget: 0.02", "  error_budget: 0.02\n  max_reviews: 500/day\n  random_arm: 0.2\n  spread_over: scores"
        )
        assert policy_version(check_settings(limited.encode())) == policy_version(check_settings(GOOD.encode()))

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("0.30", "0.31"),
            ("rate: 0.05", "rate: 0.06"),
            ("10000", "1000"),
            ("refund, billing", "billing, refund"),
            ("sla: 4h", "sla: 5h"),
        ],
    )
    def test_a_change_of_the_policy_is_another_version(self, old: str, new: str) -> None:
        assert policy_version(check_settings(changed(old, new).encode())) != policy_version(check_settings(GOOD.encode()))


class TestErrorBudget:
    BUDGET = changed("{max_risk: 0.02}", "{max_risk: budget}")

    def test_a_threshold_from_the_budget_is_closed_until_one_is_chosen(self, tmp_path: Path) -> None:
        costs = "confidence: 0.95\n  of: approved\n  per: scenario\n  costs: {refund: 50, billing: {cancel: 5}}"
        text = self.BUDGET.replace("confidence: 0.95", costs)
        settings = load_settings(written(tmp_path, text), {"HITL_WORKSPACE_KEY": KEY})
        assert settings.plan.tiers[0] == TierBound("auto", CLOSED)
        budget = settings.policy.budget
        assert (budget.share, budget.of, budget.per, budget.decides) == (0.02, "approved", "scenario", True)
        assert budget.costs == Costs({"refund": 50.0}, {("cancel", "billing"): 5.0})

    def test_a_number_decides_though_there_is_a_budget(self, tmp_path: Path) -> None:
        budget = load_settings(written(tmp_path), {"HITL_WORKSPACE_KEY": KEY}).policy.budget
        assert (budget.share, budget.decides) == (0.02, False)

    @pytest.mark.parametrize(
        ("old", "new", "where", "said"),
        [
            ("  error_budget: 0.02\n", "", "triage.error_budget", "is missing"),
            ("uniform: 0.02", "uniform: 0", "audit.uniform", "more than 0"),
            ("tier: comprehensive,", "tier: auto,", "triage.rules[1].tier", "can't approve without a look"),
        ],
    )
    def test_what_choosing_needs_is_asked_for(self, old: str, new: str, where: str, said: str) -> None:
        problem = only_problem(self.BUDGET.replace(old, new, 1))
        assert problem.where == where
        assert said in problem.what

    def test_the_approvers_token_comes_from_the_environment_or_a_private_file(self, tmp_path: Path) -> None:
        token = tmp_path / "token"
        token.touch(mode=0o600)
        token.write_text("hitlb_secret\n", encoding="utf-8")
        given = read_approver_token({"HITL_APPROVER_TOKEN_FILE": str(token)})
        assert given is not None
        assert (given.reveal(), repr(given)) == ("hitlb_secret", "Secret(***)")
        assert read_approver_token({}) is None
        token.chmod(0o644)
        with pytest.raises(UsageError, match="Others can read"):
            read_approver_token({"HITL_APPROVER_TOKEN_FILE": str(token)})


class TestEnvironment:
    def test_no_hitl_yaml_says_how_to_make_one(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="There is no hitl") as caught:
            load_settings(tmp_path, {})
        assert "hitl-bridge init" in caught.value.remedy

    def test_a_missing_workspace_key_has_a_remedy(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="key is missing") as caught:
            load_settings(written(tmp_path), {})
        assert "HITL_WORKSPACE_KEY" in caught.value.remedy

    @pytest.mark.parametrize("key", ["ab" * 31, "zz" * 32, "hello"])
    def test_a_damaged_key_is_refused_and_not_repeated(self, tmp_path: Path, key: str) -> None:
        with pytest.raises(UsageError, match="damaged") as caught:
            load_settings(written(tmp_path), {"HITL_WORKSPACE_KEY": key})
        assert key not in str(caught.value)

    def test_a_key_file_is_read_if_nobody_else_can(self, tmp_path: Path) -> None:
        key = written(tmp_path) / ".hitl" / "workspace.key"
        key.parent.mkdir()
        key.write_text(KEY + "\n")
        key.chmod(0o600)
        assert load_settings(tmp_path, {}).workspace_key == bytes.fromhex(KEY)
        key.chmod(0o640)
        with pytest.raises(UsageError, match="Others can read") as caught:
            load_settings(tmp_path, {})
        assert caught.value.remedy == f"chmod 600 {key}"

    def test_the_token_comes_from_the_environment_else_from_a_file_that_nobody_else_can_read(self, tmp_path: Path) -> None:
        environ = {"HITL_WORKSPACE_KEY": KEY}
        token = written(tmp_path) / ".hitl" / "label-studio" / "token"
        assert load_settings(tmp_path, environ).token is None
        token.parent.mkdir(parents=True)
        token.write_text("from-file\n")
        token.chmod(0o644)
        with pytest.raises(UsageError, match="Others can read") as caught:
            load_settings(tmp_path, environ)
        assert "from-file" not in str(caught.value)
        token.chmod(0o600)
        kept = load_settings(tmp_path, environ).token
        given_token = load_settings(tmp_path, environ | {"HITL_LABEL_STUDIO_TOKEN": "from-environment"}).token
        assert (kept and kept.reveal(), given_token and given_token.reveal()) == ("from-file", "from-environment")

    def test_the_settings_as_text_show_no_secret(self, tmp_path: Path) -> None:
        environ = {
            "HITL_WORKSPACE_KEY": KEY,
            "HITL_LABEL_STUDIO_TOKEN": "tok-123",
            "HITL_STORE_URL": "postgresql+psycopg://me:pass-123@db/x",
        }
        settings = load_settings(written(tmp_path), environ)
        assert settings.store_url == environ["HITL_STORE_URL"]
        assert not re.search(r"123|\\xab", repr(settings) + str(settings.token))

    def test_the_cache_lies_where_the_environment_says(self, tmp_path: Path) -> None:
        assert cache_dir({"HITL_CACHE_DIR": str(tmp_path)}) == tmp_path
        assert cache_dir({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "hitl-bridge"
        with pytest.raises(UsageError, match="no home folder"):
            cache_dir({"HITL_CACHE_DIR": "~nobody-of-this-name/cache"})

    def test_a_broken_address_in_the_environment_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="HITL_LABEL_STUDIO_URL must be"):
            load_settings(written(tmp_path), {"HITL_WORKSPACE_KEY": KEY, "HITL_LABEL_STUDIO_URL": "nowhere"})


class TestDurations:
    @pytest.mark.parametrize(
        ("text", "span"),
        [
            ("30m", timedelta(minutes=30)),
            ("4h", timedelta(hours=4)),
            ("2d", timedelta(days=2)),
            ("1h30m", timedelta(minutes=90)),
            (" 1d 12h ", timedelta(hours=36)),
        ],
    )
    def test_people_write_them_like_this(self, text: str, span: timedelta) -> None:
        assert parse_duration(text) == span

    @pytest.mark.parametrize("text", ["", "4", "4 hours", "-4h", "0m", "h", "30m4h", "4h4h", "1.5h", "400d", "٤h", "999999d"])
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"no duration|at most a year"):
            parse_duration(text)

    @given(st.integers(1, 366 * 24 * 60).map(lambda minutes: timedelta(minutes=minutes)))
    def test_what_is_written_is_read_back(self, span: timedelta) -> None:
        assert parse_duration(duration_text(span)) == span

    @given(st.text(max_size=20))
    def test_any_text_is_a_positive_duration_or_a_value_error(self, text: str) -> None:
        with suppress(ValueError):
            assert timedelta(0) < parse_duration(text) <= timedelta(days=366)
