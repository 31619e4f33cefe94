"""States that people upload."""
