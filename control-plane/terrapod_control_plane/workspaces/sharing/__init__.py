"""Which workspaces may read the state of which others; by default nobody."""
