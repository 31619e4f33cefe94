"""The door of a run: a server on loopback through which terraform reaches what its phase may."""
