"""From answers to a decision: consensus, and what follows from it."""
