"""States that runs write; their callers have checked that the run may."""
