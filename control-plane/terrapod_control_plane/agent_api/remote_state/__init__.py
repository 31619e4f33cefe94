"""What a phase reads of other workspaces."""
