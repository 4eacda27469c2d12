"""Decisions become dataset versions, and dataset versions a candidate."""
