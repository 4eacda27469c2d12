"""The invariants that every fault test ends with (I1 to I9), as questions to the bridge, to Label Studio and to git and DVC.

Each returns sentences about what is wrong, none if all is well. They ask when all is quiet: faults are off, nobody works.
"""

from __future__ import annotations

import configparser
import hashlib
import json
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from hitl_bridge.bootstrap import Bridge
from hitl_bridge.core.model import Annotation, AnnotationState, ItemId, ItemState, Project, TaskState
from tests.faults.people import Account, Row
from tests.faults.task_filters import full_time
from tests.live.command_line import CommandLine

MOST_CYCLES: Final = 12
_TRAILER: Final = re.compile(r"^Bridge-Batch: (\S+)$", re.MULTILINE)
_POINTER: Final = re.compile(r"md5: ([0-9a-f]{32}\.dir)")
_DIRECTORIES: Final = ("decisions", "payloads")
_RESTLESS: Final = ("leases", "cursors")
"""Tables that change while nothing happens: signs of life, and when something was looked at."""


@dataclass(frozen=True)
class Remote:
    """What Label Studio holds: the tasks of each project that the bridge knows, None where the project is gone."""

    tasks: Mapping[int, Sequence[Row] | None]

    @staticmethod
    def look(bridge: Bridge, studio: Account) -> Remote:
        def tasks_of(project: Project) -> Sequence[Row] | None:
            there = studio.ask("GET", f"/api/projects/{project.project_id}/")
            return None if there is None else studio.tasks(project.project_id)

        return Remote({project.project_id: tasks_of(project) for project in bridge.store.projects()})

    def ours(self) -> Iterator[tuple[int, Row, str]]:
        """Project, task and key of every task that carries a key of the bridge."""
        for project_id, tasks in self.tasks.items():
            for task in tasks or ():
                if task["data"].get("bridge_key"):
                    yield project_id, task, task["data"]["bridge_key"]


# ------------------------------------------------------------------------------------------- I1, I2, I3: the reviews


def no_loss(bridge: Bridge, remote: Remote) -> list[str]:
    """I1: every annotation that is there is in our log as it is, and of those that are not there any more we know."""
    promised = {task.push_key: task for task in bridge.store.tasks_in(*TaskState)}
    known = {(each.annotation_id, each.created_at): each for each in bridge.store.annotations_of(list(promised))}
    wrong, seen = [], set()
    for _, task, key in remote.ours():
        for one in task["annotations"] if key in promised else ():
            identity = (one["id"], full_time(one["created_at"]))
            seen.add(identity)
            wrong += _differences(one, task["id"], known.get(identity))
    closed = {key for key, task in promised.items() if task.state is TaskState.CLOSED}
    for identity, each in known.items():
        if identity not in seen and each.state is not AnnotationState.TOMBSTONE and each.push_key not in closed:
            wrong.append(f"I1: annotation {each.annotation_id} of task {each.task_id} is gone, and we do not know of it.")
    return wrong


def _differences(there: Row, task_id: int, known: Annotation | None) -> list[str]:
    name = f"I1: annotation {there['id']} of task {task_id}"
    if known is None:
        return [f"{name} is not in our log."]
    if known.state is AnnotationState.TOMBSTONE:
        return [f"{name} is there, and we take it for deleted."]
    if known.updated_at != full_time(there["updated_at"]):
        return [f"{name} is known as of {known.updated_at}, and was changed at {there['updated_at']}."]
    if _canonical(known.result) != _canonical(there["result"]):
        return [f"{name} says something else in our log."]
    return []


def no_duplicates(bridge: Bridge, remote: Remote) -> list[str]:
    """I2: one task a key that nobody has answered, one open task an item and seat, no decision twice in a row."""
    states = {task.push_key: task.state for task in bridge.store.tasks_in(*TaskState)}
    keys = Counter(key for _, _, key in remote.ours())
    untouched = Counter(key for _, task, key in remote.ours() if not task["annotations"])
    wrong = [
        f"I2: {count} tasks carry the key {key}, {untouched[key]} of them without an answer."
        for key, count in keys.items()
        if count > 1 and untouched[key]
    ]
    live = {key for key, state in states.items() if state is TaskState.LIVE}
    gone = {project_id for project_id, tasks in remote.tasks.items() if tasks is None}
    if not gone:
        wrong += [f"I2: the task {key} is live in the store, and not there." for key in sorted(live - keys.keys())]
    for key in sorted(keys.keys() & states.keys() - live):
        wrong.append(f"I2: the task {key} is there, and {states[key]} in the store.")  # type: ignore[index]
    wrong += [f"I2: nobody promised the task {key}, which is there." for key in sorted(keys.keys() - states.keys())]
    return wrong + _doubled_decisions(bridge)


