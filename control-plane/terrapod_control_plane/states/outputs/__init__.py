"""Outputs of states, as they are read."""
