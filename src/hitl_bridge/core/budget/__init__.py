"""An error budget: calibrations and thresholds from judged items, with a guarantee."""
