"""Uploaded configurations: what a run works on."""
