"""From a prediction to a tier: uncertainty, rules, draws, and the receipt that keeps the reasons."""
