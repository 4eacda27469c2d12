"""Triage as one SQL statement over an Arrow table, which DuckDB reads where it lies.

The draws are HMAC-SHA256 written out in SQL (RFC 2104), number for number those of `core.draws.draw`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import duckdb

from hitl_bridge.adapters.triage_engine.rules import FIELDS, DuckDbRules, attributes_problem, field_types, quoted
from hitl_bridge.core.model import Purpose, Split
from hitl_bridge.core.triage.columns import RECEIPTS
from hitl_bridge.core.triage.plan import TriagePlan
from hitl_bridge.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK = 64
_TEXT_DIGITS = 13  # 52 bits: every draw is exact in a double

PoolCondition = tuple[str, str | None]
"""A pool's name and the SQL expression that says which items are its; None takes the rest."""


@dataclass(frozen=True, slots=True)
class DuckDbTriage:
    """Implements `ports.TriageEngine`. `memory_limit` is DuckDB's text ("2GB"); what does not fit is spilled to disk."""

    pools: Sequence[PoolCondition] = ()
    memory_limit: str = "2GB"
    temp_directory: str | None = None

    def triage(self, predictions: pa.Table, plan: TriagePlan, key: bytes) -> pa.Table:
        """One receipt for each prediction, in the order of the predictions.

        A column `revision` is taken over (1 without one); a revision after the first has draws of its own.

        Raises:
            UsageError: for a rule or a pool's condition that `DuckDbRules` refuses.
        """
        self._check(plan)
        statement = _statement(plan, self.pools, has_revision="revision" in predictions.column_names)
        with connected(self.memory_limit, self.temp_directory) as connection:
            connection.register("predictions", predictions)
            return connection.sql(statement, params=_parameters(plan, key)).to_arrow_table()

    def _check(self, plan: TriagePlan) -> None:
        if found := attributes_problem(plan.attributes):
            raise UsageError(f"attributes: {found}.", remedy="Mend hitl.yaml.")
        conditions = [(f"triage.rules: {rule.when!r}", rule.when) for rule in plan.rules]
        conditions += [(f"expertise.{name}.when: {when!r}", when) for name, when in self.pools if when is not None]
        for where, expression in conditions:
            found = DuckDbRules().problem(expression, plan.attributes)
            if found:
                raise UsageError(f"{where} {found}.", remedy="Mend the expression in hitl.yaml.")


