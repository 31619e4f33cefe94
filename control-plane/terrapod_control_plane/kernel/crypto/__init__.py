"""Keys, tokens, sealed values and certificates."""
