"""What agents do with phases: leases, what they read, results, artifacts."""
