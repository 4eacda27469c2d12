"""The tags that say which model is in use, and who agreed to it, where others see them.

A promotion or a rollback stands whatever becomes of its tags on the remote: they are sent afterwards, all that this store knows
of, so that whichever could not be sent goes with the next ones, or with the next commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hitl_bridge.core.signing import Kind, Method, signed_tag
from hitl_bridge.errors import BridgeError
from hitl_bridge.ports import SignOffs, TagRemote


def publish_tags(sign_offs: SignOffs, remote: TagRemote | None) -> str | None:
    """Why the tags of champions and sign-offs are not all on the remote; None where they are, or where there is no remote."""
    tags = known_tags(sign_offs)
    if remote is None or not tags:
        return None
    try:
        remote.publish(tags)
    except BridgeError as trouble:
        return f"{trouble.message} {trouble.remedy}".strip()
    return None


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """Tags that the remote lacked and has `taken` now, by name; `unpublished`: why it did not take them."""

    taken: tuple[str, ...] = ()
    unpublished: str | None = None


def catch_up(sign_offs: SignOffs, remote: TagRemote) -> CaughtUp:
    """Sends what the remote has not taken yet, once."""
    lacking = remote.lacking(known_tags(sign_offs))
    if not lacking:
        return CaughtUp()
    try:
        remote.publish(lacking)
    except BridgeError as trouble:
        return CaughtUp(unpublished=f"{trouble.message} {trouble.remedy}".strip())
    return CaughtUp(tuple(sorted(lacking)))


def known_tags(sign_offs: SignOffs) -> Mapping[str, str]:
    """Ids of tag objects by name: of every champion, and of every sign-off that is a signed tag."""
    champions = {name: tag_id for each in sign_offs.champions() for name, tag_id in each.tags.items()}
    signed = [each for kind in Kind for each in sign_offs.of_kind(kind) if each.method is Method.SIGNATURE]
    return {**{signed_tag(each.subject, each.number): each.proof for each in signed}, **champions}
