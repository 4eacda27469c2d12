"""Decisions become dataset versions."""
