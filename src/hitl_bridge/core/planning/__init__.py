"""What a policy would have cost and let through, and what it will."""
