"""Runs: their life, their queue, their logs."""
