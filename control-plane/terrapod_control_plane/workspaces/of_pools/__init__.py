"""Workspaces as pools see them."""
