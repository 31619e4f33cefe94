"""Whether the process is alive and of use."""
