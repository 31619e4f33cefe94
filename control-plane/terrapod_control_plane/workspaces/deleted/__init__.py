"""What deleted workspaces leave in the blob store, until it is removed."""
