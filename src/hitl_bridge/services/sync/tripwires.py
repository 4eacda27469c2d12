"""What no reviewer's work explains: then nothing in that project is touched until a person says that it is right."""

from __future__ import annotations

from hitl_bridge.core.model import ADJUDICATION, Project
from hitl_bridge.core.sync import (
    OVERLAP,
    RemoteTaskState,
    config_digest,
    earlier,
    label_config_changed,
    missing_among,
    vanished,
)
from hitl_bridge.errors import ProjectChanged
from hitl_bridge.ports import ProjectLook
from hitl_bridge.services.sync.reading import Reading

FEW = 10
"""So many tasks may be gone at once without anybody being asked whether that is right."""

FULL = 3
"""A project that held at least so many tasks and lists none is suspicious, few as they are."""

NEWEST = 10
"""So many of the newest annotations are looked for when one of them is not where it should be."""


def refuse_changed_config(reading: Reading, project: Project, look: ProjectLook) -> None:
    """Raises ProjectChanged unless the label config is the one that we left there or, if a push died on the way, the one
    that we want there."""
    if look.label_config_sha256 == project.label_config_sha256:
        return
    tier = project.key.tier
    known = tier in reading.policy.tiers or tier == ADJUDICATION
    if not known or look.label_config_sha256 != config_digest(reading.ports.label_config(tier)):
        raise label_config_changed(project)


def refuse_emptied(project: Project, listed: int, known: int) -> None:
    """Raises ProjectChanged if most tasks are gone: somebody emptied it, or it is not what it was."""
    gone = known - listed
    if (gone > FEW and 2 * gone > known) or (listed == 0 and known >= FULL):
        raise ProjectChanged(
            f"Project {project.title!r} lists only {listed} of {known} tasks; nothing was changed.",
            remedy="If that is right: hitl-bridge pull --accept-lost",
            much=gone,
        )


def was_restored(reading: Reading, project: Project, cursor: str, listed: list[RemoteTaskState]) -> bool:
    """Whether the labeling service has gone back in time, to before answers that we have.

    The newest annotations have to be among what changed since the cursor. If one is not, they are looked for on their
    tasks; what no deletion explains is a restore.
    """
    known = reading.ports.store.newest_annotations(project, NEWEST)
    if not missing_among(known, listed, earlier(cursor, OVERLAP)):
        return False
    there = reading.ports.labeling.states_of(project, sorted({each.task_id for each in known}))
    return bool(vanished(known, [*listed, *there]))


def restored(project: Project) -> ProjectChanged:
    return ProjectChanged(
        f"Answers of project {project.title!r} that were here are gone without having been deleted: Label Studio was restored "
        "from a backup; nothing was changed.",
        remedy="If that is right: hitl-bridge pull --accept-restored. The answers that the backup lacks stay in force.",
    )
