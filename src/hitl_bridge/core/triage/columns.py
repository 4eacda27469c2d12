"""The columns of checked predictions and of receipts, as DuckDB and Parquet types.

`input_digest` and `content_digest` are keyed (AES-CMAC under keys derived from the workspace key, 32 hex digits;
`core.triage.normalise`), because a bare hash of a short text can be looked up. Receipts written by the first version have
HMAC-SHA256 (64 hex digits) there, and no `draw_form`. No receipt holds an input.
"""

from __future__ import annotations

PREDICTIONS: dict[str, str] = {
    "item_id": "VARCHAR",
    "input": "VARCHAR",  # canonical JSON
    "output": "VARCHAR",  # canonical JSON
    "scores": "VARCHAR",  # canonical JSON object, '{}' if only a confidence was given
    "confidence": "DOUBLE",
    "margin": "DOUBLE",  # best score − second best; NULL without scores
    "entropy": "DOUBLE",  # of the scores, in nats; NULL without scores
    "energy": "DOUBLE",  # −logsumexp of the logits, as given or from `logits`; NULL if neither came
    "label": "VARCHAR",  # the predicted label where the task type has one, for rules
    "model_version": "VARCHAR",
    "scenario": "VARCHAR",
    "attributes": "VARCHAR",  # canonical JSON
    "predicted_at": "VARCHAR",
    "input_digest": "VARCHAR",
    "content_digest": "VARCHAR",  # of output, scenario, attributes, confidence, scores
    "row": "BIGINT",  # 1-based in the file it came from, so that a conflict found later can be named
}

RECEIPTS: dict[str, str] = {
    "item_id": "VARCHAR",
    "revision": "INTEGER",  # of the item: a changed input is a new revision
    "model_version": "VARCHAR",
    "policy_version": "VARCHAR",
    "tier": "VARCHAR",  # what triage said, before draws
    "risk": "DOUBLE",
    "confidence": "DOUBLE",
    "margin": "DOUBLE",
    "entropy": "DOUBLE",
    "energy": "DOUBLE",
    "disagreement": "DOUBLE",  # share of the models that say something else of this revision; NULL where no rule asks
    "rule": "INTEGER",  # 0-based index of the rule that decided; NULL = by risk
    "rule_values": "VARCHAR",  # JSON list, one of true/false/null for each rule
    "purpose": "VARCHAR",  # NULL = nobody sees it; review, audit or uniform
    "split": "VARCHAR",  # train, calibration or holdout
    "edge": "BOOLEAN",
    "pool": "VARCHAR",  # the first reviewer pool whose condition holds; NULL if none does
    "draw_form": "INTEGER",  # how uniform and audit were drawn (`core.draws.uniform_and_audit`); NULL = 1
    "uniform_draw": "DOUBLE",  # in [0, 1); drawn if below the rate
    "uniform_rate": "DOUBLE",
    "audit_draw": "DOUBLE",  # NULL where it could change nothing: only auto-tier items outside the uniform stream
    "audit_rate": "DOUBLE",
    "holdout_draw": "DOUBLE",  # NULL outside the uniform stream
    "output": "VARCHAR",
    "scenario": "VARCHAR",
    "attributes": "VARCHAR",
    "predicted_at": "VARCHAR",
    "input_digest": "VARCHAR",
    "content_digest": "VARCHAR",
}
