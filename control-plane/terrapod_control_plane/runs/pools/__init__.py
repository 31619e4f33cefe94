"""Runs and the pools whose agents carry them out."""
