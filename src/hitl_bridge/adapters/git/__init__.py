"""Commits on one branch of a git repository, and a clone of the bridge's own."""