@contextmanager
def connected(memory_limit: str, temp_directory: str | None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that reaches no file, no network and no setting: rules are written by people.

    What is spilled lies in a folder of its own, which only its owner can read and which goes with the connection.
    """
    with TemporaryDirectory(prefix="hitl-triage-", dir=temp_directory) as folder:
        config = {
            "memory_limit": memory_limit,
            "temp_directory": folder,
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        }
        with duckdb.connect(":memory:", config=config) as connection:
            for setting in ("TimeZone = 'UTC'", "enable_external_access = false", "lock_configuration = true"):
                connection.execute(f"SET {setting}")
            yield connection


# ------------------------------------------------------------------------------------------- parameters


def _parameters(plan: TriagePlan, key: bytes) -> dict[str, object]:
    """Values go in as parameters: a key in the text of a statement would stand in its error messages."""
    block = (hashlib.sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
    return {
        "inner_pad": bytes(byte ^ 0x36 for byte in block),
        "outer_pad": bytes(byte ^ 0x5C for byte in block),
        "policy_version": plan.policy_version,
        "strictest": plan.strictest,
        "auto_tier": plan.auto_tier,
        "audit_rate": plan.audit_rate,
        "uniform_rate": plan.uniform_rate,
        "holdout_share": plan.holdout_share,
        "edge_risk": plan.edge_risk,
    }


# ------------------------------------------------------------------------------------------- statement


def _statement(plan: TriagePlan, pools: Sequence[PoolCondition], *, has_revision: bool) -> str:
    """The whole of triage. Each step sees the columns of the one before it."""
    revision = "revision::INTEGER" if has_revision else "1::INTEGER"
    return f"""
    WITH risks AS (
        SELECT * EXCLUDE (predicted_at), {revision} AS receipt_revision,
            TRY_CAST(predicted_at AS TIMESTAMPTZ) AS predicted_at,
            CASE WHEN isfinite(confidence) AND confidence BETWEEN 0 AND 1 THEN 1 - confidence ELSE 1.0 END AS risk,
            coalesce(isfinite(confidence) AND confidence BETWEEN 0 AND 1, false) AS has_risk
        FROM predictions),
    fields AS (SELECT {_fields(plan)} FROM risks),
    ruled AS (SELECT {_own_fields()}, {_rules(plan)} AS held, {_pool(pools)} AS pool FROM fields),
    decided AS (SELECT *, {_deciding(plan)} AS deciding, {_subject()} AS subject FROM ruled),
    tiered AS (SELECT *, {_tier(plan)} AS tier, {_draw("uniform", "model_version", "subject")} AS uniform_draw FROM decided),
    drawn AS (SELECT *, {_audit_draw()} AS audit_draw, {_holdout_draw(plan)} AS holdout_draw FROM tiered),
    receipts AS (SELECT *, {_purpose()} AS purpose FROM drawn)
    SELECT {_receipt()} FROM receipts
    """  # noqa: S608 (names are quoted; expressions were checked on the parse tree)


def _fields(plan: TriagePlan) -> str:
    """The fields that rules speak of by their own names, and the rest, which they can't name, under `__` names."""
    kept = [quoted(name) for name in FIELDS]
    typed = [
        f"{_typed(name, kind)} AS {quoted(name)}" for name, kind in field_types(plan.attributes).items() if name not in FIELDS
    ]
    hidden = [f"{name} AS __{name}" for name in _CARRIED]
    return ", ".join([*kept, *typed, *hidden])


def _own_fields() -> str:
    """What goes on after the rules: not the attributes, whose names are the user's."""
    return ", ".join([*map(quoted, FIELDS), *(f"__{name}" for name in _CARRIED)])


_CARRIED = ("output", "attributes", "input_digest", "content_digest", "receipt_revision", "has_risk")


def _typed(name: str, sql_type: str) -> str:
    text = f"json_extract_string(attributes, {_pointer(name)})"
    value = f"TRY_CAST({text} AS {sql_type})"
    # NaN passes every comparison with a number in DuckDB: to a rule it is a missing value.
    return f"CASE WHEN isfinite({value}) THEN {value} END" if sql_type == "DOUBLE" else value


def _pointer(name: str) -> str:
    """A JSON pointer (RFC 6901) as a SQL text."""
    return _text("/" + name.replace("~", "~0").replace("/", "~1"))


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _rules(plan: TriagePlan) -> str:
    """What each rule says, as a list; an error in evaluating one is NULL, as a missing value is."""
    values = ", ".join(_condition(rule.when) for rule in plan.rules)
    return f"[{values}]::BOOLEAN[]"


def _condition(expression: str) -> str:
    return f"TRY(({expression}\n))"


def _deciding(plan: TriagePlan) -> str:
    """The index of the first rule that is not false: it is true, or a value that it needs is missing."""
    cases = "".join(f" WHEN coalesce(held[{place + 1}], true) THEN {place}" for place in range(len(plan.rules)))
    return f"CASE{cases} END::INTEGER" if cases else "NULL::INTEGER"


def _subject() -> str:
    return "CASE WHEN __receipt_revision > 1 THEN item_id || chr(31) || __receipt_revision ELSE item_id END"


def _group(plan: TriagePlan) -> str:
    if plan.group_by is None:
        return "item_id"
    return f"coalesce(json_extract_string(__attributes, {_pointer(plan.group_by)}), item_id)"


def _tier(plan: TriagePlan) -> str:
    ruled = "".join(f" WHEN deciding = {place} THEN {_text(rule.tier)}" for place, rule in enumerate(plan.rules))
    bounds = "".join(f" WHEN risk <= {tier.max_risk!r} THEN {_text(tier.name)}" for tier in plan.tiers[:-1])
    unknown = "NOT __has_risk OR (deciding IS NOT NULL AND held[deciding + 1] IS NULL)"
    return f"CASE WHEN {unknown} THEN $strictest{ruled}{bounds} ELSE $strictest END"


def _pool(pools: Sequence[PoolCondition]) -> str:
    cases = "".join(
        f" WHEN {'true' if when is None else f'coalesce({_condition(when)}, false)'} THEN {_text(name)}"
        for name, when in _rest_last(pools)
    )
    return f"CASE{cases} END" if cases else "NULL::VARCHAR"


def _rest_last(pools: Sequence[PoolCondition]) -> list[PoolCondition]:
    """A pool that takes the rest must not take it before the others were asked."""
    return sorted(pools, key=lambda pool: pool[1] is None)


def _draw(purpose: str, model_version: str | None, subject: str) -> str:
    parts = [f"'{purpose}'", model_version or "''", subject]
    message = f"encode({' || chr(31) || '.join(parts)})"
    digest = f"sha256($outer_pad::BLOB || unhex(sha256($inner_pad::BLOB || {message})))"
    return f"('0x' || left({digest}, {_TEXT_DIGITS}))::UBIGINT / {1 << 52}::DOUBLE"


def _audit_draw() -> str:
    """Only for what nobody would see otherwise. A draw that could change nothing is not made: it is half of the work."""
    draw = _draw("audit", "model_version", "subject")
    return f"CASE WHEN tier IS NOT DISTINCT FROM $auto_tier AND uniform_draw >= $uniform_rate THEN {draw} END"


def _holdout_draw(plan: TriagePlan) -> str:
    """Only for the uniform stream; without the model version, so that every model is kept from the same items."""
    return f"CASE WHEN uniform_draw < $uniform_rate THEN {_draw('holdout', None, _group(plan))} END"


def _purpose() -> str:
    return f"""CASE
        WHEN uniform_draw < $uniform_rate THEN '{Purpose.UNIFORM}'
        WHEN tier IS DISTINCT FROM $auto_tier THEN '{Purpose.REVIEW}'
        WHEN audit_draw < $audit_rate THEN '{Purpose.AUDIT}' END"""


def _receipt() -> str:
    columns: Mapping[str, str] = {
        "revision": "__receipt_revision",
        "policy_version": "$policy_version",
        "rule": "deciding",
        "rule_values": "to_json(held)::VARCHAR",
        "split": f"""CASE WHEN purpose IS DISTINCT FROM '{Purpose.UNIFORM}' THEN '{Split.TRAIN}'
            WHEN holdout_draw < $holdout_share THEN '{Split.HOLDOUT}' ELSE '{Split.CALIBRATION}' END""",
        "edge": "NOT __has_risk OR risk > $edge_risk OR coalesce(held[deciding + 1], false)",
        "uniform_rate": "$uniform_rate",
        "audit_rate": "$audit_rate",
        "output": "__output",
        "attributes": "__attributes",
        "input_digest": "__input_digest",
        "content_digest": "__content_digest",
    }
    return ", ".join(f"({columns.get(name, name)})::{kind} AS {name}" for name, kind in RECEIPTS.items())
