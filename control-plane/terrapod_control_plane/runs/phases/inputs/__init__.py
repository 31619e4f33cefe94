"""What a phase reads."""
