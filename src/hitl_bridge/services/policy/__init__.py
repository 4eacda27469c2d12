"""What the policy is, was and would do: thresholds chosen, plans made, receipts computed again."""