def _doubled_decisions(bridge: Bridge) -> list[str]:
    """The same again after another one is no double: the answer that had changed it was taken back."""
    wrong = []
    for item_id, decisions in _decisions(bridge).items():
        said = [_canonical([each["op"] == "remove", each["output"], sorted(each["annotations"])]) for each in decisions]
        if any(one == following for one, following in pairwise(said)):
            wrong.append(f"I2: item {item_id} was decided twice in a row by the same answers.")
    return wrong


def decisions_stand(bridge: Bridge, remote: Remote) -> list[str]:
    """I2: what holds of an item rests on answers that are there, or its task is gone."""
    there = {one["id"]: one for _, task, _ in remote.ours() for one in task["annotations"] if not one["was_cancelled"]}
    closed = {task.item_id for task in bridge.store.tasks_in(TaskState.CLOSED)}
    wrong = []
    for item_id, decisions in _decisions(bridge).items():
        last: Any = decisions[-1] if decisions else {"op": "remove", "annotations": []}
        behind = [int(key.partition("@")[0].partition("/")[2]) for key in last["annotations"]]
        lost = [number for number in behind if number not in there]
        if last["op"] != "remove" and lost and item_id not in closed:
            wrong.append(f"I2: item {item_id} is decided by annotation {lost[0]}, which is not there.")
    return wrong


def cursor_safety(bridge: Bridge, remote: Remote) -> list[str]:
    """I3: whatever changed before a project's cursor is in the store."""
    promised = {task.push_key for task in bridge.store.tasks_in(*TaskState)}
    known = {(each.annotation_id, each.updated_at) for each in bridge.store.annotations_of(list(promised))}
    wrong = []
    for project in bridge.store.projects():
        cursor = bridge.store.cursor(project.project_id) or ""
        for task in remote.tasks.get(project.project_id) or ():
            covered = full_time(task["updated_at"]) <= cursor and task["data"].get("bridge_key") in promised
            for one in task["annotations"] if covered else ():
                if (one["id"], full_time(one["updated_at"])) not in known:
                    wrong.append(f"I3: the cursor {cursor} covers annotation {one['id']}, which is not in the store.")
    return wrong


def decisions_of(bridge: Bridge, item_id: ItemId) -> list[Any]:
    """All decisions on an item, oldest first."""
    found: Any = bridge.store.insights().life_of(item_id)["decisions"]
    return list(found)


def _decisions(bridge: Bridge) -> dict[str, list[Any]]:
    return {item.item_id: decisions_of(bridge, item.item_id) for item in bridge.store.items_in(*ItemState)}


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=list)


# ----------------------------------------------------------------------------------------------- I4: the audit log


def audit_integrity(bridge: Bridge, *, anchored: bool = True) -> list[str]:
    """I4: the chain verifies, and (where there is git: `anchored`) every dataset commit carries a head of it."""
    report = bridge.verify_audit() if anchored else bridge.store.verify_audit({})
    wrong = [f"I4: row {problem.seq} of the audit log: {problem.what}" for problem in report.problems]
    versions = len(bridge.store.dataset_versions())
    if report.anchors < versions:
        wrong.append(f"I4: {versions} dataset versions, and only {report.anchors} of them carry a head of the audit log.")
    return wrong if report.head.seq else [*wrong, "I4: the audit log is empty."]


# -------------------------------------------------------------------------------------------- I5: dataset versions


def version_integrity(bridge: Bridge, root: Path) -> list[str]:
    """I5: every version can be rebuilt from the DVC remote in an empty clone, and is what the manifest and the store say.

    The clone stands beside the workspace, so that a remote with a relative address is the same to both.
    """
    CommandLine(root).git("clone", "--quiet", "--branch", "reviews", str(root), str(root.parent / "rebuilt"))
    clone = CommandLine(root.parent / "rebuilt")
    tags = clone.git("tag", "--list", "decisions@*").split()
    if tags:
        _name_remote_in_full(clone)
        clone.dvc("fetch", "--quiet", "--all-tags")
    held = {tag: _Rebuilt.read(clone, tag) for tag in tags}
    wrong = [f"I5: {tag}: {what}" for tag, rebuilt in held.items() for what in rebuilt.problems]
    wrong += _batches_problems(clone, tags)
    known = {version.tag: version.git_commit for version in bridge.store.dataset_versions()}
    wrong += [f"I5: {tag} is in git alone or in the store alone." for tag in sorted(set(tags) ^ known.keys())]
    moved = [tag for tag in tags if tag in known and clone.git("rev-parse", f"{tag}^{{commit}}") != known[tag]]
    wrong += [f"I5: {tag} is at another commit than the store says." for tag in moved]
    return wrong + _content_problems(bridge, held)


