"""The policy of the settings: does it let more through than what somebody has agreed to, and who says yes?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from hitl_bridge.cli.options import Json, Sign, Why, open_workspace
from hitl_bridge.cli.render import console, facts, print_json

if TYPE_CHECKING:
    from hitl_bridge.services.policy.sign_off import PolicyStanding

app = typer.Typer(no_args_is_help=True, help="The policy of hitl.yaml: what a change loosens, and who agrees to that.")

_WITH_PROBLEMS = 1


@app.command()
def show(context: typer.Context, as_json: Json = False) -> None:
    """Tell what hitl.yaml lets through that was not agreed to. Writes nothing."""
    with open_workspace(context) as bridge:
        standing = bridge.policy_standing()
    _tell(standing, as_json=as_json)
    if standing.waits:
        raise typer.Exit(_WITH_PROBLEMS)


@app.command()
def approve(context: typer.Context, reason: Why, sign: Sign = False, as_json: Json = False) -> None:
    """Agree to what hitl.yaml loosens (and to other allowed signers): HITL_APPROVER_TOKEN (or its file), or a signed tag."""
    with open_workspace(context) as bridge:
        standing = bridge.approve_policy(reason=reason, sign=sign)
    if as_json:
        print_json(standing)
    else:
        console().print(f"{standing.policy} is in force, agreed to by {standing.by}.", markup=False)


def _tell(standing: PolicyStanding, *, as_json: bool) -> None:
    if as_json:
        print_json(standing)
        return
    agreed = f"{standing.in_force}, by {standing.by}" if standing.in_force else "none: the first that is used becomes the measure"
    facts(
        "The policy waits for a sign-off" if standing.waits else "The policy may decide",
        {"hitl.yaml": standing.policy, "agreed to": agreed, "lets more through": "\n".join(standing.loosens) or "no"},
    )
    if standing.signers_changed:
        console().print("The allowed signers are others than those that were agreed to.", markup=False)
