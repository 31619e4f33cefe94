"""How phases end."""
