"""Deadlines: what is done about those that are missed, and who is told of what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from hitl_bridge.bootstrap.agreement import Measuring
from hitl_bridge.core import draws

if TYPE_CHECKING:
    from datetime import datetime

    from hitl_bridge.core.notices import Notice
    from hitl_bridge.services.desk.escalation import Deadlines, EscalateResult
    from hitl_bridge.services.desk.notices import Channel, NoticePorts, NoticesResult
    from hitl_bridge.services.sync.troubles import Trouble

_REVIEWERS_EVERY = timedelta(hours=6)
"""So often the newest answers are read for signs that somebody does not read: it takes seconds where there are many."""


class Timing(Measuring):
    """The verbs about time; `Bridge` has them all."""

    _reviewers_looked_at: datetime | None = None

    def escalate(self) -> EscalateResult:
        """Takes every step that is due for items that nobody has finished in time."""
        from hitl_bridge.services.desk.escalation import escalate

        with self._alone():
            return escalate(self.store.escalations(), self.policy, self.clock)

    def nobody_settles(self) -> Mapping[str, int]:
        """By pool, how many items wait for an adjudicator whom nobody there may be."""
        from hitl_bridge.services.desk.adjudicators import nobody_settles

        return nobody_settles(self.store, self.policy)

    def deadlines(self) -> Deadlines:
        """How deadlines stand, and what is late or soon will be."""
        from hitl_bridge.services.desk.escalation import deadlines

        return deadlines(self.store.escalations(), self.policy, self.clock)

    def send_notices(self, troubles: Sequence[Trouble] = ()) -> NoticesResult:
        """Tells people what there is to be told; `troubles` are those of the last cycle."""
        from hitl_bridge.services.desk.notices import NoticesResult, deliver

        if not self.policy.notices.channels:
            return NoticesResult()
        with self._alone():
            self.store.notices().add([*self._news(troubles)], self.clock.now())
            return deliver(self._notice_ports)

    def notices_waiting(self) -> int:
        """How many notices have not been sent."""
        from hitl_bridge.services.desk.notices import waiting

        terms = self.policy.notices
        return waiting(self.store.notices(), terms) if terms.channels else 0

    def channels(self) -> list[Channel]:
        """How each channel stands."""
        from hitl_bridge.services.desk.notices import channels

        return channels(self.store.notices(), self.policy.notices)

    def test_channels(self, channel: str | None = None) -> dict[str, str | None]:
        """Sends a test message to that channel (all if None): None where it was taken, else why not."""
        from hitl_bridge.services.desk.notices import send_test

        return send_test(self._notice_ports.sender, self.policy.notices, channel)

    def _news(self, troubles: Sequence[Trouble]) -> Iterator[Notice]:
        """What stands in the store and is to be told; whether it was told already, the outbox knows."""
        from hitl_bridge.services.desk.notices import Amiss, of_lots, of_reviewers, of_verdict, of_what_lasts

        terms, now = self.policy.notices, self.clock.now()
        yield from of_verdict(self.store.sign_offs().last_training(), terms, now)
        if terms.lead:
            amiss = Amiss(troubles, self.nobody_settles())
            yield from of_what_lasts(self.store.notices(), amiss, terms, now)
            yield from of_lots(list(self.store.lots().verdicts().values()), terms, now)
            yield from of_reviewers(self._to_talk_to(now), terms, now)

    def _to_talk_to(self, now: datetime) -> dict[str, int]:
        """By pseudonym, how many signs there are that somebody keeps what is filled in without reading it."""
        if self._reviewers_looked_at is not None and now < self._reviewers_looked_at + _REVIEWERS_EVERY:
            return {}
        self._reviewers_looked_at = now
        found = {line.name: len(line.notices) for line in self.reviewers_report().reviewers if line.notices}
        return {draws.pseudonym(self.settings.workspace_key, name): signs for name, signs in found.items()}

    @property
    def _notice_ports(self) -> NoticePorts:
        from hitl_bridge.adapters.notices import AppriseSender
        from hitl_bridge.services.desk.notices import NoticePorts

        sender = AppriseSender(self.settings.notice_addresses)
        return NoticePorts(self.store.notices(), sender, self.clock, self.policy.notices, self.store.projects)
