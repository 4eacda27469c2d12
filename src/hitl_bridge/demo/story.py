"""The demo's run, step by step. It only calls the verbs that a user would; what it prints is what they returned."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hitl_bridge.adapters.clock import SystemClock
from hitl_bridge.adapters.dvc.pipeline import DvcPipeline
from hitl_bridge.adapters.label_studio.client import LabelStudioClient
from hitl_bridge.bootstrap import Bridge, make_workspace, open_bridge
from hitl_bridge.core.model import ADJUDICATION
from hitl_bridge.core.trace import tell
from hitl_bridge.demo.labeling import DemoLabeling, open_labeling
from hitl_bridge.demo.reviewers import Manner, SimulatedReviewer
from hitl_bridge.demo.subjects import Day, Row, Subject, handwritten_digits, support_inbox
from hitl_bridge.errors import UsageError
from hitl_bridge.services.keeping.access import make_token
from hitl_bridge.services.keeping.init import InitRequest
from hitl_bridge.stages.predict import predict

if TYPE_CHECKING:
    from hitl_bridge.services.model.retrain import RetrainResult

APPROVER = "approver.demo-approver"
YOU = "demo-you@example.com"
YOUR_SHARE = 12
_LOOK_EVERY = 3.0


def run(directory: Path, *, human: bool, images: bool, url: str | None, keep: bool) -> None:
    """Runs the whole loop in a fresh workspace at `directory` (or beside it, if there is one already)."""
    subject = handwritten_digits() if images else support_inbox()
    root = _free(directory)
    story = Story(root, subject, human=human, out=Console(highlight=False, soft_wrap=not sys.stdout.isatty()))
    labeling = open_labeling(root, url, story.say)
    with attended(labeling, root, keep=keep):
        story.tell(labeling)


@contextmanager
def attended(labeling: DemoLabeling, root: Path, *, keep: bool) -> Iterator[None]:
    """At the end the Label Studio is left running if `keep`; not where Ctrl-C comes before anybody was told how to stop it."""
    try:
        yield
    except KeyboardInterrupt:
        keep = False
        raise KeyboardInterrupt(f"Stopped. A demo begins anew each time: what this one made in {root} can be deleted.") from None
    finally:
        if not keep:
            labeling.stop()


def _free(directory: Path) -> Path:
    """The first of DIR, DIR-2, DIR-3 … that is not there yet: a demo never writes over an earlier one."""
    for number in range(1, 100):
        place = directory if number == 1 else directory.with_name(f"{directory.name}-{number}")
        if not place.exists() or not any(place.iterdir()):
            return place
    raise UsageError(f"{directory} and 98 like it are taken.", remedy="Remove some, or name another directory.")


@dataclass
class Story:
    """One run of the demo."""

    root: Path
    subject: Subject
    human: bool
    out: Console
    began: float = field(default_factory=time.monotonic)
    verdicts: list[RetrainResult] = field(default_factory=list)
    approver_token: str = field(default="", repr=False)

    def tell(self, labeling: DemoLabeling) -> None:
        self._title()
        with self._step("Making a workspace"):
            self._make_workspace(labeling)
        with self._step("Starting Label Studio"):
            labeling.start()
        with self._step("Making the reviewers' accounts (for this demo only)"):
            people = self._people(labeling)
        with open_bridge(self.root) as bridge:
            with self._step("Training the first model on the base data (dvc repro)"):
                self._retrain(bridge, "the first model, trained on the base data")
            for day in self.subject.days:
                self._day(bridge, day, people, labeling)
            self._summary(bridge, labeling)

    # ------------------------------------------------------------------------------------------ the steps

    def _make_workspace(self, labeling: DemoLabeling) -> None:
        labels = tuple(sorted(set(self.subject.meanings.values())))
        task = re.search(r"^task: (\S+)", self.subject.policy, re.MULTILINE)
        assert task is not None  # noqa: S101  (the demo's own file)
        _name_committer()
        make_workspace(InitRequest(target=self.root, task=task.group(1), labels=labels, label_studio_url=labeling.url))
        policy = self.subject.policy.replace("http://127.0.0.1:8080", labeling.url)
        if self.human:
            policy = policy.replace("reviewers: [demo-ana@example.com,", f"reviewers: [{YOU}, demo-ana@example.com,", 1)
        (self.root / "hitl.yaml").write_text(policy, encoding="utf-8")
        base = self.root / "data" / "base"
        _write_rows(base / "train.jsonl", self.subject.train)
        _write_rows(base / "holdout.jsonl", self.subject.holdout)
        # A few hundred held-out items can rarely prove an improvement: the demo's gate asks only that nothing gets worse.
        params = self.root / "params.yaml"
        params.write_text(params.read_text("utf-8").replace("require_improvement: true", "require_improvement: false"), "utf-8")
        pipeline = DvcPipeline(self.root, "reviews")
        pipeline.save(f"Set up the demo: {self.subject.name}", ["hitl.yaml", "params.yaml", *pipeline.track_base()])
        self.say(f"{self.root}: {len(self.subject.train)} labelled to begin with, {len(self.subject.holdout)} held out")

    def _people(self, labeling: DemoLabeling) -> dict[str, SimulatedReviewer]:
        emails = sorted(set(re.findall(r"demo-[a-z]+@example\.com", self.subject.policy)))
        return {
            email: SimulatedReviewer(
                email,
                self._client(labeling, email),
                self.subject.meanings,
                Manner(error_rate=0.05),
            )
            for email in emails
        }

    def _client(self, labeling: DemoLabeling, email: str) -> LabelStudioClient:
        return LabelStudioClient(labeling.url, labeling.reviewer_token(email), SystemClock())

    def _retrain(self, bridge: Bridge, reason: str) -> None:
        result = bridge.retrain()
        self.verdicts.append(result)
        self.say(f"{result.candidate}: {_figures(result)}; the gate says {result.verdict}")
        for because in result.reasons:
            self.say(f"  {because}")
        if result.verdict == "promote":
            bridge.promote(reason=f"Demo: {reason}", token=self._approver_token(bridge))
            self.say(f"signed off by {APPROVER}")

    def _approver_token(self, bridge: Bridge) -> str:
        """In a demo one program is everybody; elsewhere the token is in the approver's hands."""
        if not self.approver_token:
            self.approver_token = make_token(bridge.access_tokens, bridge.clock, APPROVER, by="demo").token
        return self.approver_token

    def _day(self, bridge: Bridge, day: Day, people: dict[str, SimulatedReviewer], labeling: DemoLabeling) -> None:
        self.out.rule(Text(day.title), align="left")
        self.out.print(day.story, markup=False)
        slug = day.title.lower().replace(" ", "-")
        with self._step("The model predicts; the bridge triages"):
            inputs, predictions = self.root / f".hitl/{slug}-inputs.jsonl", self.root / f".hitl/{slug}-predictions.jsonl"
            _write_rows(inputs, day.inputs)
            predict(self.root, inputs, predictions)
            taken = bridge.ingest(str(predictions))
            self.say(f"{taken.accepted} predictions: {_counts(taken.tiers)}; {taken.audits} audits drawn by chance")
        with self._step("Pushing pre-annotated tasks to the experts"):
            pushed = bridge.push()
            for title, count in pushed.projects.items():
                self.say(f"{count:4} tasks  {title}")
        if self.human and day is self.subject.days[0]:
            self._your_turn(bridge, labeling)
        self._review(bridge, people)
        with self._step("Committing the decisions (DVC + git)"):
            committed = bridge.commit()
            self.say(f"{committed.tag}: {committed.added} added, {committed.changed} changed")
        self._audits(bridge, day)
        with self._step("Retraining on what reviewers decided (dvc repro)"):
            self._retrain(bridge, f"retrained after {day.title.lower()}")

    def _review(self, bridge: Bridge, people: dict[str, SimulatedReviewer]) -> None:
        """Reviewers answer; disputes and overturned audits go to the adjudicator, who answers too."""
        with self._step("Reviewers answer in Label Studio; the bridge brings the answers back"):
            given = _answer_all(bridge, people, adjudicate=False)
            pulled, resolved = bridge.pull(), bridge.resolve()
            self.say(f"{given} answers given, {pulled.revisions} brought back, {resolved.decisions} decisions")
            self.say(f"{resolved.disputed} disputed, {resolved.escalated} audits that disagree: to the adjudicator")
        if resolved.disputed or resolved.escalated:
            with self._step("The adjudicator settles them, seeing all the answers"):
                bridge.push()
                given = _answer_all(bridge, people, adjudicate=True)
                bridge.pull()
                self.say(f"{given} answers given, {bridge.resolve().decisions} decisions")

    def _audits(self, bridge: Bridge, day: Day) -> None:
        """What the audits say so far, beside the truth, which is known only because the demo's own."""
        audits = bridge.status().audits
        self.say(f"audits so far: {audits.get('decided', 0)} decided, {audits.get('overturned', 0)} found the model wrong")
        released, wrong = self._released(bridge, day)
        if released:
            share = f"{wrong / released:.1%}"
            self.say(
                f"the truth, known because the data are ours: {wrong} of {released} approved without a look were wrong ({share})"
            )

    def _released(self, bridge: Bridge, day: Day) -> tuple[int, int]:
        """Of a day's items, those that nobody saw, and those of them that were wrong."""
        meant = {str(row["item_id"]): self._meaning(row) for row in day.inputs}
        released = [row for row in _receipts(bridge) if row["item_id"] in meant and row["purpose"] is None]
        wrong = sum(json.loads(str(row["output"]))["label"] != meant[str(row["item_id"])] for row in released)
        return len(released), wrong

    def _meaning(self, row: Row) -> str:
        shown = row["input"]
        assert isinstance(shown, Mapping)  # noqa: S101  (the demo's own rows)
        return self.subject.meanings[str(shown[self.subject.shown_field])]

    def _your_turn(self, bridge: Bridge, labeling: DemoLabeling) -> None:
        """Leaves a dozen tasks of a quick project to the person at the keyboard, and waits."""
        yours = {name for name, pool in bridge.policy.pools.items() if YOU in pool.reviewers}
        project = next(each for each in bridge.store.projects() if each.key.tier == "quick" and each.key.pool in yours)
        you = SimulatedReviewer(YOU, self._client(labeling, YOU), {})
        password = labeling.reviewer_password(YOU)
        self.out.print("\nYour turn:", style="bold")
        self.out.print(f"  open      {project.url}\n  log in as {YOU}\n  password  {password}", markup=False)
        self.out.print(f"  then press “Label All Tasks” and answer {YOUR_SHARE} of them; this goes on by itself.", markup=False)
        done = -1
        while done < YOUR_SHARE:
            answered = you.answered(project.project_id)
            if answered != done:
                done = answered
                self.say(f"{done} of {YOUR_SHARE}")
            time.sleep(_LOOK_EVERY)

    # ----------------------------------------------------------------------------------------- the ending

    def _summary(self, bridge: Bridge, labeling: DemoLabeling) -> None:
        status = bridge.status()
        self.out.rule(Text("What happened"), align="left")
        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        for name, value in (
            ("tiers", _counts(status.tiers)),
            ("decisions", _counts(status.decisions)),
            ("audits", _counts(status.audits)),
            ("dataset version", str(status.dataset_version)),
            ("champion", str(status.champion)),
        ):
            table.add_row(Text(name, style="dim"), Text(value))
        self.out.print(table)
        projects = Table("project", "tasks", "answered", title="Review projects", title_justify="left", box=None)
        for row in status.projects:
            projects.add_row(Text(str(row.get("title"))), str(row.get("tasks")), str(row.get("answered")))
        self.out.print(projects)
        self._models()
        self._one_life(bridge)
        minutes = (time.monotonic() - self.began) / 60
        self.out.rule(Text(f"Done in {minutes:.1f} minutes. Now look around:"), align="left")
        self.say(f"Label Studio   {labeling.url}  (log in as {labeling.login()})")
        self.say(f"the workspace  {self.root}  (git log, dvc metrics show, dvc plots show)")
        self.say(f"a status       {_program()} -C {_short(self.root)} status")
        if labeling.is_ours:
            self.say(f"to stop it     {_program()} -C {_short(self.root)} label-studio stop")
        self.say("Written for the demo; evidence is in docs/benchmarks.md.")

    def _models(self) -> None:
        table = Table("model", "held-out accuracy", "on edge cases", "gate", title="Candidates", title_justify="left", box=None)
        for result in self.verdicts:
            table.add_row(Text(str(result.candidate)), _figure(result, "overall"), _figure(result, "edge"), str(result.verdict))
        self.out.print(table)

    def _one_life(self, bridge: Bridge) -> None:
        """The whole life of an item that reviewers disputed or corrected."""
        item_id = _telling_item(bridge)
        if item_id is None:
            return
        self.out.print(f"One item’s whole life ({item_id}):", style="bold")
        for line in tell(bridge.trace(item_id)):
            self.out.print(line, markup=False)

    def _title(self) -> None:
        self.out.rule(Text(f"HITL Bridge: the whole loop on {self.subject.name}"), align="left")

    def say(self, line: str) -> None:
        self.out.print(f"  {line}", markup=False)

    @contextmanager
    def _step(self, text: str) -> Iterator[None]:
        began = time.monotonic()
        self.out.print(text, style="bold")
        yield
        self.out.print(f"  {time.monotonic() - began:.0f} s", style="dim")


