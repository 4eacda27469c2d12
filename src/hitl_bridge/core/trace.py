"""An item's life, told: what `trace` knows, as sentences in the order in which things happened."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from hitl_bridge.core.model import JSON, Op, Request


def tell(life: Mapping[str, JSON]) -> list[str]:
    """A line for each thing that happened to the item. `life` is what `services.insights.trace` returns."""
    lines = [line for receipt in _rows(life, "receipts") for line in _triaged(receipt)]
    lines += [_routed(revision) for revision in _rows(life, "revisions")]
    lines += [_asked(task) for task in _rows(life, "tasks")]
    lines += [_answered(annotation) for annotation in _rows(life, "annotations")]
    lines += [_settled_by_hand(event) for event in _rows(life, "events") if _is_a_person_s(event)]
    lines += [_decided(decision) for decision in _rows(life, "decisions")]
    lines += [_line("trained", f"{model.get('role')} {model.get('model_version')}") for model in _rows(life, "models")]
    return lines


def _rows(life: Mapping[str, JSON], name: str) -> list[Mapping[str, JSON]]:
    value = life.get(name)
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, Sequence) else []


def _line(what: str, text: str) -> str:
    return f"  {what:<10} {text}"


def _triaged(receipt: Mapping[str, JSON]) -> list[str]:
    rule = receipt.get("rule")
    by = f"by rule {rule + 1}" if isinstance(rule, int) else "by its risk"
    purpose = receipt.get("purpose")
    seen = "nobody needs to see it" if purpose is None else f"people see it: {purpose}"
    return [
        _line(
            "predicted",
            f"{_said(receipt.get('output'))}, {_percent(receipt.get('confidence'))} sure, by {receipt.get('model_version')}",
        ),
        _line("triaged", f"{receipt.get('tier')} {by}, policy {receipt.get('policy_version')}; {seen}"),
        _line("drawn", f"uniform {_draw(receipt, 'uniform')}, audit {_draw(receipt, 'audit')}"),
    ]


def _draw(receipt: Mapping[str, JSON], name: str) -> str:
    """`0.794 of 0.050` was not drawn; a dash where the draw could change nothing."""
    drawn, rate = receipt.get(f"{name}_draw"), receipt.get(f"{name}_rate")
    return f"{drawn:.3f} against {rate:.3f}" if isinstance(drawn, float) and isinstance(rate, float) else "–"


def _percent(share: JSON) -> str:
    return f"{round(100 * share)} %" if isinstance(share, int | float) else "? %"


def _routed(revision: Mapping[str, JSON]) -> str:
    route = revision.get("route")
    place = route if isinstance(route, Mapping) else {}
    due = _minute(place.get("due_at"))
    return _line("routed", f"to {place.get('pool')} / {place.get('tier')}, due {due}; now {revision.get('state')}")


def _asked(task: Mapping[str, JSON]) -> str:
    place = f"{task.get('pool')} / {task.get('tier')}"
    return _line("asked", f"round {task.get('round')}: task {task.get('task_id')} in {place}, {task.get('state')}")


def _answered(annotation: Mapping[str, JSON]) -> str:
    who = f"{_minute(annotation.get('updated_at'))} {annotation.get('reviewer')}"
    answer = annotation.get("answer")
    if not isinstance(answer, Mapping):
        return _line("answered", f"{who}: {annotation.get('state')} {annotation.get('reason') or ''}".rstrip())
    why = answer.get("rationale")
    said = _PLEAS.get(str(answer.get("request"))) or _said(answer.get("output"))
    return _line("answered", f"{who}: {said}" + (f" – “{why}”" if why else ""))


_PLEAS: Mapping[str, str] = {Request.ESCALATE: "lets an adjudicator decide", Request.RETURN: "returns it to the reviewers"}


def _is_a_person_s(event: Mapping[str, JSON]) -> bool:
    """What somebody did by a command. Answers are events, too, and are told with what they say."""
    return event.get("actor") not in (None, "bridge") and event.get("action") != "annotation"


def _settled_by_hand(event: Mapping[str, JSON]) -> str:
    detail = event.get("detail")
    why = detail.get("why") or detail.get("reason") if isinstance(detail, Mapping) else None
    said = f" – “{why}”" if why else ""
    return _line("by hand", f"{_minute(event.get('at'))} {event.get('actor')}: {event.get('action')}{said}")


def _decided(decision: Mapping[str, JSON]) -> str:
    version = decision.get("version")
    held = f"in dataset {version}" if version else "in no dataset version yet"
    if decision.get("op") == Op.REMOVE:
        return _line("withdrawn", f"taken back, or its answers support it no longer, {held}")
    return _line("decided", f"{decision.get('outcome')}: {_said(decision.get('output'))} ({decision.get('op')}), {held}")


def _said(output: JSON) -> str:
    """An output in a few words: the value alone where there is only one."""
    value = json.loads(output) if isinstance(output, str) and output.startswith("{") else output
    if value is None:
        return "rejected"
    if isinstance(value, Mapping) and len(value) == 1:
        return str(next(iter(value.values())))
    return json.dumps(value, ensure_ascii=False)


def _minute(time: JSON) -> str:
    return str(time)[:16].replace("T", " ")
