"""The one organization, `default`, and what it is entitled to."""