def _answer_all(bridge: Bridge, people: dict[str, SimulatedReviewer], *, adjudicate: bool) -> int:
    given = 0
    for project in bridge.store.projects():
        if (project.key.tier == ADJUDICATION) is adjudicate:
            pool = bridge.policy.pools[project.key.pool]
            for email in pool.adjudicators if adjudicate else pool.reviewers:
                if email in people:
                    given += people[email].work_through(project.project_id)
    return given


def _name_committer() -> None:
    """On a machine where git does not know its user yet, the demo's commits are the demo's; the user's settings stay."""
    for role in ("AUTHOR", "COMMITTER"):
        known = subprocess.run(["git", "var", f"GIT_{role}_IDENT"], capture_output=True, check=False)
        if known.returncode:
            os.environ[f"GIT_{role}_NAME"] = "HITL Bridge demo"
            os.environ[f"GIT_{role}_EMAIL"] = "demo@example.com"


def _receipts(bridge: Bridge) -> list[Mapping[str, object]]:
    """Every receipt of the workspace: of items that nobody saw, too."""
    import pyarrow.parquet as pq

    tables = (pq.read_table(bridge.paths.receipts / Path(file.path).name) for file in bridge.store.receipt_files())
    return [row for table in tables for row in table.select(["item_id", "purpose", "output"]).to_pylist()]


