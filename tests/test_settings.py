"""hitl.yaml: what is read, and what is said of everything that is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hitl_bridge.core.budget.costs import Costs
from hitl_bridge.core.routing import Pool
from hitl_bridge.core.triage.plan import CLOSED, TierBound
from hitl_bridge.core.triage.selection import ReviewBudget
from hitl_bridge.errors import SettingsError, SettingsProblem, UsageError
from hitl_bridge.settings import cache_dir, check_settings, duration_text, load_settings, parse_duration, read_approver_token
from hitl_bridge.settings.load import policy_version

PROJECT = Path(__file__).parents[1]
KEY = "ab" * 32

GOOD = """\
task: text-classification
labels: [refund, billing, cancel, technical]
label_studio: {url: "http://127.0.0.1:8080/"}
store: "sqlite:///.hitl/bridge.db"
git: {branch: reviews}
attributes: {amount: float, language: string}
triage:
  error_budget: 0.02
  confidence: 0.95
  rules:
    - {when: "amount > 10000 OR scenario = 'legal'", tier: comprehensive, reason: "high stakes"}
tiers:
  auto:          {max_risk: 0.02}
  quick:         {max_risk: 0.30, reviewers: 1, sla: 4h}
  comprehensive: {reviewers: 2, sla: 24h, consensus: unanimous, rationale: required, checklist: [Read it], escalate_after: 20h}
audit:         {rate: 0.05, uniform: 0.02, sla: 48h}
assignment: pool
expertise:
  - {name: payments, when: "scenario = 'payments'", reviewers: [Ana@example.com, ben@example.com]}
  - {name: general, reviewers: [cy@example.com], adjudicators: [dee@example.com]}
"""


class SelectiveRules:
    """A rule checker of our own for tests: an expression with `nonsense` in it can't be evaluated."""

    def problem(self, expression: str, attributes: Mapping[str, str]) -> str | None:
        return f"can't read {expression!r}; fields: {', '.join(attributes)}" if "nonsense" in expression else None


