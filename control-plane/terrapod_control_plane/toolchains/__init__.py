"""The binary cache: the executables that agents run."""
