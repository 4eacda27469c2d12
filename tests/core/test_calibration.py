"""Calibration: one parameter that makes confidences honest, numerically safe, and measured."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hitl_bridge.core.budget.calibrating import BINS, FEWEST, Reliability, fit, reliability
from hitl_bridge.core.triage.calibration import Calibration, Method, Numbers, Scored, risks, scored

LABELS = ("a", "b", "c", "d")


def predictions(rng: np.random.Generator, items: int, *, heat: float) -> tuple[Scored, NDArray[np.bool_]]:
    """Honest scores that were heated: the temperature that makes them honest again is 1 / heat."""
    logits = 2.5 * rng.normal(size=(items, len(LABELS)))
    honest = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    true = np.array([rng.choice(len(LABELS), p=row) for row in honest])
    told = np.exp(logits / heat) / np.exp(logits / heat).sum(axis=1, keepdims=True)
    best = told.max(axis=1)
    return Scored(best, told, best), told.argmax(axis=1) == true


def alone(confidences: Numbers) -> Scored:
    return Scored(confidences, np.empty((len(confidences), 0)), np.full(len(confidences), np.nan))


class TestRisks:
    def test_a_temperature_sharpens_and_keeps_the_order_of_labels(self) -> None:
        each = scored([0.5], [{"a": 0.5, "b": 0.3, "c": 0.2}], ["a"])
        assert risks(Calibration("m", "temperature", (0.5,)), each)[0] == pytest.approx(1 - 0.25 / (0.25 + 0.09 + 0.04))

    def test_a_temperature_of_one_changes_nothing(self) -> None:
        each = scored([0.5, 0.8], [{"a": 0.5, "b": 0.5}, {}], ["a", "a"])
        assert risks(Calibration("m", "temperature", (1.0,)), each) == pytest.approx([0.5, 0.2])

    def test_scores_that_do_not_sum_to_one_are_scaled(self) -> None:
        each = scored([0.4], [{"a": 0.4, "b": 0.1}], ["a"])
        assert risks(Calibration("m", "temperature", (1.0,)), each)[0] == pytest.approx(0.2)

    def test_a_predicted_label_without_a_score_takes_the_best(self) -> None:
        each = scored([0.9], [{"a": 0.6, "b": 0.4}], ["z"])
        assert risks(Calibration("m", "temperature", (1.0,)), each)[0] == pytest.approx(0.4)

    @given(
        rows=st.lists(st.dictionaries(st.sampled_from(LABELS), st.sampled_from([0.0, 1e-300, 0.3, 1.0])), min_size=1, max_size=8),
        temperature=st.floats(0.05, 20),
        confidence=st.sampled_from([0.0, 1e-300, 0.5, 1.0]),
    )
    @settings(max_examples=100, deadline=None)
    def test_no_score_makes_a_risk_that_is_none(
        self, rows: list[dict[str, float]], temperature: float, confidence: float
    ) -> None:
        found = risks(Calibration("m", "temperature", (temperature,)), scored([confidence] * len(rows), rows, ["a"] * len(rows)))
        assert np.isfinite(found).all()
        assert ((found >= 0) & (found <= 1)).all()

    @pytest.mark.parametrize(
        ("method", "parameters"), [("platt", (2.0, -1.0)), ("isotonic", (0.2, 0.1, 0.9, 0.95)), ("none", ())]
    )
    def test_every_method_is_rising_in_the_confidence(self, method: Method, parameters: tuple[float, ...]) -> None:
        found = risks(Calibration("m", method, parameters), alone(np.linspace(0, 1, 50, dtype=np.float64)))
        assert (np.diff(found) <= 1e-12).all()


class TestFitting:
    @pytest.mark.parametrize("heat", [0.4, 2.0])
    def test_the_temperature_that_was_lost_is_found(self, heat: float) -> None:
        seen, right = predictions(np.random.default_rng(1), 3_000, heat=heat)
        found = fit("m", seen, right).calibration
        assert found.method == "temperature"
        assert found.parameters[0] == pytest.approx(1 / heat, rel=0.12)

    def test_the_calibration_error_falls(self) -> None:
        rng = np.random.default_rng(2)
        seen, right = predictions(rng, 600, heat=2.0)
        found = fit("m", seen, right).calibration
        others, was_right = predictions(rng, 4_000, heat=2.0)
        before, after = reliability(others.confidences, was_right), reliability(1 - risks(found, others), was_right)
        assert before.ece > 0.15
        assert after.ece < 0.03
        assert after.brier < before.brier

    def test_few_items_change_nothing(self) -> None:
        seen, right = predictions(np.random.default_rng(3), FEWEST - 1, heat=2.0)
        assert fit("m", seen, right).calibration.method == "none"

    def test_items_that_are_all_right_do_not_freeze_it(self) -> None:
        found = fit("m", alone(np.full(30, 0.7)), np.ones(30, dtype=bool)).calibration
        assert 0.04 < found.parameters[0] < 1

    def test_another_method_is_taken_where_it_is_clearly_better(self) -> None:
        """Confidences that are shifted to one side, which no temperature can mend."""
        rng = np.random.default_rng(4)
        honest = rng.beta(2, 1, 3_000)
        told = 1 / (1 + np.exp(-(np.log(honest / (1 - honest)) - 2.0)))
        fitted = fit("m", alone(told), rng.random(3_000) < honest)
        assert fitted.calibration.method in ("platt", "isotonic")
        assert fitted.scores["platt"] < fitted.scores["temperature"]


class TestReliability:
    def test_it_is_the_weighted_gap_of_the_bins(self) -> None:
        found = reliability(np.array([0.95, 0.95, 0.5, 0.5]), np.array([True, True, True, False]))
        assert found.ece == pytest.approx(0.5 * 0.05)
        assert found.brier == pytest.approx((2 * 0.05**2 + 2 * 0.25) / 4)
        assert [(each.items, each.right) for each in found.curve] == [(2, 0.5), (2, 1.0)]
        assert found.curve[0].high - found.curve[0].low == pytest.approx(1 / BINS)

    def test_nothing_is_nothing(self) -> None:
        assert reliability(np.empty(0), np.empty(0, dtype=bool)) == Reliability(0, 0.0, 0.0, ())
