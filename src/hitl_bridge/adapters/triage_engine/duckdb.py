"""Triage with DuckDB: it answers what is written in SQL (risk, rules, pools), over an Arrow table that it reads where it lies.

From the answers `core.triage.verdicts` makes the receipts. What people wrote is evaluated in a connection that reaches no file,
no network and no setting; files are read elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import duckdb
import numpy as np

from hitl_bridge.adapters.triage_engine.calibrated import bound_sql, risk_sql
from hitl_bridge.adapters.triage_engine.rules import FIELDS, DuckDbRules, attributes_problem, field_types, quoted
from hitl_bridge.core.triage.plan import TriagePlan
from hitl_bridge.core.triage.policy_record import PoolCondition
from hitl_bridge.core.triage.verdicts import UNKNOWN, Answers, receipts
from hitl_bridge.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

TYPED = "attribute:"
"""A column of predictions that begins so holds an attribute in its own type, which then is not read from the JSON text."""

_PREPARED = 16
"""Statements kept: another one comes with each new policy, and with columns of other types."""

_UNASKED = ("input", "output", "input_digest", "content_digest", "row", "revision")

SCORE_LIST, OWN_SCORE = "__score_list", "__own_score"
"""Columns of predictions that hold the scores in the order of their labels and the predicted label's, where no JSON text does."""


@dataclass(frozen=True, slots=True)
class DuckDbTriage:
    """Implements `ports.TriageEngine`. `memory_limit` is DuckDB's text ("2GB"); what does not fit is spilled to disk."""

    pools: Sequence[PoolCondition] = ()
    memory_limit: str = "2GB"
    temp_directory: str | None = None
    threads: int | None = None

    def triage(self, predictions: pa.Table, plan: TriagePlan, key: bytes) -> pa.Table:
        """One receipt for each prediction, in the order of the predictions.

        A column `revision` is taken over (1 without one); a revision after the first has draws of its own.

        Raises:
            UsageError: for a rule or a pool's condition that `DuckDbRules` refuses.
        """
        with self.kept() as engine:
            return engine.triage(predictions, plan, key)

    def kept(self) -> KeptTriage:
        """The same engine with a connection that stays open until it is closed: for many batches, however small."""
        return KeptTriage(self)


class KeptTriage:
    """Implements `ports.TriageEngine` as `DuckDbTriage` does, at about a millisecond a batch of a few.

    Threads may share it; one batch is looked at at a time. Use it as a context, or call `close`.
    """

    def __init__(self, engine: DuckDbTriage) -> None:
        self._engine = engine
        self._pools = tuple(_rest_last(engine.pools))
        self._lock = Lock()
        self._open = ExitStack()
        connection = connected(engine.memory_limit, engine.temp_directory, engine.threads)
        self._connection = self._open.enter_context(connection)
        self._slots: dict[tuple[str, str], _Slot] = {}
        self._made = 0

    def triage(self, predictions: pa.Table, plan: TriagePlan, key: bytes) -> pa.Table:
        """See `DuckDbTriage.triage`."""
        _check(plan, self._pools)
        if not predictions.num_rows:
            return receipts(predictions, _no_answers(plan), plan, key)
        asked = predictions.drop_columns([name for name in _UNASKED if name in predictions.column_names])
        with self._lock:
            found = self._asked(plan, asked)
        return receipts(predictions, _answers(found, plan, self._pools), plan, key)

    def _asked(self, plan: TriagePlan, predictions: pa.Table) -> dict[str, Any]:
        """Planning a statement takes ten times as long as carrying it out on a few rows: each is prepared once."""
        kind = (_statement(plan, self._pools, frozenset(predictions.column_names), "predictions"), str(predictions.schema))
        slot = self._slots.get(kind)
        if slot is None:
            slot = self._slots[kind] = self._prepared(plan, predictions)
        slot.table = predictions
        found: dict[str, Any] = self._connection.execute(f"EXECUTE asked_{slot.name}").fetchnumpy()
        slot.table = None
        return found

    def _prepared(self, plan: TriagePlan, predictions: pa.Table) -> _Slot:
        if len(self._slots) >= _PREPARED:
            oldest = self._slots.pop(next(iter(self._slots)))
            self._connection.execute(f"DEALLOCATE asked_{oldest.name}")
            self._connection.unregister(oldest.name)
        self._made += 1
        slot = _Slot(f"predictions_{self._made}", predictions)
        self._connection.register(slot.name, slot)
        statement = _statement(plan, self._pools, frozenset(predictions.column_names), slot.name)
        self._connection.execute(f"PREPARE asked_{slot.name} AS {statement}")
        return slot

    def close(self) -> None:
        """Closes the connection and removes what it spilled."""
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


