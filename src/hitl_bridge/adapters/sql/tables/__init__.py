"""The tables of the bridge's memory. What must be unique is a constraint; what is asked often has an index.

Append-only: annotations, decisions, events; triggers refuse to change or delete rows of the first and the last. Input texts
lie in `payloads` alone, so that they can be erased.
"""

from __future__ import annotations

from hitl_bridge.adapters.sql.tables.agreement import gold_items
from hitl_bridge.adapters.sql.tables.budgets import (
    audit_rates,
    calibrations,
    counted_files,
    drift_counts,
    drift_looks,
    drift_references,
    lot_counts,
    lot_draws,
    lot_verdicts,
    lots,
    policies,
    recalls,
    thresholds,
)
from hitl_bridge.adapters.sql.tables.columns import metadata
from hitl_bridge.adapters.sql.tables.escalations import late_steps, messages, notices
from hitl_bridge.adapters.sql.tables.gold import gold_asked, gold_bank, onboardings
from hitl_bridge.adapters.sql.tables.keeping import access_tokens, events, leases, meta
from hitl_bridge.adapters.sql.tables.online import online_flushes, online_items, online_keys, online_predictions
from hitl_bridge.adapters.sql.tables.people import roster_terms
from hitl_bridge.adapters.sql.tables.records import answers_taken_back, reverted_decisions, reverts
from hitl_bridge.adapters.sql.tables.reviews import (
    annotation_revisions,
    attempts,
    batches,
    cursors,
    dataset_versions,
    decisions,
    items,
    payloads,
    projects,
    receipt_files,
    review_tasks,
    rulings,
    unreadable_tasks,
    waits,
)
from hitl_bridge.adapters.sql.tables.signing import champions, sign_offs

__all__ = [
    "access_tokens",
    "annotation_revisions",
    "answers_taken_back",
    "attempts",
    "audit_rates",
    "batches",
    "calibrations",
    "champions",
    "counted_files",
    "cursors",
    "dataset_versions",
    "decisions",
    "drift_counts",
    "drift_looks",
    "drift_references",
    "events",
    "gold_asked",
    "gold_bank",
    "gold_items",
    "items",
    "late_steps",
    "leases",
    "lot_counts",
    "lot_draws",
    "lot_verdicts",
    "lots",
    "messages",
    "meta",
    "metadata",
    "notices",
    "onboardings",
    "online_flushes",
    "online_items",
    "online_keys",
    "online_predictions",
    "payloads",
    "policies",
    "projects",
    "recalls",
    "receipt_files",
    "reverted_decisions",
    "reverts",
    "review_tasks",
    "roster_terms",
    "rulings",
    "sign_offs",
    "thresholds",
    "unreadable_tasks",
    "waits",
]
