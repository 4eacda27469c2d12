"""The gate: may the candidate replace the champion? Paired tests, limits, the user's own checks, and the verdict."""
