"""`hitl.yaml` and the environment as one frozen tree; the only reader of the environment.

durations · document   text → values with their lines
schema · checks        what a value may be · what values say about one another
complaints             pydantic's findings in the words of the file
environment · tree     tokens, keys, directories · the tree itself
load                   all of it together
"""

from __future__ import annotations

from hitl_bridge.settings.durations import duration_text, parse_duration
from hitl_bridge.settings.environment import KEY_BYTES, cache_dir, key_file, key_source, token_file
from hitl_bridge.settings.load import (
    check_settings,
    load_other_settings,
    load_settings,
    notify_socket,
    read_approver_token,
    read_token,
)
from hitl_bridge.settings.schema import HitlYaml
from hitl_bridge.settings.tree import PIPELINE_APART, DaemonSettings, Secret, Settings

__all__ = [
    "KEY_BYTES",
    "PIPELINE_APART",
    "DaemonSettings",
    "HitlYaml",
    "Secret",
    "Settings",
    "cache_dir",
    "check_settings",
    "duration_text",
    "key_file",
    "key_source",
    "load_other_settings",
    "load_settings",
    "notify_socket",
    "parse_duration",
    "read_approver_token",
    "read_token",
    "token_file",
]
