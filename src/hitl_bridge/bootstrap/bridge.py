"""A workspace's verbs, each one call of a service."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, overload

from hitl_bridge.bootstrap.modelling import Modelling
from hitl_bridge.bootstrap.opened import COMMIT
from hitl_bridge.bootstrap.prior import Recalling
from hitl_bridge.bootstrap.timing import Timing
from hitl_bridge.core.audits.lots import LotVerdict
from hitl_bridge.core.model import JSON, Item, ItemId, Prediction, Problem, ProjectId, TaskState
from hitl_bridge.ports import Event, Lease
from hitl_bridge.settings import read_token

if TYPE_CHECKING:
    import pandas as pd

    from hitl_bridge.core.planning.planned import PlanResult
    from hitl_bridge.core.triage.replay import Replayed
    from hitl_bridge.services.dataset.commit import CommitResult
    from hitl_bridge.services.desk.assignment import Handed
    from hitl_bridge.services.insights import Status
    from hitl_bridge.services.intake.ingest import IngestResult
    from hitl_bridge.services.intake.online import Triaged
    from hitl_bridge.services.intake.online_desk import Desk
    from hitl_bridge.services.policy.plan import PlanWish
    from hitl_bridge.services.sync.cycle import CycleResult
    from hitl_bridge.services.sync.pull import PullResult
    from hitl_bridge.services.sync.push import Progress, PushResult, PushWish
    from hitl_bridge.services.sync.resolve import ResolveResult
    from hitl_bridge.services.sync.webhooks import WebhooksKept


class Bridge(Timing, Modelling, Recalling):
    """The verbs of a workspace. What a verb does not need is not opened: `status` works while Label Studio is away.

    Verbs that change something hold a lease: a command run by hand and a daemon never interleave, on one machine or on two.
    """

    # ------------------------------------------------------------------------------------------------------ the loop

    def ingest(self, source: str, *, dry_run: bool = False, progress: Callable[[int], None] | None = None) -> IngestResult:
        """Reads predictions from a file, or from standard input if `source` is `-`."""
        from hitl_bridge.adapters.allocator import freed_memory_kept
        from hitl_bridge.adapters.interpreter import short_turns
        from hitl_bridge.services.intake.ingest import ingest

        with self._alone(), freed_memory_kept(), short_turns():
            policy = self.policy if dry_run else self._kept_policy()
            return ingest(self._ingest_ports, policy, source, dry_run=dry_run, progress=progress)

    @overload
    def triage(self, predictions: Prediction) -> Triaged | Problem: ...
    @overload
    def triage(self, predictions: Sequence[Prediction]) -> list[Triaged | Problem]: ...
    def triage(self, predictions: Prediction | Sequence[Prediction]) -> Triaged | Problem | list[Triaged | Problem]:
        """Triages a prediction, or several at once, and answers with tier and receipt; durable when this returns.

        The same prediction again gives the same answer. What a person is to see is queued by the next cycle. What `ingest`
        would list as a problem comes back as a `Problem`; its `row` counts from 1.
        """
        from hitl_bridge.services.intake.online import triaged

        several = [predictions] if isinstance(predictions, Prediction) else predictions
        results = triaged(self._own_answering, several)
        return results[0] if isinstance(predictions, Prediction) else results

    @contextmanager
    def online_desk(self, failed: Callable[[str], None]) -> Iterator[Desk]:
        """Where many may ask at the same time, each request as `triage` does; `failed` hears the kind of an error.

        It waits no longer than a few seconds for others who write to the store.
        """
        from hitl_bridge.adapters.sql.store import open_store
        from hitl_bridge.services.intake.online_desk import PATIENCE, Desk

        store = open_store(self.settings.store_url, self.settings.root, patience=PATIENCE)
        with closing(store), Desk(self._answering(store.online()).answer, failed) as desk:
            yield desk

    def flush_online(self) -> int:
        """Makes files of receipts, and items, of the predictions that were answered since the last time; how many. Part of
        `push`, and of `ingest`."""
        from hitl_bridge.services.intake.online import flush

        with self._alone():
            return flush(self._flush_ports)

    def push(
        self,
        *,
        dry_run: bool = False,
        replace_gone: bool = False,
        restore_label_config: bool = False,
        progress: Progress | None = None,
    ) -> PushResult:
        """Creates the tasks that are due. With `replace_gone`, projects that were deleted are given up and made anew; with
        `restore_label_config`, ours is put back where somebody changed it."""
        from hitl_bridge.services.sync.push import PushWish, push

        wish = PushWish(replace_gone, restore_label_config)
        with self._alone():
            if dry_run:
                return replace(self._foreseen(), not_foreseen=tuple(self._not_foreseen(wish)))
            self.flush_online()
            self.share_out()
            self.ask_known()
            return push(self._push_ports, self.policy, wish, progress=progress)

    def _foreseen(self) -> PushResult:
        from hitl_bridge.services.sync.push import foresee

        policy, queued = self._queue_to_come()

        def hand_out(items: Sequence[Item]) -> Handed:
            return self._handed(policy, items)

        key, now, by_reviewer = self.settings.workspace_key, self.clock.now(), self.settings.by_reviewer
        return foresee(self.store, policy, key, now, queued, hand_out if by_reviewer else None)

    def _not_foreseen(self, wish: PushWish) -> Iterator[str]:
        """What only the push itself finds out, or does first."""
        if self.store.online().waiting(1):
            yield "predictions that were answered online and are no items yet: they become some first"
        unclear = sum(self.store.task_counts(TaskState.UNKNOWN).values())
        if unclear:
            yield f"whether tasks of unclear outcome ({unclear:,}) are there already: Label Studio is asked first"
        if self.policy.gold.onboarding and self._roster_to_come()[0].left:
            yield "what waits in projects of people who have left the roster: it is asked again first"
        if wish.replace_gone or wish.restore_label_config:
            yield "which projects are gone, or have another label config: Label Studio is asked first"

    def pull(
        self,
        *,
        accept_lost: bool = False,
        accept_restored: bool = False,
        sweep: bool = False,
        only: Collection[ProjectId] | None = None,
        between: Callable[[], object] = lambda: None,
    ) -> PullResult:
        """Brings back what changed, in all projects or `only` in some. With `sweep` they are compared as a whole. With
        `accept_lost` it is believed when most tasks of a project are gone, with `accept_restored` when Label Studio was
        restored from a backup. `between` is called before each project: whoever waits may be served then."""
        from hitl_bridge.services.sync.pull import pull
        from hitl_bridge.services.sync.reading import PullPorts, PullWish

        ports = PullPorts(self.store, self.labeling, self.label_config, self.clock)
        wish = PullWish(only, sweep, self.settings.daemon.sweep_every, accept_lost, accept_restored)
        with self._alone():
            return pull(ports, self.policy, wish, between=between)

    def resolve(self, *, dry_run: bool = False) -> ResolveResult:
        """Settles what changed."""
        from hitl_bridge.services.desk.agreement import LearnedWeighing
        from hitl_bridge.services.desk.gold import Lessons
        from hitl_bridge.services.sync.resolve import resolve

        if not dry_run:
            self.keep_roster()
        with self._alone():
            weigh = LearnedWeighing(self.store.agreement(), self.policy).of
            lessons = Lessons(self.store.gold()).of
            result = resolve(self.store, self.policy, self.clock, weigh, lessons, dry_run=dry_run)
        if not dry_run:
            self.pass_learners()
        return result

    def _resolve_in_time(self) -> ResolveResult:
        """Settles what changed; then what nobody has finished in time is escalated."""
        resolved = self.resolve()
        self.escalate()
        return resolved

    def commit(self, *, dry_run: bool = False) -> CommitResult:
        """Commits what was decided; then tags of models go to the git remote that it has not taken before."""
        from hitl_bridge.services.dataset.commit import commit

        with self._alone(COMMIT):
            result = commit(self._commit_ports, self.settings.labels, dry_run=dry_run)
        if dry_run:
            return result
        tags = self._catch_up_tags()
        return replace(result, caught_up=tags.taken, unpublished=tags.unpublished)

    def sync(self, *, accept_restored_store: bool = False) -> CycleResult:
        """One cycle. With `accept_restored_store` a store that is older than what was published from it is believed."""
        from hitl_bridge.services.sync.cycle import CycleResult

        if accept_restored_store:
            self.accept_restored_store()
        result = CycleResult(self.push(), self.pull(), self._resolve_in_time(), self.push(), self.commit())
        result = replace(result, lots=self.keep_lots())
        self.keep_thresholds()
        self.record_cycle(did_something=result.did_something)
        return replace(result, notices=self.send_notices(result.troubles))

    # ------------------------------------------------------------------------------------------- looking, and models

    def status(self) -> Status:
        """How things stand."""
        from hitl_bridge.services.desk.escalation import deadline_lines
        from hitl_bridge.services.insights import status

        order = [tier.name for tier in self.policy.plan.tiers]
        found = status(self.store, self.store.insights(), self.paths, self.clock, order)
        rows, rate = self.store.lots().verdicts().values(), self.store.lots().audit_rate()
        lines = deadline_lines(self.store.escalations(), self.policy, self.clock.now())
        return replace(
            found,
            at_risk=sum(line.at_risk for line in lines),
            deadlines=lines,
            notices_waiting=self.notices_waiting(),
            nobody_settles=self.nobody_settles(),
            lots=dict(Counter(str(row.verdict) for row in rows)),
            held=[row.lot.lot_id for row in rows if row.verdict is LotVerdict.HELD],
            audit_rate_raised=None if rate is None or rate.rate is None else rate.reason,
        )

    def trace(self, item_id: str) -> Mapping[str, JSON]:
        """An item's whole life."""
        from hitl_bridge.services.insights import trace

        return trace(self.store, self.store.online(), self.store.insights(), self.receipts, self.paths, ItemId(item_id))

    def trace_model(self, model_version: str) -> Mapping[str, JSON] | None:
        """What a model was made from, today's or an earlier one; None if none is called that."""
        from hitl_bridge.adapters.dvc.past_models import DvcPastModels
        from hitl_bridge.services.model.lineage import LineagePorts, model_life

        settings = self.settings
        past = DvcPastModels(settings.root, settings.git_branch, settings.pipeline_file)
        ports = LineagePorts(self.paths, self.store.dataset_versions(), self.store.sign_offs(), past)
        return model_life(ports, model_version)

    def replay(self, item_id: str) -> list[Replayed]:
        """Every receipt of an item, computed again from the policy that it names and compared column for column."""
        from hitl_bridge.services.policy.replay import replay_receipts

        receipts = self.trace(item_id)["receipts"]
        found = receipts if isinstance(receipts, list) else []
        return replay_receipts(self.store.policies(), self._engine, self.settings.workspace_key, found)

    def plan(
        self, policy: Path | None = None, wish: PlanWish | None = None, *, progress: Callable[[int, int], None] | None = None
    ) -> PlanResult:
        """What today's policy, and the one of another settings file beside it, will ask of people and let through."""
        from hitl_bridge.services.policy.plan import TODAY, PlanWish, plan

        policies = {TODAY: self.policy}
        if policy is not None:
            policies[policy.name] = self._policy_of(policy)
        return plan(self._plan_ports, policies, wish or PlanWish(), self.policy.budget.budget, progress)

    def load_decisions(self, version: str | None = None) -> pd.DataFrame:
        """What held at a dataset version (the latest if None), one row an item, with inputs and rationales."""
        from hitl_bridge.services.dataset.decisions import decisions_at

        held: pd.DataFrame = decisions_at(self.dataset, version).to_pandas()
        return held

    # ------------------------------------------------------------------------------------------------ for the daemon

    def twin(self) -> Bridge:
        """The same workspace opened once more: threads share no bridge."""
        return Bridge(self.settings, labeling=self._given_labeling, clock=self.clock)

    def record_cycle(self, *, did_something: bool) -> None:
        """What `status` tells as the last cycle."""
        self.store.record_events([Event(self.clock.now(), "cycle", detail={"did_something": did_something})])

    def check_lease(self, lease: Lease) -> None:
        """Raises LeaseLost if somebody has taken over."""
        self.store.leases().check(lease)

    def renew_token(self) -> bool:
        """Reads Label Studio's token again; whether it is another one now, which the next call uses."""
        token = read_token(self.settings.root)
        if token == self.settings.token:
            return False
        self.settings = replace(self.settings, token=token)
        for made_with_it in ("labeling", "_client", "_push_ports", "_quarantine_ports"):
            self.__dict__.pop(made_with_it, None)
        return True

    def keep_webhooks(self) -> WebhooksKept:
        """Sees to it that Label Studio calls `daemon.webhook_url` when somebody answers."""
        from hitl_bridge.adapters.label_studio.webhooks import LabelStudioWebhooks
        from hitl_bridge.services.sync.webhooks import WebhooksKept, keep_webhooks

        url = self.settings.daemon.webhook_url
        if url is None or self._given_labeling is not None:
            return WebhooksKept()
        return keep_webhooks(self.store, LabelStudioWebhooks(self._client), self.clock, self.settings.workspace_key, url)

    def labeling_requests(self) -> tuple[int, int]:
        """How many requests the present client has made; the first number tells clients apart."""
        there = self.__dict__.get("labeling")
        return (id(there), there.requests_made) if there is not None else (0, 0)

    def ping_store(self) -> None:
        """Raises StoreUnavailable."""
        self.store.audit_head()

    def ping_labeling(self) -> None:
        """Raises LabelingUnavailable and AccessRefused; a token that was renewed meanwhile is used."""
        self.renew_token()
        self.labeling.ping()

    def ping_dataset(self) -> None:
        """Raises OutsideUnavailable if the git or DVC remote can't be reached."""
        from hitl_bridge.adapters.dvc.reachable import ping

        ping(self.settings.root, self.settings.git_remote)

    @property
    def process(self) -> str:
        """The name of this process among all that hold leases."""
        return self._lease_terms.holder
