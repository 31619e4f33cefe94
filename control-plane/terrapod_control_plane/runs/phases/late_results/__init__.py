"""What arrives after a phase was given up."""
