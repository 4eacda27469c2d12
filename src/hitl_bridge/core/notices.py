"""What people are told: notices, gathered into messages. No text of an item, no name of a person is ever in one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo

from hitl_bridge.core.model import JSONObject

EVERY = timedelta(minutes=15)
_FIRST_PAUSE = timedelta(minutes=1)
_LONGEST_PAUSE = timedelta(hours=1)
_TITLE = 120

ONLY_WHO_ASKED = "whoever might has asked for an adjudicator there, who is to be somebody else"
NAME_SOMEBODY = "Name one more adjudicator of that pool (its adjudicators in expertise, or adjudicates in the roster)."
"""Why nobody may settle an item, and what to do about it."""


@dataclass(frozen=True, slots=True)
class NoticeTerms:
    """Who hears of what, by the names of channels: the review lead, those who approve models, the people of each pool. A channel
    gets a message at most `every` so often. `zone` is in what times are told, `workspace` the name of what they are about."""

    lead: tuple[str, ...] = ()
    approvers: tuple[str, ...] = ()
    pools: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    every: timedelta = EVERY
    zone: tzinfo = UTC
    workspace: str = ""

    def of_pool(self, pool: str) -> tuple[str, ...]:
        return self.pools.get(pool, ())

    @property
    def channels(self) -> tuple[str, ...]:
        """Every channel that is named, once."""
        several = (self.lead, self.approvers, *self.pools.values())
        return tuple(dict.fromkeys(name for names in several for name in names))


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to tell on one channel. What has the same `kind`, `subject` and `channel` is told once, ever."""

    kind: str
    subject: str
    channel: str
    said: JSONObject


@dataclass(frozen=True, slots=True)
class Text:
    """A message as it is read."""

    title: str
    body: str


def pause(tries: int) -> timedelta:
    """How long after the last of so many failed tries the next one comes."""
    return min(_LONGEST_PAUSE, _FIRST_PAUSE * float(2 ** min(max(0, tries - 1), 10)))


def compose(
    notices: Sequence[JSONObject], kinds: Sequence[str], links: Mapping[tuple[str, str], str], terms: NoticeTerms
) -> Text:
    """One message out of several notices, alike ones counted together.

    Args:
        notices: what each says, in the order in which they came.
        kinds: their kinds, in parallel.
        links: the newest project of each pool and tier.
        terms: in whose time deadlines are told, and of which workspace.
    """
    late = [said for said, kind in zip(notices, kinds, strict=True) if kind == "late"]
    others = [(said, kind) for said, kind in zip(notices, kinds, strict=True) if kind != "late"]
    lines = list(dict.fromkeys([*_late(late, links, terms.zone), *(_SAYS[kind](said) for said, kind in others)]))
    first = lines[0].partition("\n")[0]
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    whose = f"HITL Bridge, {terms.workspace}" if terms.workspace else "HITL Bridge"
    return Text(f"{whose}: {first}"[: _TITLE - len(more)] + more, "\n\n".join(lines))


def _late(notices: Sequence[JSONObject], links: Mapping[tuple[str, str], str], zone: tzinfo) -> Iterator[str]:
    groups: defaultdict[tuple[str, ...], list[JSONObject]] = defaultdict(list)
    for said in notices:
        groups[tuple(str(said.get(name)) for name in ("step", "pool", "tier", "from"))].append(said)
    for (step, pool, tier, _), some in groups.items():
        due = datetime.fromisoformat(min(str(said["due_at"]) for said in some)).astimezone(zone)
        told = f"{_items(len(some))} {_step(step, some[0], plural=len(some) > 1)} ({pool}, {tier}); due {due:%Y-%m-%d %H:%M %Z}"
        link = links.get((pool, tier))
        yield f"{told}{' for the first' if len(some) > 1 else ''}." + (f"\n{link}" if link else "")


def _step(step: str, said: JSONObject, *, plural: bool) -> str:
    are, have, were = ("are", "have", "were") if plural else ("is", "has", "was")
    if step.startswith("pool:"):
        return f"{were} handed over by {said.get('from')}, where nobody finished in time"
    return {
        "at_risk": f"{are} due soon",
        "lead_at_risk": f"{are} due soon",
        "overdue": f"{are} overdue",
        "lead": f"{are} still not finished",
        "adjudicator": f"{have} gone to an adjudicator, as nobody finished in time",
    }.get(step, f"{are} late")


def _items(count: int) -> str:
    return "1 item" if count == 1 else f"{count:,} items"


def _verdict(said: JSONObject) -> str:
    told = {
        "promote": "may go into production: it waits for a sign-off (hitl-bridge promote)",
        "hold": "is held by the gate",
        "unverified": "could not be verified: there is too little data",
    }
    return f"Model {said['candidate']} {told.get(str(said['verdict']), str(said['verdict']))}. See reports/verdict.md."


def _lot(said: JSONObject) -> str:
    why = "more of what was approved without a look is wrong than allowed"
    return f"Audit lot {said['lot_id']} is held: {why}. See hitl-bridge audit report."


def _reviewers(said: JSONObject) -> str:
    return "Somebody may be keeping what is filled in without reading it. See hitl-bridge reviewers report, and talk to them."


def _project(said: JSONObject) -> str:
    if said.get("turn") == "over":
        return f"Project {said['project']} is stopped no longer."
    worse = " still, and worse" if said.get("turn") == "worse" else ""
    return f"Project {said['project']} is stopped{worse}: {said['reason']}\n{said['remedy']}"


def _adjudicators(said: JSONObject) -> str:
    if said.get("turn") == "over":
        return f"Nothing in pool {said['pool']} waits in vain for an adjudicator any more."
    wait = f"{_items(int(str(said['items'])))} of pool {said['pool']}"
    return f"Nobody may settle {wait}: {ONLY_WHO_ASKED}.\n{NAME_SOMEBODY}"


_SAYS = {"verdict": _verdict, "lot": _lot, "reviewers": _reviewers, "project": _project, "adjudicators": _adjudicators}
