from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl_bridge.core.model import AnnotationId, PushKey, TaskId
from hitl_bridge.core.sweep import KnownTask, ManifestTask, plan_sweep

AT, LATER = "2026-11-22T10:00:00.000000Z", "2026-11-22T11:00:00.000000Z"
ANSWER = (AnnotationId(1), AT, AT)
KEY = PushKey("k-1")


def known(created_at: str | None = AT, *versions: tuple[AnnotationId, str, str]) -> dict[TaskId, KnownTask]:
    return {TaskId(7): KnownTask(KEY, created_at, frozenset(versions))}


def there(created_at: str = AT, *versions: tuple[AnnotationId, str, str], task_id: int = 7) -> list[ManifestTask]:
    return [ManifestTask(TaskId(task_id), created_at, frozenset(versions))]


@pytest.mark.catalogue("B5")
def test_what_is_as_it_was_is_not_read() -> None:
    assert plan_sweep(known(AT, ANSWER), there(AT, ANSWER)).read == ()


@pytest.mark.catalogue("B5", "B7")
@pytest.mark.parametrize(
    "changed", [there(), there(AT, (AnnotationId(1), AT, LATER)), there(AT, (AnnotationId(1), LATER, AT)), there(LATER, ANSWER)]
)
def test_whatever_differs_is_read(changed: list[ManifestTask]) -> None:
    assert plan_sweep(known(AT, ANSWER), changed).read == (7,)


@pytest.mark.catalogue("A10")
def test_a_task_that_we_do_not_know_is_read() -> None:
    assert plan_sweep(known(), there(task_id=8)).read == (8,)


def test_the_creation_time_of_a_task_of_ours_is_learned_without_reading_it() -> None:
    plan = plan_sweep(known(None), there(LATER))
    assert (plan.read, [(task.push_key, task.created_at) for task in plan.learn]) == ((), [(KEY, LATER)])


@pytest.mark.catalogue("B10")
def test_after_a_restore_no_task_is_known_by_its_id_alone() -> None:
    plan = plan_sweep(known(None), there(LATER), trusting=False)
    assert (plan.read, plan.learn) == ((7,), ())


ids = st.integers(1, 6).map(TaskId)
versions = st.frozensets(st.sampled_from([ANSWER, (AnnotationId(1), AT, LATER), (AnnotationId(2), AT, AT)]))


@pytest.mark.catalogue("B5")
@given(
    st.dictionaries(ids, st.builds(KnownTask, st.just(KEY), st.sampled_from([AT, LATER, None]), versions)),
    st.lists(st.builds(ManifestTask, ids, st.sampled_from([AT, LATER]), versions), unique_by=lambda task: task.task_id),
)
def test_what_is_not_read_holds_exactly_what_we_know(ours: dict[TaskId, KnownTask], listed: list[ManifestTask]) -> None:
    plan = plan_sweep(ours, listed)
    for task in listed:
        if task.task_id not in plan.read:
            assert ours[task.task_id].versions == task.versions
            assert ours[task.task_id].created_at in (task.created_at, None)
