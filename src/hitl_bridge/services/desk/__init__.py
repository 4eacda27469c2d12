"""The review desk: people, who gets what, agreement, and what a lead is told."""
