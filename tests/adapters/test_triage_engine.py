"""Triage in DuckDB: tiers, rules, pools and draws; and what a rule may not do."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitl_bridge.adapters.triage_engine.duckdb import DuckDbTriage, connected
from hitl_bridge.adapters.triage_engine.rules import DuckDbRules
from hitl_bridge.core.draws import draw, uniform_and_audit
from hitl_bridge.core.triage.calibration import Calibration
from hitl_bridge.core.triage.columns import PREDICTIONS, RECEIPTS
from hitl_bridge.core.triage.plan import CLOSED, Rule, Threshold, TierBound, TriagePlan
from hitl_bridge.errors import UsageError

KEY = b"workspace key"
ATTRIBUTES = {"amount": "float", "language": "string", "vip": "boolean", "count": "integer"}
TIERS = (TierBound("auto", 0.1), TierBound("quick", 0.3), TierBound("comprehensive", 1.0))
PLAN = TriagePlan("p1", TIERS, attributes=ATTRIBUTES, audit_rate=0.0)
_TYPES = {"VARCHAR": pa.string(), "DOUBLE": pa.float64(), "BIGINT": pa.int64()}
_SCHEMA = pa.schema([(name, _TYPES[kind]) for name, kind in PREDICTIONS.items()])


def _row(item_id: str = "t-1", **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "item_id": item_id,
        "input": '{"text":"a"}',
        "output": '{"label":"refund"}',
        "scores": "{}",
        "confidence": 0.95,
        "label": "refund",
        "model_version": "m1",
        "attributes": "{}",
        "input_digest": "i",
        "content_digest": "c",
    }
    return row | changes


def _triage(
    plan: TriagePlan, *rows: dict[str, Any], engine: DuckDbTriage | None = None, key: bytes = KEY
) -> list[dict[str, Any]]:
    table = pa.Table.from_pylist(list(rows), schema=_SCHEMA)
    found: list[dict[str, Any]] = (engine or DuckDbTriage()).triage(table, plan, key).to_pylist()
    return found


def _ruled(*rules: Rule) -> TriagePlan:
    return replace(PLAN, rules=rules)


def test_receipts_have_their_columns_and_the_order_of_the_predictions() -> None:
    receipts = _triage(PLAN, *(_row(f"t-{number}") for number in range(3000, 0, -1)))
    assert list(receipts[0]) == list(RECEIPTS)
    assert [receipt["item_id"] for receipt in receipts] == [f"t-{number}" for number in range(3000, 0, -1)]
    assert {receipt["revision"] for receipt in receipts} == {1}


def test_a_prediction_goes_to_the_first_tier_whose_risk_it_does_not_exceed() -> None:
    receipts = _triage(PLAN, *(_row(confidence=confidence) for confidence in (1.0, 0.9, 0.8, 0.75, 0.5, 0.0)))
    assert [receipt["tier"] for receipt in receipts] == ["auto", "auto", "quick", "quick", "comprehensive", "comprehensive"]
    assert [receipt["edge"] for receipt in receipts] == [False, False, False, False, True, True]


@pytest.mark.parametrize("confidence", [math.nan, math.inf, -math.inf, None, -0.5, 1.5])
def test_a_confidence_that_is_none_goes_to_the_strictest_tier_as_an_edge_case(confidence: float | None) -> None:
    plan = _ruled(Rule("risk < 2", "auto", "a rule can't save it"))
    receipt = _triage(plan, _row(confidence=confidence))[0]
    assert (receipt["tier"], receipt["risk"], receipt["edge"], receipt["purpose"]) == ("comprehensive", 1.0, True, "review")


def test_the_first_rule_that_is_true_decides_and_the_receipt_says_what_each_rule_said() -> None:
    plan = _ruled(
        Rule("amount > 10000", "comprehensive", "stakes"), Rule("label = 'refund'", "quick", "money"), Rule("vip", "auto", "x")
    )
    attributes = json.dumps({"amount": 5, "vip": True})
    receipt = _triage(plan, _row(attributes=attributes, confidence=0.99))[0]
    assert (receipt["tier"], receipt["rule"], receipt["rule_values"], receipt["edge"]) == ("quick", 1, "[false,true,true]", True)


@pytest.mark.parametrize("attributes", ["{}", '{"amount":null}', '{"amount":"much"}', '{"amount":"NaN"}'])
def test_a_rule_over_a_missing_value_sends_the_item_to_the_strictest_tier(attributes: str) -> None:
    plan = _ruled(Rule("amount > 10000", "quick", "stakes"))
    receipt = _triage(plan, _row(attributes=attributes))[0]
    assert (receipt["tier"], receipt["rule"], receipt["rule_values"]) == ("comprehensive", 0, "[null]")


def test_a_rule_that_fails_in_the_middle_of_a_batch_is_a_rule_without_an_answer() -> None:
    plan = _ruled(Rule("CAST(language AS INTEGER) > 1", "quick", "odd"))
    receipts = _triage(plan, *(_row(attributes=json.dumps({"language": text})) for text in ("2", "en", "0")))
    assert [receipt["tier"] for receipt in receipts] == ["quick", "comprehensive", "auto"]


def test_a_rule_that_ends_in_a_comment_can_swallow_nothing() -> None:
    assert _triage(_ruled(Rule("false -- ) OR (true", "quick", "odd")), _row())[0]["tier"] == "auto"


def test_rules_see_every_field_and_attribute_by_its_type() -> None:
    expression = (
        "item_id = 't-1' AND label = 'refund' AND confidence > 0.9 AND risk < 0.1 AND margin > 0.5 AND entropy < 1 "
        "AND model_version LIKE 'm%' AND scenario IN ('legal') AND predicted_at >= TIMESTAMPTZ '2026-11-22 09:00:00+00' "
        "AND amount BETWEEN 1 AND 2 AND lower(language) = 'en' AND NOT vip AND \"count\" % 2 = 1"
    )
    attributes = json.dumps({"amount": 1.5, "language": "EN", "vip": False, "count": 3})
    row = _row(margin=0.9, entropy=0.1, scenario="legal", predicted_at="2026-11-22T10:00:00+01:00", attributes=attributes)
    assert _triage(_ruled(Rule(expression, "quick", "all")), row)[0]["rule_values"] == "[true]"


def test_odd_names_of_attributes_are_only_names() -> None:
    name = "o'dd \"na/me~"
    plan = replace(PLAN, attributes={name: "float", "tier": "string"}, rules=(Rule('"o\'dd ""na/me~" > 1', "quick", "odd"),))
    receipt = _triage(plan, _row(attributes=json.dumps({name: 2, "tier": "x"})))[0]
    assert (receipt["tier"], receipt["rule"]) == ("quick", 0)


def test_the_first_pool_whose_condition_holds_takes_the_item_and_the_one_without_takes_the_rest() -> None:
    engine = DuckDbTriage(pools=(("general", None), ("payments", "scenario = 'payments'"), ("large", "amount > 1")))
    rows = [_row(scenario="payments", attributes='{"amount":5}'), _row(attributes='{"amount":5}'), _row()]
    assert [receipt["pool"] for receipt in _triage(PLAN, *rows, engine=engine)] == ["payments", "large", "general"]
    assert _triage(PLAN, _row())[0]["pool"] is None


_ids = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(_ids, _ids), min_size=1, max_size=20), st.binary(min_size=1, max_size=100))
def test_every_draw_is_the_one_of_the_core_to_the_last_bit(names: Sequence[tuple[str, str]], key: bytes) -> None:
    rows = [_row(item_id, model_version=model) for item_id, model in names]
    audits = _triage(PLAN, *rows, key=key)
    uniform = _triage(replace(PLAN, uniform_rate=1.0), *rows, key=key)
    for (item_id, model), audit, holdout in zip(names, audits, uniform, strict=True):
        assert (audit["uniform_draw"], audit["audit_draw"]) == uniform_and_audit(key, model, item_id, audit["draw_form"])
        assert holdout["holdout_draw"] == draw(key, "holdout", "", item_id)


def test_the_uniform_stream_is_drawn_from_all_tiers_and_the_audits_from_the_rest_of_the_auto_tier() -> None:
    plan = replace(PLAN, uniform_rate=0.2, audit_rate=0.3)
    receipts = _triage(plan, *(_row(f"t-{number}", confidence=0.95 if number % 2 else 0.5) for number in range(2000)))
    for receipt in receipts:
        auto = receipt["tier"] == "auto"
        uniform = receipt["uniform_draw"] < 0.2
        audit = auto and not uniform and receipt["audit_draw"] < 0.3
        expected = "uniform" if uniform else "audit" if audit else None if auto else "review"
        assert receipt["purpose"] == expected
        measures = ("holdout" if receipt["holdout_draw"] < 0.5 else "calibration") if uniform else "train"
        assert receipt["split"] == measures
    purposes = [receipt["purpose"] for receipt in receipts]
    assert 300 < purposes.count("uniform") < 500
    assert 180 < purposes.count("audit") < 300
    assert (receipts[0]["uniform_rate"], receipts[0]["audit_rate"]) == (0.2, 0.3)


def test_items_of_a_group_fall_on_one_side_for_every_model() -> None:
    plan = replace(PLAN, uniform_rate=1.0, group_by="language")
    rows = [_row(f"t-{n}", model_version=f"m{n % 3}", attributes=json.dumps({"language": f"l{n % 20}"})) for n in range(200)]
    splits: dict[int, set[str]] = {}
    for number, receipt in enumerate(_triage(plan, *rows)):
        splits.setdefault(number % 20, set()).add(receipt["split"])
    assert all(len(each) == 1 for each in splits.values())
    assert len(set.union(*splits.values())) == 2


def test_without_an_auto_tier_a_person_sees_everything() -> None:
    plan = TriagePlan("p1", (TierBound("quick", 0.3), TierBound("strict", 1.0)), auto_tier=None, audit_rate=1.0)
    assert {receipt["purpose"] for receipt in _triage(plan, _row(), _row(confidence=0.1))} == {"review"}


def test_a_revised_item_has_draws_of_its_own_and_keeps_its_side_of_the_split() -> None:
    table = pa.Table.from_pylist([_row(), _row()], schema=_SCHEMA).append_column("revision", pa.array([1, 2], pa.int32()))
    first, second = DuckDbTriage().triage(table, replace(PLAN, uniform_rate=1.0), KEY).to_pylist()
    assert (first["revision"], second["revision"]) == (1, 2)
    assert second["uniform_draw"] == uniform_and_audit(KEY, "m1", "t-1\x1f2")[0]
    assert first["holdout_draw"] == second["holdout_draw"]


def test_no_predictions_give_no_receipts() -> None:
    assert _triage(PLAN) == []


def test_the_same_batch_gives_the_same_receipts_in_little_memory(tmp_path: Any) -> None:
    rows = [_row(f"t-{number}") for number in range(5000)]
    engine = DuckDbTriage(memory_limit="64MB", temp_directory=str(tmp_path))
    assert _triage(PLAN, *rows, engine=engine) == _triage(PLAN, *rows)
    assert list(tmp_path.iterdir()) == []


def test_a_rule_that_cannot_be_evaluated_stops_triage_with_a_remedy() -> None:
    with pytest.raises(UsageError, match="there is no field 'amout': did you mean amount") as raised:
        _triage(_ruled(Rule("amout > 1", "quick", "odd")), _row())
    assert raised.value.remedy


@pytest.mark.parametrize(
    "expression",
    [
        "amount > 10000 OR scenario = 'legal'",
        "language IN ('de', 'en') AND NOT vip",
        "label LIKE 'ref%' OR label ILIKE '%X' OR regexp_matches(label, '^a')",
        "amount IS NULL OR coalesce(amount, 0) > 1",
        "CASE WHEN vip THEN risk > 0.1 ELSE risk > 0.2 END",
        "predicted_at > date '2026-01-01' + interval 3 days",
        'abs(amount - 3) / 2 > 1 AND "count" BETWEEN 1 AND 3',
        "AMOUNT > 1 -- in capitals, with a comment",
    ],
)
def test_an_expression_over_the_prediction_s_fields_is_fine(expression: str) -> None:
    assert DuckDbRules().problem(expression, ATTRIBUTES) is None


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("", "not valid SQL"),
        ("amount >", "not valid SQL"),
        ("1 = 1) OR (1 = 1", "not valid SQL"),
        ("true; SELECT true", "one expression"),
        ("true; DROP TABLE predictions", "not valid SQL"),
        ("true FROM predictions", "one expression"),
        ("true WHERE true", "one expression"),
        ("true LIMIT 1", "one expression"),
        ("true AS x", "one expression"),
        ("true, false", "one expression"),
        ("true UNION SELECT false", "one expression"),
        ("EXISTS (SELECT 1)", "a subquery is not allowed"),
        ("amount IN (SELECT 1)", "a subquery is not allowed"),
        ("amount = (SELECT max(x) FROM read_csv('/etc/passwd') t(x))", "a subquery is not allowed"),
        ("count(*) > 1", "'count_star' is not allowed"),
        ("sum(amount) > 1", "'sum' is not allowed"),
        ("row_number() OVER () > 1", "a window function is not allowed"),
        ("read_text('/etc/passwd') = 'x'", "'read_text' is not allowed"),
        ("getenv('HOME') = 'x'", "'getenv' is not allowed"),
        ("current_setting('threads') = '1'", "'current_setting' is not allowed"),
        ("random() > 0.5", "'random' is not allowed"),
        ("now() > predicted_at", "'now' is not allowed"),
        ("unnest([true])", "'unnest' is not allowed"),
        ("current_user = 'x'", "no field 'current_user'"),
        ("input LIKE '%x%'", "no field 'input'"),
        ("predictions.amount > 1", "no field 'predictions.amount'"),
        ("scenario = legal", "no field 'legal'"),
        ("amout > 1", "did you mean amount"),
        ("$1", "a parameter is not allowed"),
        ("COLUMNS('a')", "not allowed"),
        ("amount", "of type DOUBLE"),
        ("'yes'", "of type VARCHAR"),
        ("NULL", "must be true or false"),
        ("date_trunc(1, amount)", "can't be evaluated"),
        ("true;", "can't be evaluated"),
    ],
)
def test_anything_else_is_refused_and_the_reason_named(expression: str, reason: str) -> None:
    assert reason in (DuckDbRules().problem(expression, ATTRIBUTES) or "nothing wrong")


@pytest.mark.parametrize("attributes", [{"Risk": "float"}, {"a": "float", "A": "float"}, {"__output": "string"}])
def test_attributes_that_could_be_mistaken_for_fields_are_refused(attributes: dict[str, str]) -> None:
    assert "attribute" in (DuckDbRules().problem("risk > 0.5", attributes) or "")
    with pytest.raises(UsageError, match="attribute"):
        _triage(replace(PLAN, attributes=attributes), _row())


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from([*"a1'\"()-; ,*/\n$#>=", "amount", "vip", " OR ", "NOT ", "SELECT ", " FROM "]), max_size=8).map(
        "".join
    )
)
def test_whatever_passes_the_check_can_be_carried_out(expression: str) -> None:
    if DuckDbRules().problem(expression, ATTRIBUTES) is None:
        assert len(_triage(_ruled(Rule(expression, "quick", "odd")), _row())) == 1


def test_what_people_wrote_is_evaluated_where_no_file_and_no_setting_can_be_reached(tmp_path: Any) -> None:
    (tmp_path / "secret.txt").write_text("x")
    with connected("64MB") as connection:
        for reach in (
            f"SELECT * FROM read_text('{tmp_path}/secret.txt')",  # noqa: S608
            f"COPY (SELECT 1) TO '{tmp_path}/out.csv'",
            f"ATTACH '{tmp_path}/other.db'",
            "SET enable_external_access = true",
            "SET threads = 3",
            "INSTALL httpfs",
        ):
            with pytest.raises(duckdb.Error):
                connection.execute(reach)
    assert [each.name for each in tmp_path.iterdir()] == ["secret.txt"]


def test_a_kept_engine_gives_the_same_receipts_whatever_came_before() -> None:
    rules = (Rule("amount > 1", "quick", "x"), Rule("label = 'refund' AND entropy > 1", "comprehensive", "y"))
    plans = [PLAN, replace(PLAN, rules=rules), replace(PLAN, uniform_rate=0.5, policy_version="p2")]
    rows = [_row(f"t-{number}", attributes=json.dumps({"amount": number % 3})) for number in range(60)]
    coded = pa.Table.from_pylist(rows, schema=_SCHEMA)
    coded = coded.set_column(coded.column_names.index("label"), "label", coded["label"].dictionary_encode())
    with DuckDbTriage(pools=[("large", "amount > 1")], threads=1).kept() as engine:
        for table in (coded, coded.slice(7, 1), coded.slice(0, 0), pa.Table.from_pylist(rows, schema=_SCHEMA), coded):
            for plan in plans:
                alone = DuckDbTriage(pools=[("large", "amount > 1")]).triage(table, plan, KEY)
                assert engine.triage(table, plan, KEY).to_pylist() == alone.to_pylist()


def test_a_kept_engine_goes_on_after_a_rule_that_it_refused_and_forgets_old_policies() -> None:
    table = pa.Table.from_pylist([_row()], schema=_SCHEMA)
    with DuckDbTriage().kept() as engine:
        for number in range(40):
            with pytest.raises(UsageError):
                engine.triage(table, _ruled(Rule(f"nothing > {number}", "quick", "odd")), KEY)
            (receipt,) = engine.triage(table, _ruled(Rule(f"confidence > {number / 40}", "quick", "odd")), KEY).to_pylist()
            assert receipt["rule_values"] == ("[true]" if number / 40 < 0.95 else "[false]")


def test_as_many_rules_as_one_likes() -> None:
    rules = [Rule(f"amount = {number}", "quick", "x") for number in range(70)]
    rows = [_row(f"t-{number}", attributes=json.dumps({"amount": number} if number else {})) for number in (69, 3, 0, 1000)]
    receipts = _triage(_ruled(*rules), *rows)
    assert [receipt["rule"] for receipt in receipts] == [69, 3, 0, None]
    values = [json.loads(receipt["rule_values"]) for receipt in receipts]
    assert [each.count(True) for each in values] == [1, 1, 0, 0]
    assert values[2] == [None] * 70
    assert values[0].index(True) == 69


def test_risks_are_calibrated_alike_from_columns_and_from_json() -> None:
    plan = replace(PLAN, calibrations={"m1": Calibration("m1", "temperature", (2.0,))})
    scores = {"billing": 0.2, "cancel": 0.1, "refund": 0.7}
    texts = pa.Table.from_pylist([_row(scores=json.dumps(scores)), _row("t-2", confidence=0.6)], schema=_SCHEMA)
    lists = pa.array([list(scores.values()), []], pa.list_(pa.float64()))
    columns = texts.drop_columns(["scores"]).append_column("__score_list", lists)
    columns = columns.append_column("__own_score", pa.array([0.7, None], pa.float64()))
    one, two = (DuckDbTriage().triage(table, plan, KEY).to_pylist() for table in (texts, columns))
    assert one == two
    assert 0.05 < one[0]["risk"] != one[1]["risk"]


def test_thresholds_of_a_model_version_close_the_auto_tier_for_the_others() -> None:
    tiers = (TierBound("auto", CLOSED), *TIERS[1:])
    plan = replace(PLAN, tiers=tiers, thresholds=(Threshold("m1", 0.1), Threshold("m1", 0.01, scenario="legal")))
    rows = [_row(), _row("t-2", model_version="m2"), _row("t-3", scenario="legal")]
    assert [receipt["tier"] for receipt in _triage(plan, *rows)] == ["auto", "quick", "quick"]
