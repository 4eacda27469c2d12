"""Items go to the labeling service and answers come back, exactly once, and are settled."""
