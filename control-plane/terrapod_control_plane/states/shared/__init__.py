"""States as other workspaces read them: outputs, and nothing else."""
