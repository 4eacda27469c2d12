"""When it is time to train again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from hitl_bridge.core.retraining import NewSince, RetrainTerms, due

NOW = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    ("wish", "days", "new", "why"),
    [
        (RetrainTerms(after=200), 1, NewSince(900, 199), None),
        (RetrainTerms(after=200), 1, NewSince(900, 200), "200 corrections since"),
        (RetrainTerms(after=200, corrections=False), 1, NewSince(200, 0), "200 decisions since"),
        (RetrainTerms(every=timedelta(days=7)), 6, NewSince(5, 5), None),
        (RetrainTerms(every=timedelta(days=7)), 7, NewSince(5, 5), "7 days ago, and 5 decisions are new"),
        (RetrainTerms(every=timedelta(days=7)), 70, NewSince(0, 0), None),
        (RetrainTerms(revalidate_every=timedelta(days=90)), 90, NewSince(0, 0), "look at the champion was 90 days ago"),
        (RetrainTerms(revalidate_every=timedelta(days=90)), 89, NewSince(9, 9), None),
        (RetrainTerms(every=timedelta(days=7)), None, NewSince(1, 0), "nothing was ever trained"),
        (RetrainTerms(revalidate_every=timedelta(days=90)), None, NewSince(0, 0), None),
    ],
)
def test_it_is_time_to_train_when_enough_is_new_or_it_is_long_ago(
    wish: RetrainTerms, days: int | None, new: NewSince, why: str | None
) -> None:
    last = None if days is None else NOW - timedelta(days=days)
    said = due(wish, last, new, NOW)
    assert (said is None) if why is None else (said is not None and why in said)
