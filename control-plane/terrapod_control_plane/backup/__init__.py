"""A backup of everything in one archive, and how a control plane comes back from one."""
