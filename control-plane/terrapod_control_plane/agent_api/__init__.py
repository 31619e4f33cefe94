"""What agents call on their own port."""