def written(root: Path, text: str | bytes = GOOD) -> Path:
    (root / "hitl.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def problems(text: str | bytes, rules: SelectiveRules | None = None) -> tuple[SettingsProblem, ...]:
    with pytest.raises(SettingsError) as caught:
        check_settings(text if isinstance(text, bytes) else text.encode(), rules=rules)
    return caught.value.problems


def said_of(content: bytes) -> tuple[SettingsProblem, ...]:
    try:
        check_settings(content, rules=SelectiveRules())
    except SettingsError as error:
        return error.problems
    return ()


def only_problem(text: str | bytes) -> SettingsProblem:
    (problem,) = problems(text)
    return problem


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


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


class TestMistakes:
    def test_every_mistake_is_told_at_once_each_with_its_line(self) -> None:
        found = problems(
            "task: text-clasification\n"
            "labels: [a, a]\n"
            "colour: red\n"
            "triage:\n"
            "  rules:\n"
            "    - {when: 'x > 1', tier: quik, reason: why}\n"
            "tiers:\n"
            "  quick: {max_risk: 0.3, sla: 4}\n"
            "  middle: {max_risk: 0.2}\n"
            "  last: {max_risk: 1, reviewers: 0}\n"
            "audit: {rate: 1.5}\n"
        )
        assert {(problem.line, problem.where) for problem in found} == {
            (1, "task"),
            (2, "labels[2]"),
            (3, "colour"),
            (6, "triage.rules[1].tier"),
            (8, "tiers.quick.sla"),
            (9, "tiers.middle.max_risk"),
            (10, "tiers.last.max_risk"),
            (10, "tiers.last.reviewers"),
            (11, "audit.rate"),
        }
        assert [problem.line for problem in found] == sorted(problem.line for problem in found)

    @pytest.mark.parametrize(
        ("old", "new", "where", "said"),
        [
            ("git: {branch", "git: {brunch", "git.brunch", "did you mean 'branch'?"),
            ("tier: comprehensive", "tier: comprehensiv", "triage.rules[1].tier", "did you mean 'comprehensive'?"),
            ("text-classification", "text-clasification", "task", "did you mean 'text-classification'?"),
            ("[refund, billing", "[refund, refund", "labels[2]", "twice"),
            ("[refund,", "['None of these',", "labels[1]", "already"),
            ("[refund,", "['another label…',", "labels[1]", "already"),
            ("[refund,", f"[{'x' * 201},", "labels[1]", "at most 200 characters"),
            ("[refund,", "[12,", "labels[1]", "put it in quotes"),
            ("[refund,", "[2024-01-01,", "labels[1]", "put it in quotes"),
            ("[refund,", "['refund ',", "labels[1]", "spaces around it"),
            ("[refund,", "['costs $5',", "labels[1]", "'$5' for a variable"),
            ("checklist: [Read it]", "checklist: [Read $it]", "tiers.comprehensive.checklist[1]", "'$it' for a variable"),
            ("checklist: [Read it]", "checklist: [Read it, 'Read it ']", "tiers.comprehensive.checklist[2]", "twice"),
            ("checklist: [Read it]", 'checklist: ["Read\\tit"]', "tiers.comprehensive.checklist[1]", "can't be shown"),
            ("checklist: [Read it]", "checklist: [None of these]", "tiers.comprehensive.checklist[1]", "bridge's own"),
            ("[refund, billing, cancel, technical]", "[refund]", "labels", "at least 2 entries"),
            ("[refund, billing, cancel, technical]", "refund", "labels", "must be a list"),
            ("max_risk: 0.02", "max_risk: bugdet", "tiers.auto.max_risk", "a number like 0.02, or `budget`"),
            ("max_risk: 0.30", "max_risk: budget", "tiers.quick.max_risk", "for the tier `auto` alone"),
            ("error_budget: 0.02", "error_budget: 1", "triage.error_budget", "less than 1"),
            ("confidence: 0.95", "of: accepted", "triage.of", "'all' or 'approved'"),
            ("confidence: 0.95", "per: pool", "triage.per", "must be 'scenario'"),
            ("confidence: 0.95", "costs: {fraud: 50}", "triage.costs.fraud", "there is no label 'fraud'"),
            ("confidence: 0.95", "costs: {refund: dear}", "triage.costs.refund", "how many ordinary errors"),
            ("confidence: 0.95", "costs: {refund: 0}", "triage.costs.refund", "above 0"),
            ("confidence: 0.95", "costs: {refund: {biling: 5}}", "triage.costs.refund.biling", "did you mean 'billing'?"),
            ("confidence: 0.95", "costs: {refund: {refund: 5}}", "triage.costs.refund.refund", "is no error"),
            ("max_risk: 0.30, ", "", "tiers.quick.max_risk", "is missing"),
            ("max_risk: 0.30", "max_risk: 0.01", "tiers.quick.max_risk", "more than 0.02"),
            ("{max_risk: 0.02}", "{max_risk: 0.02, sla: 4h}", "tiers.auto.sla", "nobody reviews"),
            (
                "comprehensive: {reviewers",
                "comprehensive: {max_risk: 0.5, reviewers",
                "tiers.comprehensive.max_risk",
                "takes every risk",
            ),
            ("consensus: unanimous", "consensus: single", "tiers.comprehensive.consensus", "`majority` or `unanimous`"),
            ("consensus: unanimous", "max_reviewers: 2", "tiers.comprehensive.max_reviewers", "must be more than 2"),
            ("reviewers: 2, ", "max_reviewers: 2, ", "tiers.comprehensive.max_reviewers", "`consensus: weighted`"),
            (
                "reviewers: 2, sla: 24h, consensus: unanimous",
                "max_reviewers: 2",
                "tiers.comprehensive.max_reviewers",
                "nobody is ever added",
            ),
            ("consensus: unanimous", "blind: 1.0", "tiers.comprehensive.blind", "less than 1"),
            ("consensus: unanimous", "consensus: most", "tiers.comprehensive.consensus", "'unanimous'"),
            ("rate: 0.05", "rate: -0.1", "audit.rate", "at least 0"),
            ("rate: 0.05", "rate: '5 %'", "audit.rate", "must be a number"),
            ("rate: 0.05", "rate: .nan", "audit.rate", "finite"),
            ("error_budget: 0.02", "error_budget: 0", "triage.error_budget", "more than 0"),
            ("sla: 4h", "sla: 4 hours", "tiers.quick.sla", "30m, 4h or 2d"),
            ("amount: float", "amount: flaot", "attributes.amount", "'float'"),
            ("{amount: float,", "{amount: float, confidence: float,", "attributes.confidence", "every prediction has"),
            ("{amount: float,", "{amount: float, Amount: float,", "attributes.Amount", "capital letters"),
            ("assignment: pool", "assignment: everybody", "assignment", "a project a pool and tier"),
            ("name: general", "name: Payments", "expertise[2].name", "choose another"),
            ("name: general", f"name: {'g' * 21}", "expertise[2].name", "up to 20"),
            ("[cy@example.com]", "[cy]", "expertise[2].reviewers[1]", "ana@example.com"),
            ("ben@example.com", "ben@example.com, ANA@example.com", "expertise[1].reviewers[3]", "twice"),
            (", adjudicators: [dee@example.com]", "", "expertise[2].reviewers", "needs 2"),
            ("name: general,", "name: general, when: 'true',", "expertise[2].when", "the last pool"),
            ("when: \"scenario = 'payments'\", ", "", "expertise[1]", "needs a `when`"),
            ("http://127.0.0.1:8080/", "http://me:secret@127.0.0.1", "label_studio.url", "HITL_LABEL_STUDIO_TOKEN"),
            ("http://127.0.0.1:8080/", "127.0.0.1:8080", "label_studio.url", "http://127.0.0.1:8080"),
            ("sqlite:///.hitl/bridge.db", "postgresql://db/x", "store", "postgresql+psycopg"),
            ("sqlite:///.hitl/bridge.db", "sqlite://", "store", "must name a file"),
            ("branch: reviews", "branch: a..b", "git.branch", "no name that git allows"),
            (
                "branch: reviews",
                "remote: https://ana:hunter2@example.com/r.git",
                "git.remote",
                "must hold no user name or password",
            ),
            ("branch: reviews", "remote: --upload-pack=x", "git.remote", "must be the name of a remote"),
            ("  error_budget: 0.02", "  group_by: customer", "triage.group_by", "no attribute 'customer'"),
            ("  error_budget: 0.02", "  max_reviews: 500", "triage.max_reviews", "500/day"),
            ("  error_budget: 0.02", "  max_reviews: 500/month", "triage.max_reviews", "500/day"),
            ("  error_budget: 0.02", "  max_reviews: 0/day", "triage.max_reviews", "500/day"),
            ("  error_budget: 0.02", "  random_arm: 1.5", "triage.random_arm", "at most 1"),
        ],
    )
    def test_a_mistake_is_named_with_what_would_be_right(self, old: str, new: str, where: str, said: str) -> None:
        problem = only_problem(changed(old, new))
        assert problem.where == where
        assert said in problem.what
        assert problem.line == 1 + GOOD[: GOOD.index(old)].count("\n")

    def test_consent_is_looked_for_in_an_attribute_that_there_is(self) -> None:
        problem = only_problem(GOOD.rstrip() + "\nprivacy: {purpose: to sort mail, consent: agreed}\n")
        assert (problem.where, "no attribute 'agreed'" in problem.what) == ("privacy.consent", True)

    def test_the_tier_of_adjudication_can_not_be_named(self) -> None:
        found = problems(changed("  quick: ", "  adjudication: "))
        assert any("the bridge's own tier" in problem.what for problem in found)

    def test_auto_must_come_first_and_not_be_alone(self) -> None:
        alone = "task: text-classification\nlabels: [a, b]\ntiers: {auto: {}}\n"
        assert "a tier that people work in" in only_problem(alone).what
        late = "task: text-classification\nlabels: [a, b]\ntiers: {quick: {max_risk: 0.1}, auto: {}}\n"
        assert "must be the first tier" in only_problem(late).what

    def test_a_missing_setting_is_missing_by_name(self) -> None:
        assert {problem.where for problem in problems("git: {branch: x}\n")} == {"task", "labels", "tiers"}

    def test_no_secret_in_the_wrong_place_is_repeated(self) -> None:
        text = changed('{url: "http://127.0.0.1:8080/"}', "{token: s3cr3t-t0ken}").replace(
            "sqlite:///.hitl/bridge.db", "postgresql+psycopg://me:s3cr3t-t0ken@db/x"
        )
        found = problems(text)
        assert {problem.where for problem in found} == {"label_studio.token", "store"}
        assert "s3cr3t" not in str(found)
        assert "HITL_LABEL_STUDIO_TOKEN" in found[0].what

    def test_a_rule_and_a_pool_that_can_not_be_evaluated_are_problems_with_their_line(self) -> None:
        text = changed("amount > 10000", "nonsense >").replace("scenario = 'payments'", "nonsense")
        found = problems(text, SelectiveRules())
        assert [(problem.line, problem.where) for problem in found] == [(11, "triage.rules[1].when"), (19, "expertise[1].when")]
        assert "fields: amount, language" in found[0].what


class TestBrokenYaml:
    @pytest.mark.parametrize(
        ("text", "line", "said"),
        [
            (b"task: a\n\tlabels: [a]\n", 2, "tab"),
            (b"task: a\nlabels: [a\ngit: {}\n", 3, "not valid YAML"),
            (b"task: a: b\n", 1, "quotes"),
            (b"", 1, "empty"),
            (b"- a\n- b\n", 1, "list of settings"),
            (b"task: a\n---\ntask: b\n", 2, "second document"),
            (b"task: a\nlabels: [\xff]\n", 2, "UTF-8"),
            (b"task: a\nlabels: [\x01]\n", 2, "control character"),
            (b"labels: " + b"[" * 5000, 1, "nested too deeply"),
            (b"task: *nowhere\n", 1, "not valid YAML"),
        ],
    )
    def test_a_file_that_is_no_yaml_is_a_problem_with_its_line(self, text: bytes, line: int, said: str) -> None:
        problem = only_problem(text)
        assert (problem.line, said in problem.what) == (line, True), problem

    def test_a_setting_that_stands_twice_is_told_with_both_lines(self) -> None:
        problem = only_problem(GOOD + "task: image-classification\n")
        assert problem.line == 1 + GOOD.count("\n")
        assert "first in line 1" in problem.what

    def test_a_tag_that_would_run_code_is_a_problem_and_runs_nothing(self, tmp_path: Path) -> None:
        marker = tmp_path / "ran"
        found = problems(changed("pool\n", f"!!python/object/apply:os.mkdir ['{marker}']\n"))
        assert not marker.exists()
        assert found

    def test_an_alias_that_unfolds_without_end_is_a_problem(self) -> None:
        laughs = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
        assert any("too much" in problem.what for problem in problems(laughs))
        assert problems("labels: &a [*a]\n")

    @given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
    @example(b"task: 2024-99-99\n")
    @example(b"task: 1_\nlabels: 0o9\n? [a, b]\n: c\n")
    def test_whatever_stands_in_the_file_it_is_settings_or_a_settings_error(self, content: bytes) -> None:
        assert all(problem.what for problem in said_of(content))

    @given(st.data())
    def test_no_damage_to_a_good_file_gives_a_traceback(self, data: st.DataObject) -> None:
        start = data.draw(st.integers(0, len(GOOD)))
        end = data.draw(st.integers(start, min(len(GOOD), start + 40)))
        put = data.draw(st.text(alphabet="[]{}:,-'\"& *!|>#\n\t0.a%", max_size=8))
        assert all(problem.what for problem in said_of((GOOD[:start] + put + GOOD[end:]).encode()))


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
