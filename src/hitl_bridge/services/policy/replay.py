"""Policies kept by version, and an item's receipts computed again from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from hitl_bridge.core.model import JSON
from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.core.triage.policy_record import PolicyRecord, PoolCondition, policy_content, read_policy
from hitl_bridge.core.triage.replay import NOT_KEPT, Replayed, as_predictions, compared, not_replayed, receipt_table
from hitl_bridge.ports import Policies, TriageEngine


def keep_policy(policies: Policies, policy: ReviewPolicy, at: datetime) -> None:
    """Before a receipt names it. A version that is kept already stays as it was."""
    record = PolicyRecord(policy.plan, policy.pool_conditions)
    policies.keep(policy.plan.policy_version, policy_content(record), at)


def replay_receipts(
    policies: Policies, engine: Callable[[Sequence[PoolCondition]], TriageEngine], key: bytes, receipts: Sequence[JSON]
) -> list[Replayed]:
    """Each receipt against what the engine says of it now, under the policy that it names."""
    return [_replayed(policies, engine, key, receipt) for receipt in receipts if isinstance(receipt, Mapping)]


def _replayed(
    policies: Policies,
    engine: Callable[[Sequence[PoolCondition]], TriageEngine],
    key: bytes,
    receipt: Mapping[str, JSON],
) -> Replayed:
    content = policies.content(str(receipt["policy_version"]))
    if content is None:
        return not_replayed(receipt, NOT_KEPT)
    record = read_policy(content)
    [again] = engine(record.pools).triage(as_predictions(receipt_table(receipt)), record.plan, key).to_pylist()
    return compared(receipt, again)
