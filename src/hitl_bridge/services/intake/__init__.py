"""Predictions come in: a file of them or a single one, triaged, kept, and queued where a person is to look."""
