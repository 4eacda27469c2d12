"""The names of the controls that every label config of the bridge uses, and what their choices may be called."""

from __future__ import annotations

import re
from enum import StrEnum

from hitl_bridge.core.model import NONE_OF_THESE


class Form(StrEnum):
    """What a page lets people do to say an answer."""

    ONE_OF = "one of several labels is chosen"
    SOME_OF = "as many of several labels are chosen as fit"
    MARKS = "pieces of a text are marked"


LABEL = "label"
"""The label, or one of the model's top five where there are many labels."""

OTHER_LABEL = "other_label"
"""The search over all labels, shown where there are more than `MANY_LABELS`; it counts when `LABEL` says `ANOTHER_LABEL`."""

ANOTHER_LABEL = "Another label…"

RATIONALE = "rationale"
CHECKLIST = "checklist"
CONFIDENCE = "reviewer_confidence"
REASONS = "reasons"
NONE_BECAUSE = "none_because"
NEW_LABEL = "new_label"
SCENARIO = "scenario"
REQUEST = "request"

REJECT = "reject"
"""Where an empty answer says something (nothing fits, nothing is there), rejecting the item has a control of its own: with the
one choice `CANT_ANSWER`."""

CANT_ANSWER = "This can't be answered"

ASKED_FOR = frozenset({RATIONALE, CHECKLIST, REASONS, NONE_BECAUSE, NEW_LABEL})
"""What a page asks for beside the answer itself."""

LABEL_IS_MISSING = "a label is missing"
PERSONAL_DATA = "it holds personal data"
REJECTIONS = ("no label fits", LABEL_IS_MISSING, "it can't be judged", "out of scope", PERSONAL_DATA)
"""Why an item is rejected: choices of `NONE_BECAUSE`, and reason codes of the decision."""

ESCALATE = "Let an adjudicator decide"
RETURN = "Return it to the reviewers"
"""The choices of `REQUEST`: on a reviewer's page, and on an adjudicator's."""

MANY_LABELS = 10
"""Up to this many labels stand on the page as buttons; with more, the model's top five and a search."""

_VARIABLE = re.compile(r"\$[\w\[\].{}]+")


def asked_for(control: str) -> bool:
    """Whether a control holds something that comes beside the answer itself: each entry of a checklist has one of its own, so
    that each is required: `checklist`, `checklist_2`, …"""
    return control in ASKED_FOR or is_checklist(control)


def is_checklist(control: str) -> bool:
    return control == CHECKLIST or control.startswith(f"{CHECKLIST}_")


def choice_problem(text: str) -> str | None:
    """Why `text` can't be a choice on the page, be it a label or an entry of a checklist; None if it can."""
    if not text.strip() or not text.isprintable():
        return f"{text!r} is empty or holds characters that can't be shown"
    if text in (NONE_OF_THESE, ANOTHER_LABEL):
        return f"{text!r} is a word of the bridge's own; choose another one"
    return variable_problem(text)


def variable_problem(text: str) -> str | None:
    """Label Studio puts a field of the task where a text says `$name`, and refuses tasks that have no such field."""
    found = _VARIABLE.search(text)
    if found is None:
        return None
    return f"{text!r}: Label Studio takes {found[0]!r} for a variable; write it without the dollar sign"
