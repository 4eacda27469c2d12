"""`hitl.yaml` and the environment, checked and turned into the tree."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from hitl_bridge.core.audits.lots import AuditTerms
from hitl_bridge.core.budget.budget_policy import BudgetPolicy
from hitl_bridge.core.budget.costs import costs_of
from hitl_bridge.core.dataset.record import DataUse
from hitl_bridge.core.deadlines import WorkingHours
from hitl_bridge.core.gold import GoldTerms
from hitl_bridge.core.people import Person, with_roster
from hitl_bridge.core.retraining import RetrainTerms
from hitl_bridge.core.routing import Pool, Tier
from hitl_bridge.core.signing import SignOffTerms
from hitl_bridge.core.triage.plan import CLOSED, Rule, TierBound, TriagePlan
from hitl_bridge.core.triage.selection import ReviewBudget, SpreadOver
from hitl_bridge.errors import SettingsError, SettingsProblem, UsageError
from hitl_bridge.ports import RuleChecker, WorkspacePaths
from hitl_bridge.settings import environment
from hitl_bridge.settings.checks import AUTO, BY_BUDGET, cross_problems, expression_problems
from hitl_bridge.settings.complaints import shape_problems
from hitl_bridge.settings.document import Document, read_document
from hitl_bridge.settings.people import FILE as PEOPLE_FILE
from hitl_bridge.settings.people import told_apart, with_people
from hitl_bridge.settings.schema import (
    DaemonSection,
    HitlYaml,
    PersonSection,
    PoolSection,
    RetrainSection,
    TierSection,
    web_address,
)
from hitl_bridge.settings.time import notice_terms, rungs, working_hours
from hitl_bridge.settings.tree import PIPELINE_APART, DaemonSettings, Secret, Settings

_NOT_POLICY = {"scenarios", "gold", "working_hours", "notices", "privacy", "sign_off", "retrain", "roster",
               "label_studio", "store", "git", "daemon"}  # fmt: skip
_LATER = ("criteria", "reasons", "around_the_clock", "at_risk", "ladder")
_PEOPLE = ("reviewers", "adjudicators", "working_hours")
"""Of a pool who is in it today, and when they work."""

_NO_TIER = ("max_reviews", "random_arm", "spread_over")
"""Settings under `triage` that decide when an item is seen, and no tier."""

_NO_AUDIT = ("lot", "lot_budget", "recall_webhook")
"""Settings under `audit` that judge what was approved, and decide nothing of it."""


def load_settings(root: Path, environ: Mapping[str, str] | None = None, *, rules: RuleChecker | None = None) -> Settings:
    """The settings of the workspace at `root`; `environ` stands in for the process's environment.

    Raises SettingsError with every mistake of the file, and UsageError where the file itself, the workspace key or a
    token that others can read is the trouble. `rules` says of each SQL expression whether it can be evaluated.
    """
    root = root.absolute()
    known = os.environ if environ is None else environ
    path = WorkspacePaths(root).settings
    return _settings(root, check_settings(_content(path), path.name, rules, _people(root)), known)


def load_other_settings(root: Path, file: Path, *, rules: RuleChecker) -> Settings:
    """The settings that the workspace at `root` would have if `file` were its `hitl.yaml`. Raises as `load_settings` does."""
    if not file.is_file():
        raise UsageError(f"There is no file {file}.", remedy="Name a copy of hitl.yaml with other tiers or rates.")
    checked = check_settings(_content(file), file.name, rules, _people(root))
    return _settings(root.absolute(), checked, os.environ)


def check_settings(
    content: bytes, name: str = "hitl.yaml", rules: RuleChecker | None = None, people: bytes | None = None
) -> HitlYaml:
    """The checked content of a settings file, and of the one that holds the roster if it is apart (`people`). Raises
    SettingsError with every mistake, in the order of the lines."""
    document = read_document(content) if people is None else with_people(read_document(content), people)
    checked, problems = _validated(document) if document.values or not document.problems else (None, [])
    problems += cross_problems(document)
    if rules is not None and not any(problem.where.startswith("attributes") for problem in problems):
        problems += expression_problems(document, rules)
    problems = [*document.problems, *(problems if people is None else told_apart(problems))]
    if problems or checked is None:
        raise SettingsError(name, tuple(sorted(set(problems), key=lambda problem: (problem.line, problem.where))))
    return checked


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        remedy = f"Run the command in a workspace, or make one: hitl-bridge init {path.parent.name or '.'}"
        raise UsageError(f"There is no {path.name} in {path.parent}.", remedy=remedy) from None
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}.", remedy="Make it a file that you can read.") from None


def _people(root: Path) -> bytes | None:
    """The roster's own file, if there is one."""
    path = root / PEOPLE_FILE
    return _content(path) if path.exists() else None