def _telling_item(bridge: Bridge) -> str | None:
    """An item that an adjudicator had to settle; else one that was corrected."""
    held = bridge.load_decisions()
    for wanted in (held[held["round"] > 1], held[held["outcome"] == "corrected"]):
        if len(wanted):
            return str(wanted.iloc[0]["item_id"])
    return None


def _write_rows(path: Path, rows: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _counts(counts: Mapping[str, int]) -> str:
    return " · ".join(f"{name} {count}" for name, count in counts.items()) or "–"


def _figures(result: RetrainResult) -> str:
    return f"held-out accuracy {_figure(result, 'overall')}, on edge cases {_figure(result, 'edge')}"


def _figure(result: RetrainResult, part: str) -> str:
    """Accuracy of the candidate on a part of the holdout, beside the champion's: `0.81 (champion 0.78)`."""
    said = [_accuracy(result.metrics.get(model), part) for model in ("candidate", "champion")]
    return f"{said[0]} (champion {said[1]})" if said[1] != "–" else said[0]


def _accuracy(model: object, part: str) -> str:
    figures = model.get(part) if isinstance(model, Mapping) else None
    accuracy = figures.get("accuracy") if isinstance(figures, Mapping) else None
    return f"{accuracy:.3f}" if isinstance(accuracy, float) else "–"


def _program() -> str:
    """This program as one would type it: by its name where that finds it, else by its path."""
    called = Path(sys.argv[0]).absolute()
    found = shutil.which("hitl-bridge")
    return "hitl-bridge" if found and Path(found).samefile(called) else _short(called)


def _short(path: Path) -> str:
    """A path as one would type it from here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
