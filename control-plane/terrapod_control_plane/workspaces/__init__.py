"""Workspaces, a person's lock on them, labels and tags."""
