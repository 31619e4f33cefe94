"""Runs as agents see them: claims, leases, fences, reports and what is sent under them."""
