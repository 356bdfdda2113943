"""Tuning: candidates are proposed, measured and remembered; what is best becomes a record that builds use."""
