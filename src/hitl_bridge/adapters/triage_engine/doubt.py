"""How many of the models that judged the same item say something else, as SQL; and whether any rule asks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import duckdb

DISAGREEMENT = "disagreement"
"""The column by name, as rules and receipts have it."""


def disagreement(predictions: str, known: str) -> str:
    """A query for (item_id, revision, model_version, disagreement): of all the models that predicted this revision of the
    item, itself among them, the share whose label is another one. 0 where one model alone has; NULL without a label.

    Args:
        predictions: a relation with item_id, revision, model_version and label, one row a model and revision.
        known: the same of what was triaged before; only rows of items in `predictions` are looked at. A prediction that is in
            both counts once.

    The answer is that of the moment: a model that judges the item later is not in it. Partial results do not merge by
    addition here: whoever splits a batch must keep the rows of one item together.
    """
    columns = "item_id, revision, model_version, label"
    return f"""
    SELECT mine.item_id, mine.revision, mine.model_version,
        CASE WHEN mine.label IS NOT NULL THEN 1 - same.models / every.models::DOUBLE END AS {DISAGREEMENT}
    FROM (SELECT DISTINCT {columns} FROM {predictions}) AS mine
    JOIN (SELECT item_id, revision, count(DISTINCT model_version) AS models FROM ({_said(predictions, known)})
        GROUP BY item_id, revision) AS every USING (item_id, revision)
    LEFT JOIN (SELECT item_id, revision, label, count(DISTINCT model_version) AS models FROM ({_said(predictions, known)})
        GROUP BY item_id, revision, label) AS same USING (item_id, revision, label)
    """  # noqa: S608 (relations and columns are ours)


def _said(predictions: str, known: str) -> str:
    columns = "item_id, revision, model_version, label"
    before = f"SELECT {columns} FROM {known} SEMI JOIN {predictions} AS asked USING (item_id, revision)"  # noqa: S608
    return f"SELECT {columns} FROM {predictions} UNION {before}"  # noqa: S608


def names(expressions: Iterable[str], field: str) -> bool:
    """Whether one of these expressions names `field`: what no rule asks for is not computed."""
    return any(field in _fields_of(expression) for expression in expressions)


@lru_cache(maxsize=512)
def _fields_of(expression: str) -> frozenset[str]:
    """The columns that an expression names, in small letters; none for one that can't be parsed."""
    with duckdb.connect(":memory:") as connection:
        sql = f"SELECT ({expression}\n)"
        row = connection.execute("SELECT json_serialize_sql($sql::VARCHAR)", {"sql": sql}).fetchone()
    return frozenset(name.lower() for name in _columns(json.loads(row[0]) if row else {}))


def _columns(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        if tree.get("class") == "COLUMN_REF":
            yield str(tree["column_names"][-1])
        for inner in tree.values():
            yield from _columns(inner)
    elif isinstance(tree, list):
        for inner in tree:
            yield from _columns(inner)
