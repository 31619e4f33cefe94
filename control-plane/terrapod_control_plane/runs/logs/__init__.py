"""Logs: chunks at byte offsets while a phase runs, one compressed blob after its end."""
