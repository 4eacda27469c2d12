"""Messages out of the bridge, by whatever service the address of a channel names (mail, Slack, Teams, a webhook, …): apprise."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Protocol

from hitl_bridge.core.notices import Text


class Address(Protocol):
    """A text that nothing shows: `settings.Secret`."""

    def reveal(self) -> str: ...


class AppriseSender:
    """Implements `ports.Sender`. `addresses` are apprise's URLs by channel, which may hold passwords and tokens: they are in no
    message of ours, and what apprise itself would log of them is not heard."""

    def __init__(self, addresses: Mapping[str, Address]) -> None:
        self._addresses = addresses

    def send(self, channel: str, text: Text) -> str | None:
        address = self._addresses.get(channel)
        trouble = trouble_with(address)
        if trouble is not None or address is None:
            return trouble
        import apprise

        notifier = apprise.Apprise(asset=apprise.AppriseAsset(app_id="HITL Bridge", async_mode=False))
        notifier.add(address.reveal())
        try:
            taken = notifier.notify(body=text.body, title=text.title, body_format=apprise.NotifyFormat.TEXT)
        except Exception as error:  # noqa: BLE001 (a hundred services, each with failures of its own; only the kind is told)
            return f"it could not be sent ({type(error).__name__})"
        return None if taken else "it was not taken: the service is away, or refuses it"


def trouble_with(address: Address | None) -> str | None:
    """Why nothing can be sent there; None if it could."""
    if address is None:
        return "nobody has said at which address it is (HITL_NOTICES, or .hitl/notices)"
    import apprise

    _silence()
    return None if apprise.Apprise().add(address.reveal()) else "its address is none that apprise understands"


def _silence() -> None:
    logger = logging.getLogger("apprise")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
