"""hitl.yaml: everything that is wrong with it is said at once, with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.settings_examples import GOOD, SelectiveRules, changed, only_problem, problems, said_of


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
