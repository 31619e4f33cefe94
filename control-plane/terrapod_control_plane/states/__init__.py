"""State versions and their outputs."""
