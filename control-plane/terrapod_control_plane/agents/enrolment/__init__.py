"""How agents join, and how they renew their certificates."""
