"""Fits calibrations to judged items, and says how well risks and errors agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hitl_bridge.core.triage.calibration import TINY, Calibration, Method, Numbers, Scored, risks

FIT_SHARE = 0.15
"""Of the calibration items, drawn by keyed hash: the calibration is fitted on these and the threshold is chosen from the
rest, since a guarantee does not hold on items that have shaped the risks."""

FEWEST = 20
"""With fewer items to fit on, confidences are left as they are."""

BINS = 15

_DEFAULT: Method = "temperature"
_FOLDS = 5
_SURE = 2.0
_LEAST: Mapping[Method, int] = {"temperature": FEWEST, "none": FEWEST, "platt": 100, "isotonic": 1_000}
"""Isotonic regression wants about a thousand items and more, or it learns them by heart (METHODS 2)."""
_KNOTS = 50
_COLDEST, _HOTTEST = -3.0, 3.0  # of the logarithm of the temperature

Right = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Bin:
    """Predictions whose confidence lies in [low, high): how many, how sure they were, and what share was right."""

    low: float
    high: float
    items: int
    confidence: float
    right: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """How well confidences agree with what is right. `ece`: expected calibration error over 15 bins of equal width (Guo et
    al. 2017, section 2); `brier`: mean squared difference (Brier 1950). 0 is best in both."""

    items: int
    ece: float
    brier: float
    curve: tuple[Bin, ...]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A calibration, and the cross-validated Brier score of each method that was considered."""

    calibration: Calibration
    scores: Mapping[str, float]


def fit(model_version: str, predictions: Scored, right: Right) -> Fitted:
    """Temperature scaling, unless another method is clearly better: its cross-validated Brier score is lower by two standard
    errors of the difference. With fewer than FEWEST items nothing is changed."""
    if len(predictions) < FEWEST:
        return Fitted(Calibration(model_version, "none", ()), {})
    losses = {method: _cross_validated(method, predictions, right) for method, n in _LEAST.items() if n <= len(predictions)}
    best = min(losses, key=lambda method: float(losses[method].mean()))
    gain = losses[_DEFAULT] - losses[best]
    clear = gain.mean() > _SURE * gain.std() / np.sqrt(len(gain))
    method = best if clear else _DEFAULT
    scores: dict[str, float] = {name: float(each.mean()) for name, each in losses.items()}
    return Fitted(Calibration(model_version, method, _parameters(method, predictions, right)), scores)


def reliability(chances: Numbers, right: Right) -> Reliability:
    """`chances`: the probability, as claimed, that each prediction is right."""
    items = len(chances)
    if not items:
        return Reliability(0, 0.0, 0.0, ())
    places = np.minimum((chances * BINS).astype(np.int64), BINS - 1)
    curve = tuple(_bin(place, chances[places == place], right[places == place]) for place in np.unique(places).tolist())
    ece = sum(each.items * abs(each.confidence - each.right) for each in curve) / items
    return Reliability(items, float(ece), float(((chances - right) ** 2).mean()), curve)


def _bin(place: int, chances: Numbers, right: Right) -> Bin:
    return Bin(place / BINS, (place + 1) / BINS, len(chances), float(chances.mean()), float(right.mean()))


def _cross_validated(method: Method, predictions: Scored, right: Right) -> Numbers:
    """The squared error of each item, calibrated by what was fitted on the others."""
    fold = np.arange(len(predictions)) % _FOLDS
    losses = np.empty(len(predictions))
    for each in range(_FOLDS):
        out, others = np.flatnonzero(fold == each), np.flatnonzero(fold != each)
        fitted = Calibration("", method, _parameters(method, predictions.take(others), right[others]))
        losses[out] = (1 - risks(fitted, predictions.take(out)) - right[out]) ** 2
    return losses


def _parameters(method: Method, predictions: Scored, right: Right) -> tuple[float, ...]:
    if method == "temperature":
        return (_temperature(predictions, right),)
    if method == "platt":
        return _platt(predictions, right)
    return _isotonic(predictions, right) if method == "isotonic" else ()


def _log_loss(method: Method, parameters: Sequence[float], predictions: Scored, right: Right) -> float:
    """Of the predicted label alone: whether it is right is all that a risk speaks of. Kept from the logarithm of 0."""
    chances = np.clip(1 - risks(Calibration("", method, tuple(parameters)), predictions), TINY, 1 - TINY)
    return float(-np.log(np.where(right, chances, 1 - chances)).mean())


def _temperature(predictions: Scored, right: Right) -> float:
    """By log loss, with a weak pull towards 1 (as if from one more item), or items that are all right would freeze it."""
    from scipy.optimize import minimize_scalar

    def loss(logarithm: float) -> float:
        pull = logarithm**2 / 2 / len(predictions)
        return _log_loss("temperature", (float(np.exp(logarithm)),), predictions, right) + pull

    found = minimize_scalar(loss, bounds=(_COLDEST, _HOTTEST), method="bounded", options={"xatol": 1e-3})
    return round(float(np.exp(found.x)), 6)


def _platt(predictions: Scored, right: Right) -> tuple[float, ...]:
    from scipy.optimize import minimize

    def loss(parameters: Numbers) -> float:
        slope, shift = float(parameters[0]), float(parameters[1])
        pull = ((slope - 1) ** 2 + shift**2) / 2 / len(predictions)
        return _log_loss("platt", (slope, shift), predictions, right) + pull

    found = minimize(loss, x0=np.array([1.0, 0.0]), method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-6})
    return tuple(round(float(each), 6) for each in found.x)


def _isotonic(predictions: Scored, right: Right) -> tuple[float, ...]:
    """Rising steps (Zadrozny & Elkan 2002), thinned out to lines through at most _KNOTS points."""
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(predictions.confidences, right)
    across, up = fitted.X_thresholds_, fitted.y_thresholds_
    kept = np.unique(np.linspace(0, len(across) - 1, min(_KNOTS, len(across))).round().astype(np.int64))
    return tuple(float(value) for point in zip(across[kept], up[kept], strict=True) for value in point)
