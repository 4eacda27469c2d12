"""The names that others import."""

from __future__ import annotations

import pytest

import hitl_bridge


def test_the_public_names_are_these_and_each_is_there() -> None:
    assert hitl_bridge.__all__ == ["Bridge", "BridgeError", "Decision", "Item", "Prediction", "load_decisions", "open_bridge"]
    for name in hitl_bridge.__all__:
        assert getattr(hitl_bridge, name).__name__ == name


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        hitl_bridge.nothing  # noqa: B018


def test_the_bridge_has_the_verbs_of_the_command_line() -> None:
    verbs = ("ingest", "push", "pull", "resolve", "commit", "sync", "status", "trace", "retrain", "promote", "load_decisions")
    for verb in verbs:
        assert getattr(hitl_bridge.Bridge, verb).__doc__
