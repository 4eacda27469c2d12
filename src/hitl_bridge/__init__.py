"""HITL Bridge: between a prediction pipeline and the people who check it."""
