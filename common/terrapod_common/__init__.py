"""What the control plane and the agent share."""
