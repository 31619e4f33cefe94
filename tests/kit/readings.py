"""What a process makes of a content, for tests of those processes."""

import os


def same(content: memoryview) -> bytes:
    """The content."""
    return bytes(content)


def size(content: memoryview) -> bytes:
    """How long it is."""
    return str(len(content)).encode()


def refused(content: memoryview) -> bytes:
    """Nothing."""
    raise ValueError(f"of {len(content)} bytes I take none")


def environment(content: memoryview) -> bytes:
    """The names of the variables of its process."""
    del content
    return " ".join(os.environ).encode()
