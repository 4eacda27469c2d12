"""The names of the controls that every label config of the bridge uses."""

from __future__ import annotations

LABEL = "label"
"""The label, or one of the model's top five where there are many labels."""

OTHER_LABEL = "other_label"
"""The search over all labels, shown where there are more than `MANY_LABELS`; it counts when `LABEL` says `ANOTHER_LABEL`."""

ANOTHER_LABEL = "Another label…"

RATIONALE = "rationale"
CHECKLIST = "checklist"
CONFIDENCE = "reviewer_confidence"

MANY_LABELS = 10
"""Up to this many labels stand on the page as buttons; with more, the model's top five and a search."""