def _validated(document: Document) -> tuple[HitlYaml | None, list[SettingsProblem]]:
    try:
        return HitlYaml.model_validate(document.values), []
    except ValidationError as error:
        return None, shape_problems(document, error)


def _settings(root: Path, file: HitlYaml, environ: Mapping[str, str]) -> Settings:
    return Settings(
        root=root,
        task=file.task,
        labels=tuple(file.labels),
        label_studio_url=_label_studio_url(file, environ),
        token=environment.token(root, environ),
        store_url=_anchored(environ.get(environment.STORE_URL) or file.store, root),
        git_branch=file.git.branch,
        git_remote=file.git.remote,
        plan=triage_plan(file),
        tiers=tuple(_tier(name, tier) for name, tier in file.tiers.items() if name != AUTO),
        audit_sla=file.audit.sla,
        adjudication_sla=file.adjudication.sla,
        adjudication_ladder=rungs(file.adjudication.ladder),
        adjudication_criteria=file.adjudication.criteria or "",
        scenarios=tuple(file.scenarios),
        notices=notice_terms(file.notices, file.working_hours, root.name),
        notice_addresses=environment.notice_addresses(root, environ),
        pools=with_roster(_pools(file), roster := tuple(map(_person, file.roster))),
        roster=roster,
        by_reviewer=file.assignment == "reviewer",
        gold=GoldTerms(file.gold.share, file.gold.onboarding, file.gold.passing),
        workspace_key=environment.workspace_key(root, environ),
        pipeline_file=_pipeline_file(root),
        error_budget=file.triage.error_budget,
        budget_confidence=file.triage.confidence,
        review_budget=_review_budget(file),
        budget=_budget(file),
        audits=AuditTerms(file.audit.lot, file.audit.lot_budget, file.audit.recall_webhook),
        recall_secret=environment.recall_secret(environ),
        daemon=_daemon(file.daemon),
        sign_off=SignOffTerms(file.sign_off.four_eyes, file.sign_off.allowed_signers),
        retrain=_retrain(file.retrain),
        use=DataUse(file.privacy.purpose, file.privacy.consent),
    )


def _daemon(section: DaemonSection) -> DaemonSettings:
    return DaemonSettings(section.every, section.commit_every, section.sweep_every, section.listen, section.webhook_url)


def _retrain(section: RetrainSection) -> RetrainTerms | None:
    """None where nobody asked for it."""
    if section == RetrainSection():
        return None
    count, corrections = section.after or (None, True)
    return RetrainTerms(count, corrections, section.every, section.revalidate_every)


def _budget(file: HitlYaml) -> BudgetPolicy:
    triage, auto = file.triage, file.tiers.get(AUTO)
    return BudgetPolicy(
        share=triage.error_budget,
        confidence=triage.confidence,
        of=triage.of,
        per=triage.per,
        costs=costs_of(triage.costs) if triage.costs else None,
        decides=auto is not None and auto.max_risk == BY_BUDGET,
    )


def _review_budget(file: HitlYaml) -> ReviewBudget | None:
    triage, quota = file.triage, file.triage.max_reviews
    over = SpreadOver(triage.spread_over)
    return None if quota is None else ReviewBudget(quota.count, quota.window, triage.random_arm, over)


def read_token(root: Path) -> Secret | None:
    """Label Studio's token as it is now, for who has waited since an older one was refused. Raises UsageError."""
    return environment.token(root, os.environ)


def read_approver_token(environ: Mapping[str, str] | None = None) -> Secret | None:
    """The access token of the person who signs off; None if none was given. Raises UsageError if others can read it."""
    return environment.approver_token(os.environ if environ is None else environ)


