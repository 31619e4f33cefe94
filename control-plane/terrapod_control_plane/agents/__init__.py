"""Agent pools, listeners and the routes that agents call."""
