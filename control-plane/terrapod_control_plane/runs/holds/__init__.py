"""Workspaces that wait for a person after a lost apply."""
