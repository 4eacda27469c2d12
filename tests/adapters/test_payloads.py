"""The translation between tasks and what Label Studio sends and is sent."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl_bridge.adapters.label_studio import payloads, remote, replies
from hitl_bridge.adapters.label_studio.label_configs import FIELDS, LabelConfig, region_id
from hitl_bridge.adapters.label_studio.payloads import MODEL_VERSION, Prepared
from hitl_bridge.adapters.label_studio.remote import Reader
from hitl_bridge.core.model import JSON, NONE_OF_THESE, PushKey
from hitl_bridge.core.sync import task_among
from hitl_bridge.core.task_types.controls import ANOTHER_LABEL, LABEL, OTHER_LABEL
from hitl_bridge.errors import LabelingUnavailable
from hitl_bridge.ports import Refusal
from tests.contracts.labeling_service import HOSTILE, MANY_LABELS, a_plan, a_task

US, ANA, GONE = 1, 2, 3
NAMES = {US: "bridge@example.com", ANA: "ana@example.com"}


@pytest.fixture(scope="module")
def config() -> LabelConfig:
    return LabelConfig(a_plan().label_config)


@pytest.fixture(scope="module")
def many() -> LabelConfig:
    return LabelConfig(a_plan(labels=MANY_LABELS).label_config)


@pytest.fixture(scope="module")
def reader() -> Reader:
    careful = LabelConfig(a_plan("comprehensive", rationale_required=True).label_config)
    return Reader(careful, lambda user: NAMES.get(user, f"account {user}"), US)


def sent(task: Prepared | Refusal) -> Mapping[str, JSON]:
    assert isinstance(task, Prepared), task
    read = json.loads(task.encoded)
    assert isinstance(read, dict)
    return read


def a_region(control: str = LABEL, value: JSON = None, kind: str = "choices", **more: JSON) -> dict[str, JSON]:
    filled: JSON = {"choices": ["refund"]} if value is None else value
    return {"id": "p1", "from_name": control, "to_name": "text", "type": kind, "value": filled, **more}


GIVEN = (a_region(), a_region("rationale", {"text": ["because"]}, "textarea"))


def an_annotation_row(result: Sequence[JSON] = GIVEN, **changes: JSON) -> dict[str, JSON]:
    row: dict[str, JSON] = {
        "id": 9,
        "result": list(result),
        "completed_by": ANA,
        "updated_by": ANA,
        "was_cancelled": False,
        "created_at": "2026-11-22T10:00:00.5Z",
        "updated_at": "2026-11-22T10:00:00.5Z",
        "lead_time": 4,
        "parent_prediction": None,
    }
    return row | changes


class TestTasks:
    def test_a_task_carries_its_key_every_field_and_one_prediction_with_the_priority(self, config: LabelConfig) -> None:
        task = sent(payloads.prepare(a_task("k"), config))
        data, (prediction,) = task["data"], replies.rows_of(task, "predictions")
        assert isinstance(data, dict)
        assert data["bridge_key"] == "k"
        assert data.keys() >= FIELDS.keys() | {"text"}
        region = {"id": "bridge-label", "from_name": "label", "to_name": "text", "type": "choices"}
        result = [{**region, "value": {"choices": ["refund"]}}]
        assert prediction == {"result": result, "score": 0.4, "model_version": MODEL_VERSION}

    def test_a_blind_task_has_an_empty_prediction_with_a_score(self, config: LabelConfig) -> None:
        (prediction,) = replies.rows_of(sent(payloads.prepare(a_task("k", label=None), config)), "predictions")
        assert prediction == {"result": [], "score": 0.4, "model_version": MODEL_VERSION}

    def test_the_caller_cannot_overwrite_the_key_or_the_candidates(self, config: LabelConfig) -> None:
        data = sent(payloads.prepare(a_task("k", bridge_key="other", candidates=("x",)), config))["data"]
        assert isinstance(data, dict)
        assert data["bridge_key"] == "k"
        assert data["candidates"] != "x"

    def test_with_many_labels_the_candidates_come_first_and_two_ways_out_last(self, many: LabelConfig) -> None:
        data = sent(payloads.prepare(a_task("k", label=MANY_LABELS[1], candidates=MANY_LABELS[:3]), many))["data"]
        assert isinstance(data, dict)
        values = [choice["value"] for choice in data["candidates"]]
        assert values == [*MANY_LABELS[:3], ANOTHER_LABEL, NONE_OF_THESE]
        assert len({choice["hotkey"] for choice in data["candidates"]}) == 5

    def test_a_predicted_label_outside_the_candidates_is_shown_in_the_search(self, many: LabelConfig) -> None:
        task = sent(payloads.prepare(a_task("k", label=MANY_LABELS[60], candidates=MANY_LABELS[:3]), many))
        (prediction,) = replies.rows_of(task, "predictions")
        controls = remote.controls_of(replies.rows_of(prediction, "result"))
        assert controls == {LABEL: (ANOTHER_LABEL,), OTHER_LABEL: (MANY_LABELS[60],)}

    def test_a_label_that_is_none_is_refused_even_where_choices_come_with_the_task(self, many: LabelConfig) -> None:
        refused = payloads.prepare(a_task("k", label="nonsense", candidates=MANY_LABELS[:3]), many)
        assert isinstance(refused, Refusal)

    def test_a_control_that_the_config_lacks_is_refused(self, config: LabelConfig) -> None:
        content = a_task("k")
        with_unknown = type(content)(content.push_key, content.fields, {"boxes": ("x",)}, 0.1)
        refused = payloads.prepare(with_unknown, config)
        assert isinstance(refused, Refusal)
        assert "boxes" in refused.reason

    @pytest.mark.catalogue("A9")
    def test_a_task_beyond_all_measure_is_refused(self, config: LabelConfig) -> None:
        refused = payloads.prepare(a_task("k", text="x" * (payloads.MOST_TASK_BYTES + 1)), config)
        assert isinstance(refused, Refusal)
        assert "larger" in refused.reason

    @given(text=st.text(st.characters(codec="utf-8"), min_size=1))
    def test_any_text_arrives_as_it_was(self, config: LabelConfig, text: str) -> None:
        data = sent(payloads.prepare(a_task("k", text=text), config))["data"]
        assert isinstance(data, dict)
        assert data["text"] == text

    @pytest.mark.catalogue("A6")
    @given(number=st.floats())
    def test_a_number_that_is_none_is_never_sent(self, config: LabelConfig, number: float) -> None:
        content = a_task("k")
        ranked = type(content)(content.push_key, {**content.fields, "amount": number}, content.prefill, number)
        prepared = payloads.prepare(ranked, config)
        assert isinstance(prepared, Prepared) is (math.isfinite(number) and 0 <= number <= 1)
        if isinstance(prepared, Prepared):
            assert not {"NaN", "Infinity", "-Infinity"} & set(prepared.encoded.decode().replace(",", ":").split(":"))

    @pytest.mark.catalogue("A9")
    @given(sizes=st.lists(st.integers(2, 50)), most=st.integers(1, 5), most_bytes=st.integers(10, 120))
    def test_batches_keep_order_and_limits(self, sizes: list[int], most: int, most_bytes: int) -> None:
        tasks = [Prepared(PushKey(str(place)), b'"' + b"x" * (size - 2) + b'"') for place, size in enumerate(sizes)]
        cut = list(payloads.batches(tasks, most, most_bytes))
        assert [task for batch in cut for task in batch] == tasks
        for batch in cut:
            assert 1 <= len(batch) <= most
            assert len(batch) == 1 or sum(len(task.encoded) for task in batch) <= most_bytes
            assert len(json.loads(payloads.joined(batch))) == len(batch)

    def test_instructions_are_escaped(self) -> None:
        assert payloads.instruction_html("a <b>\nc\n\nd & e\n") == "<p>a &lt;b&gt;<br>c</p><p>d &amp; e</p>"

    @pytest.mark.parametrize(
        "reply",
        [
            None,
            [],
            {"id": "f00", "status_code": 500},
            {"task_count": 2, "prediction_count": 2, "task_ids": [5]},
            {"task_count": 2, "prediction_count": 1, "task_ids": [5, 6]},
            {"task_count": 1, "prediction_count": 2, "task_ids": [5, 6]},
            {"task_count": 2, "prediction_count": 2, "task_ids": [5, 5]},
            {"task_count": 2, "prediction_count": 2, "task_ids": ["a", "b"]},
            {"task_count": 2, "prediction_count": 2},
        ],
    )
    def test_an_import_is_believed_only_if_every_count_is_right(self, reply: JSON) -> None:
        assert payloads.imported_ids(reply, 2) is None

    def test_an_import_that_adds_up_gives_ids_in_order(self) -> None:
        assert payloads.imported_ids({"task_count": 2, "prediction_count": 2, "task_ids": [6, 5]}, 2) == (6, 5)


class TestAnnotations:
    def test_every_kind_of_control_is_read(self, reader: Reader) -> None:
        result = [
            a_region(value={"choices": ["billing"]}),
            a_region("checklist", {"choices": ["I read the whole message"]}),
            a_region("rationale", {"text": "one text, not a list"}, "textarea"),
            a_region("reviewer_confidence", {"rating": 4}, "rating"),
        ]
        read = remote.annotation(an_annotation_row(result), reader)
        assert read.problem is None
        assert read.controls == {
            "label": ("billing",),
            "checklist": ("I read the whole message",),
            "rationale": ("one text, not a list",),
            "reviewer_confidence": (4,),
        }

    def test_of_a_taxonomy_path_the_last_step_counts(self) -> None:
        result = [a_region(OTHER_LABEL, {"taxonomy": [["cards", "lost card"]]}, "taxonomy")]
        assert remote.controls_of(result) == {OTHER_LABEL: ("lost card",)}

    @pytest.mark.parametrize(
        ("result", "told"),
        [
            ([a_region(value={"choices": ["billing", "refund"]}), GIVEN[1]], "takes one"),
            ([a_region(), a_region(value={"choices": ["billing"]}), GIVEN[1]], "takes one"),
            ([a_region(value={"choices": ["CANARY"]}), GIVEN[1]], "does not offer"),
            ([a_region("CANARY-control"), *GIVEN], "does not ask"),
            ([GIVEN[1]], "'label' is required"),
            ([], "'label' is required"),
            ([*GIVEN, a_region("reviewer_confidence", {"rating": 6}, "rating")], "does not offer"),
            ([*GIVEN, a_region("reviewer_confidence", {"rating": "CANARY"}, "rating")], "does not offer"),
            ([*GIVEN, "CANARY"], "not in the form"),
            ([a_region(kind="labels"), GIVEN[1]], "not in the form"),
        ],
    )
    def test_an_answer_that_does_not_fit_says_why(self, reader: Reader, result: list[JSON], told: str) -> None:
        problem = remote.annotation(an_annotation_row(result), reader).problem
        assert problem is not None
        assert told in problem
        assert "CANARY" not in problem

    @pytest.mark.parametrize("control", [LABEL, "rationale", "checklist", "reviewer_confidence"])
    @pytest.mark.parametrize(
        "value", [None, 5, "x", [], {}, {"choices": [["a"]]}, {"choices": [{}]}, {"choices": 5}, {"text": 5}]
    )
    @pytest.mark.parametrize("kind", ["choices", "textarea", None, 5])
    def test_an_answer_of_no_known_form_is_told_in_plain_words(
        self, reader: Reader, control: str, value: JSON, kind: JSON
    ) -> None:
        region: dict[str, JSON] = {"id": "p1", "from_name": control, "to_name": "text", "type": kind, "value": value}
        told = remote.annotation(an_annotation_row([region]), reader).problem
        assert told
        assert not re.search(r"NoneType|hashable|iterable|object|argument|Region|attribute", told)

    def test_of_a_skip_the_result_is_ignored(self, reader: Reader) -> None:
        read = remote.annotation(an_annotation_row([a_region()], was_cancelled=True), reader)
        assert (read.controls, read.problem) == ({}, None)

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"completed_by": US}, "own account"),
            ({"updated_by": US}, "own account"),
            ({"completed_by": None}, "deleted"),
            ({"lead_time": None, "parent_prediction": 5, "updated_by": None}, "in bulk"),
        ],
    )
    def test_what_nobody_reviewed_says_so(self, reader: Reader, changes: dict[str, JSON], told: str) -> None:
        assert told in str(remote.annotation({**an_annotation_row(), **changes}, reader).problem)

    def test_a_copied_prediction_is_known_by_the_bridge_s_own_ids(self, reader: Reader) -> None:
        copied = [{**a_region(), "id": region_id(LABEL)}]
        assert "in bulk" in str(remote.annotation(an_annotation_row(copied, lead_time=None), reader).problem)
        accepted = [*copied, GIVEN[1]]
        assert remote.annotation(an_annotation_row(accepted, lead_time=2.5), reader).problem is None

    def test_an_account_that_is_gone_has_a_number(self, reader: Reader) -> None:
        assert remote.annotation(an_annotation_row(completed_by=GONE), reader).completed_by == "account 3"

    def test_a_task_that_is_not_the_bridge_s_is_passed_over(self, reader: Reader) -> None:
        row: dict[str, JSON] = {"id": 1, "data": {"text": "somebody else's"}, "annotations": [an_annotation_row()]}
        assert remote.task_state(row, lambda: reader) is None

    @pytest.mark.parametrize("broken", [{}, {"id": "f00"}, {"id": True}, {"updated_at": None}, {"annotations": None}])
    def test_a_row_that_is_not_what_it_should_be_is_not_believed(self, reader: Reader, broken: dict[str, JSON]) -> None:
        times = {"created_at": "2026-11-22T10:00:00Z", "updated_at": "2026-11-22T10:00:00Z"}
        row: dict[str, JSON] = {"id": 1, "data": {"bridge_key": "k"}, "annotations": [], **times}
        assert remote.task_state(row, lambda: reader) is not None
        spoiled: dict[str, JSON] = {**row, **broken} if broken else {"data": {"bridge_key": "k"}}
        with pytest.raises(LabelingUnavailable):
            remote.task_state(spoiled, lambda: reader)

    def test_of_two_tasks_with_one_key_the_one_with_annotations_counts_else_the_older(self) -> None:
        def row(task_id: int, key: str, at: str, **counts: int) -> dict[str, JSON]:
            return {"id": task_id, "created_at": at, "data": {"bridge_key": key}, **counts}

        rows = [
            row(1, "a", "2026-01-02", total_annotations=0),
            row(2, "a", "2026-01-01", total_annotations=0),
            row(3, "b", "2026-01-01", total_annotations=0, cancelled_annotations=0),
            row(4, "b", "2026-01-02", total_annotations=0, cancelled_annotations=1),
        ]
        found = remote.remote_tasks(rows)
        assert [task.answers for task in found] == [0, 0, 0, 1]
        chosen = {key: task_among([task for task in found if task.push_key == key]).task_id for key in ("a", "b")}
        assert chosen == {"a": 2, "b": 4}

    @pytest.mark.catalogue("A8")
    @pytest.mark.parametrize("odd", ["cut\0off", "half \ud83d", "\udc00", {"k\0": ["x"]}])
    def test_characters_that_no_database_keeps_are_written_out_and_told(self, reader: Reader, odd: JSON) -> None:
        value: JSON = {"text": [odd]}
        read = remote.annotation(an_annotation_row([GIVEN[0], a_region("rationale", value, "textarea")]), reader)
        assert "no database keeps" in str(read.problem)
        assert remote.is_storable(read.result)
        assert "\\u" in str(read.result)

    @given(text=st.text())
    def test_every_other_character_is_left_as_it_is(self, text: str) -> None:
        if remote.is_storable(text):
            assert remote.storable(text) == text

    def test_hostile_text_in_an_answer_is_data(self, reader: Reader) -> None:
        read = remote.annotation(an_annotation_row([GIVEN[0], a_region("rationale", {"text": [HOSTILE]}, "textarea")]), reader)
        assert read.controls["rationale"] == (HOSTILE,)


class TestFilterTimes:
    @pytest.mark.parametrize(
        ("given", "sent"),
        [
            ("2026-11-22T10:35:00Z", "2026-11-22T10:35:00.000000Z"),
            ("2026-11-22T10:35:00.5Z", "2026-11-22T10:35:00.500000Z"),
            ("2026-11-22T12:35:00.000001+02:00", "2026-11-22T10:35:00.000001Z"),
            ("2026-11-22T10:35:00", "2026-11-22T10:35:00.000000Z"),
        ],
    )
    def test_any_time_becomes_the_one_form_that_filters_take(self, given: str, sent: str) -> None:
        assert replies.filter_time(given) == sent

    @given(at=st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1)), earlier=st.integers(0, 10_000))
    def test_the_form_is_always_the_same(self, at: datetime, earlier: int) -> None:
        moved = replies.filter_time(at.replace(tzinfo=UTC).isoformat(), timedelta(seconds=earlier))
        assert datetime.strptime(moved, "%Y-%m-%dT%H:%M:%S.%fZ") == at - timedelta(seconds=earlier)

    def test_a_time_that_is_none_is_not_believed(self) -> None:
        with pytest.raises(LabelingUnavailable):
            replies.filter_time("yesterday")


@given(st.lists(st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1)), min_size=2, max_size=8))
def test_times_sort_as_texts_even_where_label_studio_leaves_the_microseconds_out(times: list[datetime]) -> None:
    told = [f"{at.isoformat()}Z" for at in times]  # isoformat leaves a zero fraction out, as Label Studio does
    read = [replies.moment({"updated_at": text}, "updated_at") for text in told]
    assert [at for _, at in sorted(zip(read, times, strict=True))] == sorted(times)


def test_an_answer_of_more_marks_than_anybody_makes_is_not_even_looked_through(reader: Reader) -> None:
    marks = [a_region(value={"choices": ["refund"]}) for _ in range(remote.MOST_REGIONS + 1)]
    assert remote.annotation(an_annotation_row(marks), reader).problem == "it holds more than 2,500 marks"