def _name_remote_in_full(clone: CommandLine) -> None:
    """For versions of the past, DVC looks for a remote with a relative address at the root of the file system."""
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(clone.root / ".dvc" / "config", encoding="utf-8")
    name = settings["core"]["remote"]
    url = settings[f"'remote \"{name}\"'"]["url"]
    if "://" not in url:
        clone.dvc("remote", "modify", "--quiet", "--local", name, "url", str((clone.root / ".dvc" / url).resolve()))


@dataclass(frozen=True)
class _Rebuilt:
    """A version as an empty clone gets it: the ids of the decisions in its own file, and what is wrong with its files."""

    decisions: Sequence[str]
    problems: Sequence[str]

    @staticmethod
    def read(clone: CommandLine, tag: str) -> _Rebuilt:
        manifest = dict(line.split("  ")[::-1] for line in clone.git("show", f"{tag}:data/decisions.sha256").splitlines())
        files = {path: place for name in _DIRECTORIES for path, place in _files(clone, tag, name)}
        problems = [f"{path} is in {where} alone" for path, where in _only_in(manifest, files)]
        for path in manifest.keys() & files.keys():
            if not files[path].exists():
                problems.append(f"{path} did not come from the remote")
            elif hashlib.sha256(files[path].read_bytes()).hexdigest() != manifest[path]:
                problems.append(f"{path} is not what was published")
        own = files.get(f"data/decisions/{tag.partition('@')[2]}.parquet")
        readable = own is not None and own.exists() and not problems
        rows = pq.read_table(own, columns=["item_id", "revision", "seq"]).to_pylist() if readable else []
        return _Rebuilt([f"{row['item_id']}#{row['revision']}.{row['seq']}" for row in rows], problems)


def _files(clone: CommandLine, tag: str, name: str) -> Iterator[tuple[str, Path]]:
    """Path in the workspace and place in the clone's cache of each file of a folder that DVC keeps."""
    pointer = _POINTER.search(clone.git("show", f"{tag}:data/{name}.dvc"))
    listing = _cached(clone.root, pointer[1]) if pointer else None
    for entry in json.loads(listing.read_bytes()) if listing and listing.exists() else ():
        yield f"data/{name}/{entry['relpath']}", _cached(clone.root, entry["md5"])


def _cached(root: Path, md5: str) -> Path:
    return root / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]


def _only_in(manifest: Iterable[str], files: Iterable[str]) -> Iterator[tuple[str, str]]:
    listed, there = set(manifest), set(files)
    yield from ((path, "the manifest") for path in sorted(listed - there))
    yield from ((path, "DVC") for path in sorted(there - listed))


def _batches_problems(clone: CommandLine, tags: Sequence[str]) -> list[str]:
    """One commit a batch, one tag a commit."""
    batches = Counter(_TRAILER.findall(clone.git("log", "--format=%B%n", "reviews")))
    wrong = [f"I5: batch {batch} was committed {count} times." for batch, count in batches.items() if count > 1]
    if len(batches) != len(tags):
        wrong.append(f"I5: {len(batches)} batches were committed, and there are {len(tags)} tags.")
    return wrong


def _content_problems(bridge: Bridge, held: Mapping[str, _Rebuilt]) -> list[str]:
    """Each decision is in the one version in which the store says that it is."""
    published = Counter((tag.partition("@")[2], name) for tag, rebuilt in held.items() for name in rebuilt.decisions)
    stored = Counter((each["version"], each["decision_id"]) for each in _last_of_each_version(bridge))
    wrong = [f"I5: decision {name} is in {version}, and the store does not say so." for version, name in published - stored]
    wrong += [f"I5: decision {name} is not in {version}, and the store says so." for version, name in stored - published]
    twice = [name for name, count in Counter(name for _, name in published.elements()).items() if count > 1]
    return wrong + [f"I5: decision {name} is in more than one version." for name in twice]


def _last_of_each_version(bridge: Bridge) -> list[Any]:
    """Of what was decided of an item between two versions, the later one holds the last word."""
    last: dict[tuple[str, str, int], Any] = {}
    for item_id, decisions in _decisions(bridge).items():
        for each in decisions:
            if each["version"] is not None:
                last[each["version"], item_id, each["revision"]] = each
    return list(last.values())


