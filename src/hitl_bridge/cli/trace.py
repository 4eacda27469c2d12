"""The whole life of an item, and what a model was made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from hitl_bridge.cli.options import Json, open_workspace
from hitl_bridge.cli.render import console, facts, grid, print_json
from hitl_bridge.core.model import JSON
from hitl_bridge.core.trace import tell

if TYPE_CHECKING:
    from hitl_bridge.core.triage.replay import Replayed

_DIFFERENT = 1


def trace(
    context: typer.Context,
    item: Annotated[str, typer.Argument(metavar="ITEM", help="The item's id, or a model's version.")],
    replay: Annotated[
        bool, typer.Option("--replay", help="Compute its receipts again from the policy of the time, and compare.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Tell the whole life of an item, or what a model was made from."""
    if replay:
        _replay(context, item, as_json=as_json)
        return
    with open_workspace(context) as bridge:
        model = bridge.trace_model(item)
        life = model or bridge.trace(item)
    if as_json:
        print_json(life)
        return
    if model is not None:
        _tell_model(model)
        return
    console().print(f"Item {item}", style="bold", markup=False)
    for line in tell(life):
        console().print(line, markup=False)


_OF_A_MODEL = (
    ("Dataset versions", "versions", ("version", "added", "changed", "removed", "git_commit")),
    ("Trained", "trainings", ("at", "by", "verdict", "dataset_version")),
    ("In production", "in_production", ("number", "version", "since", "by", "reason")),
)


def _tell_model(model: Mapping[str, JSON]) -> None:
    trained, figures, verdict, sign_off, recipe = (
        each if isinstance(each := model.get(name), Mapping) else {}
        for name in ("trained_on", "figures", "verdict", "sign_off", "recipe")
    )
    overall = figures.get("overall")
    roles = model.get("roles")
    facts(
        f"Model {model.get('model_version')}",
        {
            "is": ", ".join(str(role) for role in roles) if isinstance(roles, list) else "",
            "trained by": recipe.get("trainer"),
            "on": f"{trained.get('rows')} items: {_pairs(trained.get('sources'))}" if trained else "no longer known here",
            "snapshot": trained.get("snapshot_sha256"),
            "figures": _pairs(overall) if overall else "none yet",
            "gate": verdict.get("verdict") or "nothing yet",
            "signed off": f"{sign_off.get('by')}, {_short('at', sign_off.get('promoted_at'))}" if sign_off else "never in use",
        },
    )
    for title, name, columns in _OF_A_MODEL:
        rows = model.get(name)
        if isinstance(rows, list) and rows:
            shown = [[_short(column, each.get(column)) for column in columns] for each in rows if isinstance(each, Mapping)]
            grid(title, [column.replace("_", " ") for column in columns], shown)


def _pairs(told: JSON) -> str:
    """`base 2023 · decisions 178`."""
    return " · ".join(f"{name} {value}" for name, value in told.items()) if isinstance(told, Mapping) else "–"


def _short(column: str, value: JSON) -> JSON:
    """Times to the minute, and as much of a commit as git shows: a table has little room, and `--json` the rest."""
    if not isinstance(value, str):
        return value
    if column in ("at", "since"):
        return f"{value[:16].replace('T', ' ')} UTC"
    return value[:10] if column == "git_commit" else value


def _replay(context: typer.Context, item: str, *, as_json: bool) -> None:
    with open_workspace(context) as bridge:
        found = bridge.replay(item)
    if as_json:
        print_json({"item_id": item, "replayed": [{**asdict(each), "same": each.same} for each in found]})
    else:
        rows = [(each.revision, each.model_version, each.policy_version, _outcome(each)) for each in found]
        grid(f"Receipts of {item}, computed again", ("revision", "model", "policy", "outcome"), rows)
    if not all(each.same for each in found):
        raise typer.Exit(_DIFFERENT)


def _outcome(replayed: Replayed) -> str:
    if replayed.problem:
        return f"can't be computed: {replayed.problem}"
    return "the same" if replayed.same else f"different: {', '.join(replayed.differs)}"
