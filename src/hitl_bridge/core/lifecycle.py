"""The states of a review and its legal moves.

received → auto_approved
         → queued → pushed → answered → decided → committed
             ↑________________|    (a dispute opens the next round)
"""

from __future__ import annotations

from hitl_bridge.core.model import ItemState

_MOVES: dict[ItemState, frozenset[ItemState]] = {
    ItemState.AUTO_APPROVED: frozenset(),
    ItemState.QUEUED: frozenset({ItemState.PUSHED, ItemState.QUARANTINED, ItemState.WITHDRAWN, ItemState.FAILED}),
    ItemState.PUSHED: frozenset(
        {
            ItemState.ANSWERED,
            ItemState.DECIDED,
            ItemState.QUEUED,
            ItemState.WITHDRAWN,
            ItemState.QUARANTINED,
            ItemState.FAILED,
        }
    ),
    ItemState.ANSWERED: frozenset(
        {
            ItemState.DECIDED,
            ItemState.QUEUED,
            ItemState.PUSHED,
            ItemState.WITHDRAWN,
            ItemState.QUARANTINED,
            ItemState.FAILED,
        }
    ),
    # A reviewer may edit or delete an answer after the decision: the item is settled anew.
    ItemState.DECIDED: frozenset({ItemState.COMMITTED, ItemState.PUSHED, ItemState.ANSWERED, ItemState.QUEUED, ItemState.FAILED}),
    ItemState.COMMITTED: frozenset({ItemState.DECIDED, ItemState.PUSHED, ItemState.ANSWERED, ItemState.QUEUED, ItemState.FAILED}),
    ItemState.WITHDRAWN: frozenset(),
    ItemState.QUARANTINED: frozenset({ItemState.QUEUED, ItemState.WITHDRAWN}),
    ItemState.FAILED: frozenset({ItemState.QUEUED, ItemState.WITHDRAWN}),
}

OPEN: frozenset[ItemState] = frozenset({ItemState.QUEUED, ItemState.PUSHED, ItemState.ANSWERED})
"""States in which somebody still has something to do."""


def may_move(state: ItemState, to: ItemState) -> bool:
    """Whether an item in `state` may go to `to`. Staying where it is always legal."""
    return state == to or to in _MOVES[state]