# ------------------------------------------------------------------------------------------------ I6: termination


def termination(bridge: Bridge, root: Path, cycle: Callable[[], bool]) -> list[str]:
    """I6: after a bounded number of cycles nothing happens any more. `cycle` runs one, and says whether it did anything."""
    count = next((number for number in range(MOST_CYCLES) if not cycle()), None)
    if count is None:
        return [f"I6: it was not quiet after {MOST_CYCLES} cycles."]
    before = _settled_rows(root)
    cycle()
    changed = _settled_rows(root) - before
    wrong = [f"I6: a cycle with nothing to do wrote: {line[:160]}" for line in list(changed)[:5]]
    waiting = bridge.store.tasks_in(TaskState.INTENDED, TaskState.UNKNOWN)
    wrong += [f"I6: the task {task.push_key} is {task.state} for ever." for task in waiting]
    queued = bridge.store.items_in(ItemState.QUEUED)
    return wrong + [f"I6: item {item.item_id} waits for ever to be pushed." for item in queued]


def _settled_rows(root: Path) -> Counter[str]:
    """All rows of an embedded store but those that change by themselves."""
    with closing(sqlite3.connect(f"file:{root}/.hitl/bridge.db?mode=ro", uri=True)) as store:
        tables = [name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        kept = [name for name in tables if name not in _RESTLESS and not name.startswith("sqlite")]
        rows = Counter(f"{name}: {row}" for name in kept for row in store.execute(f'SELECT * FROM "{name}"'))  # noqa: S608
    return Counter({row: count for row, count in rows.items() if "'cycle'" not in row})


# ------------------------------------------------------------------------------------------------------ I7 to I9


@dataclass(frozen=True)
class Canaries:
    """What must not come out. `secrets` are tokens: they may be in no file but those named `token`. `private` are input texts
    and e-mail addresses: they may be in the store and in the payloads, and neither in logs nor in git."""

    secrets: Sequence[str] = field(repr=False)
    private: Sequence[str] = ()


def no_leak(root: Path, logs: Sequence[Path], canaries: Canaries) -> list[str]:
    """I7: no secret and nothing private where it does not belong."""
    wrong = []
    for path in (path for path in (*root.rglob("*"), *logs) if path.is_file() and path.name != "token"):
        content = path.read_bytes()
        if any(secret.encode() in content for secret in canaries.secrets):
            wrong.append(f"I7: a token stands in {path.name}.")
    for log in logs:
        wrong += [f"I7: something private stands in {log.name}: {text}" for text in canaries.private if text in _text(log)]
    return wrong + (_told_by_git(root, canaries) if (root / ".git").exists() else [])


def _text(path: Path) -> str:
    return path.read_text("utf-8", errors="replace") if path.exists() else ""


def _told_by_git(root: Path, canaries: Canaries) -> list[str]:
    """Everything that was ever committed since the workspace was made (its policy names its reviewers), and decision files."""
    said = CommandLine(root).git("log", "--all", "--patch", "--format=%B", "--", "data", "models", "reports")
    for path in (root / "data" / "decisions").glob("*.parquet"):
        said += str(pq.read_table(path).to_pylist())
    return [f"I7: something private was committed: {text}" for text in canaries.private if text in said]


def isolation(bridge: Bridge, poison: Iterable[str]) -> list[str]:
    """I8: what the labeling service does not take is set aside with a reason, and nothing else is."""
    aside = {item.item_id for item in bridge.store.items_in(ItemState.QUARANTINED, ItemState.FAILED)}
    wrong = [f"I8: item {name} was not set aside." for name in sorted(set(poison) - aside)]
    wrong += [f"I8: item {name} was set aside with the bad ones." for name in sorted(aside - set(poison))]
    told = {str(each.get("item_id")): each.get("reason") for each in bridge.store.insights().problems()}
    return wrong + [f"I8: nobody is told why {name} was set aside." for name in sorted(set(poison) & aside) if not told.get(name)]


def work_happened(counts: Mapping[str, int], least: Mapping[str, int]) -> list[str]:
    """I9: a test in which nothing happened proves nothing."""
    return [
        f"I9: only {counts.get(name, 0)} {name}, at least {wanted} are due."
        for name, wanted in least.items()
        if counts.get(name, 0) < wanted
    ]


def of_the_reviews(bridge: Bridge, studio: Account) -> list[str]:
    """I1, I2 and I3."""
    remote = Remote.look(bridge, studio)
    questions = (no_loss, no_duplicates, decisions_stand, cursor_safety)
    return [sentence for question in questions for sentence in question(bridge, remote)]