@dataclass(slots=True)
class _Slot:
    """What a prepared statement reads: each time it is carried out, the table that lies here then."""

    name: str
    table: pa.Table | None

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        if self.table is None:
            raise AssertionError("there is nothing to read here now")
        return self.table.__arrow_c_stream__(requested_schema)


def _check(plan: TriagePlan, pools: Sequence[PoolCondition]) -> None:
    if found := attributes_problem(plan.attributes):
        raise UsageError(f"attributes: {found}.", remedy="Mend hitl.yaml.")
    conditions = [(f"triage.rules: {rule.when!r}", rule.when) for rule in plan.rules]
    conditions += [(f"expertise.{name}.when: {when!r}", when) for name, when in pools if when is not None]
    for where, expression in conditions:
        found = DuckDbRules().problem(expression, plan.attributes)
        if found:
            raise UsageError(f"{where} {found}.", remedy="Mend the expression in hitl.yaml.")


@contextmanager
def connected(
    memory_limit: str, temp_directory: str | None = None, threads: int | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that reaches no file, no network and no setting: rules are written by people.

    What is spilled lies in a folder of its own, which only its owner can read and which goes with the connection.
    """
    with TemporaryDirectory(prefix="hitl-triage-", dir=temp_directory) as folder:
        config = {
            "memory_limit": memory_limit,
            "temp_directory": folder,
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            **({} if threads is None else {"threads": str(threads)}),
        }
        with duckdb.connect(":memory:", config=config) as connection:
            for setting in ("TimeZone = 'UTC'", "enable_external_access = false", "lock_configuration = true"):
                connection.execute(f"SET {setting}")
            yield connection


# ------------------------------------------------------------------------------------------------------- answers


def _answers(found: dict[str, Any], plan: TriagePlan, pools: Sequence[PoolCondition]) -> Answers:
    rules = [_filled(found[f"rule_{place}"]).astype(np.int8) for place in range(len(plan.rules))]
    return Answers(
        risk=_filled(found["risk"]).astype(np.float64),
        has_risk=_filled(found["has_risk"]).astype(np.bool_),
        by_risk=_filled(found["by_risk"]).astype(np.int16),
        rules=rules,
        pool=_filled(found["pool"]).astype(np.int16),
        pools=[name for name, _ in pools],
    )


def _filled(values: Any) -> np.ndarray[Any, Any]:
    """As an array. No column that the statement selects is ever NULL."""
    if isinstance(values, np.ma.MaskedArray):
        if values.mask.any():
            raise AssertionError("an answer is missing")
        return np.asarray(values.data)
    return np.asarray(values)


def _no_answers(plan: TriagePlan) -> Answers:
    none = np.zeros(0)
    rules = [none.astype(np.int8)] * len(plan.rules)
    return Answers(none, none.astype(np.bool_), none.astype(np.int16), rules, none.astype(np.int16))


# ----------------------------------------------------------------------------------------------------- statement


def _statement(plan: TriagePlan, pools: Sequence[PoolCondition], columns: frozenset[str], source: str) -> str:
    """All that is asked of each prediction. Each step sees the columns of the one before it."""
    given = "isfinite(confidence) AND confidence BETWEEN 0 AND 1"
    scores = {"scores": SCORE_LIST, "own_score": OWN_SCORE} if SCORE_LIST in columns else {}
    # Receipts that are computed again bring their risk, as they keep no scores to compute it from.
    risk, rest = ("risk", "EXCLUDE (risk) ") if "risk" in columns else (risk_sql(plan, **scores), "")
    return f"""
    WITH risks AS (
        SELECT * {rest}REPLACE ({_instant(columns)}),
            CASE WHEN {given} THEN {risk} ELSE 1.0 END::DOUBLE AS risk,
            coalesce({given}, false) AS __has_risk
        FROM {source}),
    fields AS (SELECT {_fields(plan, columns)}, __has_risk FROM risks)
    SELECT risk, __has_risk AS has_risk, {_by_risk(plan)} AS by_risk, {_pool(pools)} AS pool{_rules(plan)} FROM fields
    """  # noqa: S608 (names are quoted; expressions were checked on the parse tree)


def _instant(columns: frozenset[str]) -> str:
    return "TRY_CAST(predicted_at AS TIMESTAMPTZ) AS predicted_at" if "predicted_at" in columns else "item_id AS item_id"


def _fields(plan: TriagePlan, columns: frozenset[str]) -> str:
    """The fields that rules speak of, by their own names. One that these predictions lack is missing in each."""
    own = [quoted(name) if name in columns or name == "risk" else f"NULL::{FIELDS[name]} AS {quoted(name)}" for name in FIELDS]
    typed = [
        f"{_typed(name, kind, columns)} AS {quoted(name)}"
        for name, kind in field_types(plan.attributes).items()
        if name not in FIELDS
    ]
    return ", ".join([*own, *typed])


def _typed(name: str, sql_type: str, columns: frozenset[str]) -> str:
    text = f"json_extract_string(attributes, {_pointer(name)})"
    value = quoted(TYPED + name) if TYPED + name in columns else f"TRY_CAST({text} AS {sql_type})"
    # NaN passes every comparison with a number in DuckDB: to a rule it is a missing value.
    return f"CASE WHEN isfinite({value}) THEN {value} END" if sql_type == "DOUBLE" else value


def _pointer(name: str) -> str:
    """A JSON pointer (RFC 6901) as a SQL text."""
    return "'" + "/" + name.replace("~", "~0").replace("/", "~1").replace("'", "''") + "'"


def _rules(plan: TriagePlan) -> str:
    """What each rule says; an error in evaluating one is no answer, as a missing value is."""
    said = (f"coalesce({_condition(rule.when)}::TINYINT, {UNKNOWN})" for rule in plan.rules)
    return "".join(f", {each} AS rule_{place}" for place, each in enumerate(said))


def _condition(expression: str) -> str:
    return f"TRY(({expression}\n))"


def _by_risk(plan: TriagePlan) -> str:
    bounds = "".join(f" WHEN risk <= {bound_sql(plan, tier)} THEN {place}" for place, tier in enumerate(plan.tiers[:-1]))
    strictest = len(plan.tiers) - 1
    return f"CASE{bounds} ELSE {strictest} END::TINYINT" if bounds else f"{strictest}::TINYINT"


def _pool(pools: Sequence[PoolCondition]) -> str:
    cases = "".join(
        f" WHEN {'true' if when is None else f'coalesce({_condition(when)}, false)'} THEN {place}"
        for place, (_, when) in enumerate(pools)
    )
    return f"CASE{cases} ELSE -1 END::SMALLINT" if cases else "-1::SMALLINT"


def _rest_last(pools: Sequence[PoolCondition]) -> list[PoolCondition]:
    """A pool that takes the rest must not take it before the others were asked."""
    return sorted(pools, key=lambda pool: pool[1] is None)
