"""What audits say of the auto tier, and what is done about it."""
