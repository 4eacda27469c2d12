"""What audits say: the auto tier's true error, lots and their verdicts, drift."""
