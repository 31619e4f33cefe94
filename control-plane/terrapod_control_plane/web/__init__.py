"""The HTTP edge: authentication, documents, errors, parameters. Knows no slice."""
