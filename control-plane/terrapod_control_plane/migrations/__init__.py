"""The schema, as piccolo migrations in plain SQL."""
