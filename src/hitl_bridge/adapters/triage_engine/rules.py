"""Whether a rule is one boolean expression over a prediction's own fields, and nothing else.

The verdict comes from DuckDB's own parse tree, not from searching the text: what is not on the list of allowed node
kinds and functions is refused, so that a new feature of the database is refused until somebody has looked at it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

import duckdb

from hitl_bridge.core.triage.normalise import attribute_kind

FIELDS: Mapping[str, str] = {
    "item_id": "VARCHAR",
    "label": "VARCHAR",
    "confidence": "DOUBLE",
    "risk": "DOUBLE",
    "margin": "DOUBLE",
    "entropy": "DOUBLE",
    "energy": "DOUBLE",
    "disagreement": "DOUBLE",
    "model_version": "VARCHAR",
    "scenario": "VARCHAR",
    "predicted_at": "TIMESTAMPTZ",
}
"""What a rule may speak of, beside the declared attributes."""

SQL_TYPES: Mapping[str, str] = {"float": "DOUBLE", "integer": "BIGINT", "string": "VARCHAR", "boolean": "BOOLEAN"}

_NODES = {"CONSTANT", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "OPERATOR", "FUNCTION", "CASE", "CAST", "BETWEEN", "TYPE"}
_OPERATORS = {"~~", "!~~", "~~*", "!~~*", "~~~", "+", "-", "*", "/", "//", "%", "||"}
# fmt: off
_NUMBERS = {
    "abs", "round", "floor", "ceil", "ceiling", "trunc", "sqrt", "ln", "log10", "greatest", "least", "mod", "sign",
    "isfinite", "isnan", "ifnull", "nullif",
}
_TEXTS = {
    "lower", "upper", "length", "trim", "ltrim", "rtrim", "left", "right", "substr", "substring", "replace", "concat",
    "reverse", "strip_accents", "contains", "starts_with", "ends_with", "prefix", "suffix", "position", "strpos", "instr",
    "regexp_matches", "regexp_full_match", "regexp_extract", "list_value", "list_contains",
}
_TIMES = {
    "to_days", "to_hours", "to_minutes", "to_seconds", "to_weeks", "to_months", "to_years", "date_part", "date_trunc",
    "date_diff", "year", "month", "day", "hour", "minute", "dayofweek", "isodow", "epoch",
}
# fmt: on
_FUNCTIONS = _OPERATORS | _NUMBERS | _TEXTS | _TIMES
_WORDS = {"SUBQUERY": "a subquery", "WINDOW": "a window function", "STAR": "a star", "PARAMETER": "a parameter"}
_BESIDE = ("where_clause", "group_expressions", "group_sets", "having", "sample", "qualify", "modifiers")


class DuckDbRules:
    """Implements `ports.RuleChecker`."""

    def problem(self, expression: str, attributes: Mapping[str, str]) -> str | None:
        """What is wrong with `expression`, in words for the author of the settings; None if nothing."""
        return _problem(expression, tuple(attributes.items()))


def field_types(attributes: Mapping[str, str]) -> dict[str, str]:
    """All the columns that rules see, with their SQL types."""
    return {**FIELDS, **{name: SQL_TYPES[attribute_kind(kind) or "string"] for name, kind in attributes.items()}}


def attributes_problem(attributes: Mapping[str, str]) -> str | None:
    """Why a rule could not tell these attributes from the prediction's own fields or from each other; None if it can."""
    seen = set(FIELDS)
    for name in attributes:
        if name.startswith("__"):
            return f"the attribute {name!r} must not begin with two underscores"
        if name.lower() in seen:
            return f"the attribute {name!r} has the name of a prediction's own field or of another attribute: give it another"
        seen.add(name.lower())
    return None


def quoted(name: str) -> str:
    """A name as a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


@lru_cache(maxsize=512)
def _problem(expression: str, attributes: tuple[tuple[str, str], ...]) -> str | None:
    if taken := attributes_problem(dict(attributes)):
        return taken
    fields = field_types(dict(attributes))
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET enable_external_access = false")
        tree, broken = _parse(connection, expression)
        if broken:
            return broken
        return _refusal(tree, fields) or _unbound(connection, expression, fields)


def _parse(connection: duckdb.DuckDBPyConnection, expression: str) -> tuple[dict[str, Any], str | None]:
    """The one selected expression's tree, or why there is not just one."""
    row = connection.execute("SELECT json_serialize_sql($sql::VARCHAR)", {"sql": f"SELECT {expression}"}).fetchone()
    parsed: dict[str, Any] = json.loads(row[0]) if row else {"error": True}
    if parsed["error"]:
        return {}, f"is not valid SQL: {_first_line(parsed.get('error_message', ''))}"
    statements = parsed["statements"]
    node = statements[0]["node"] if len(statements) == 1 else {}
    alone = (
        node.get("type") == "SELECT_NODE"
        and len(node["select_list"]) == 1
        and node["from_table"]["type"] == "EMPTY"
        and not any(node[part] for part in _BESIDE)
        and not node["cte_map"]["map"]
        and not node["select_list"][0].get("alias")
    )
    if not alone:
        return {}, "must be one expression and nothing beside it"
    return node["select_list"][0], None


def _refusal(tree: dict[str, Any], fields: Mapping[str, str]) -> str | None:
    for node in _nodes(tree):
        found = _node_problem(node, fields)
        if found:
            return found
    return None


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every expression in the tree, itself first."""
    if isinstance(tree, dict):
        if "class" in tree:
            yield tree
        for inner in tree.values():
            yield from _nodes(inner)
    elif isinstance(tree, list):
        for inner in tree:
            yield from _nodes(inner)


def _node_problem(node: dict[str, Any], fields: Mapping[str, str]) -> str | None:
    kind = node["class"]
    if kind not in _NODES:
        return f"{_WORDS.get(kind, kind.lower())} is not allowed: compare the prediction's own fields"
    if kind == "OPERATOR" and node["type"] == "GROUPING_FUNCTION":
        return "grouping() is not allowed: compare the prediction's own fields"
    if kind == "FUNCTION" and str(node.get("function_name", "")).lower() not in _FUNCTIONS:
        return f"the function {node.get('function_name')!r} is not allowed"
    if kind == "COLUMN_REF":
        return _unknown_field(".".join(node["column_names"]), fields)
    return None


def _unknown_field(name: str, fields: Mapping[str, str]) -> str | None:
    known = {field.lower(): field for field in fields}
    if name.lower() in known:
        return None
    close = [known[each] for each in get_close_matches(name.lower(), known, n=2)]
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(fields)}"
    return f"there is no field {name!r}: {hint} (attributes are declared under `attributes:`; texts stand in 'single quotes')"


def _unbound(connection: duckdb.DuckDBPyConnection, expression: str, fields: Mapping[str, str]) -> str | None:
    """What the database says when the expression is bound to the typed fields, in the form in which triage uses it."""
    columns = ", ".join(f"NULL::{kind} AS {quoted(name)}" for name, kind in fields.items())
    try:
        result = connection.execute(f"SELECT TRY(({expression}\n)) FROM (SELECT {columns}) LIMIT 0")  # noqa: S608
    except duckdb.Error as unfit:
        return f"can't be evaluated: {_first_line(str(unfit))}"
    kind = str(result.description[0][1]) if result.description else "nothing"
    return None if kind in ("BOOLEAN", "bool") else f"must be true or false, but is of type {kind}"


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else "it can't be read"
