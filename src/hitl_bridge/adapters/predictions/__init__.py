"""Predictions as they come in: sources, formats, and the checks of every row."""
