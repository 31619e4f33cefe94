"""An embedded PostgreSQL: where it lies, how it is started, and that it stays."""