def notify_socket(environ: Mapping[str, str] | None = None) -> str | None:
    """Where the service manager wants to hear that we live; None if nobody does."""
    return environment.notify_socket(os.environ if environ is None else environ)


def _pipeline_file(root: Path) -> str:
    apart = f"{PIPELINE_APART}/dvc.yaml"
    return apart if (root / apart).is_file() else "dvc.yaml"


def _label_studio_url(file: HitlYaml, environ: Mapping[str, str]) -> str:
    given = environ.get(environment.LABEL_STUDIO_URL, "").strip()
    try:
        return web_address(given) if given else file.label_studio.url
    except ValueError as error:
        raise UsageError(f"{environment.LABEL_STUDIO_URL} {error}.", remedy="Correct the variable, or unset it.") from None


def _anchored(store: str, root: Path) -> str:
    """A relative SQLite path counts from the workspace, wherever the command is run."""
    scheme, _, path = store.partition(":///")
    return f"sqlite:///{root / path}" if scheme == "sqlite" else store


def triage_plan(file: HitlYaml) -> TriagePlan:
    return TriagePlan(
        policy_version=policy_version(file),
        tiers=tuple(TierBound(name, _bound(tier)) for name, tier in file.tiers.items()),
        rules=tuple(Rule(rule.when, rule.tier, rule.reason) for rule in file.triage.rules),
        auto_tier=AUTO if AUTO in file.tiers else None,
        attributes=dict(file.attributes),
        audit_rate=file.audit.rate,
        uniform_rate=file.audit.uniform,
        group_by=file.triage.group_by,
    )


def policy_version(file: HitlYaml) -> str:
    """Names what decided: 12 hex digits of the SHA-256 over the policy in canonical JSON.

    Connections are no policy, and neither is who happens to be in a pool today. Tiers, rules and pools count in their
    order; comments, and defaults written out, make no difference.
    """
    policy = file.model_dump(mode="json", exclude=_NOT_POLICY)
    policy["triage"] = {name: value for name, value in policy["triage"].items() if name not in _NO_TIER}
    policy["audit"] = {name: value for name, value in policy["audit"].items() if name not in _NO_AUDIT}
    # What came later is named only where there is some: a policy of before it keeps its version.
    policy["tiers"] = [(name, {key: value for key, value in tier.items() if key not in _LATER or value})
                       for name, tier in policy["tiers"].items()]  # fmt: skip
    policy["adjudication"] = {key: value for key, value in policy["adjudication"].items() if key not in _LATER or value}
    policy["expertise"] = [{name: value for name, value in pool.items() if name not in _PEOPLE} for pool in policy["expertise"]]
    canonical = json.dumps(policy, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "p-" + hashlib.sha256(canonical.encode("utf-8")).hexdigest()[:12]


def _bound(tier: TierSection) -> float:
    if tier.max_risk is None:
        return 1.0
    return CLOSED if tier.max_risk == BY_BUDGET else float(tier.max_risk)


def _tier(name: str, tier: TierSection) -> Tier:
    return Tier(
        name=name,
        max_risk=_bound(tier),
        reviewers=tier.reviewers,
        sla=tier.sla,
        consensus=tier.consensus or ("single" if tier.reviewers == 1 else "majority"),
        rationale_required=tier.rationale == "required",
        checklist=tuple(tier.checklist),
        escalate_after=tier.escalate_after,
        reasons=tuple(tier.reasons),
        max_reviewers=tier.max_reviewers or 0,
        min_probability=tier.min_probability,
        blind=tier.blind,
        around_the_clock=tier.around_the_clock,
        at_risk=tier.at_risk,
        ladder=rungs(tier.ladder),
        criteria=tier.criteria or "",
    )


def _pools(file: HitlYaml) -> list[Pool]:
    """Who says no working hours of their own has those of the workspace, and shares the one calendar."""
    usual = working_hours(file.working_hours)
    return [_pool(pool, working_hours(pool.working_hours) or usual) for pool in file.expertise]


def _pool(pool: PoolSection, hours: WorkingHours | None) -> Pool:
    return Pool(pool.name, pool.when, tuple(pool.reviewers), tuple(pool.adjudicators), hours)


def _person(person: PersonSection) -> Person:
    return Person(person.email, tuple(person.pools), person.weekly, tuple(person.languages), person.adjudicates, person.approves)
