"""A second look at what is in an archive: Python's own filter, behind our checks.

Both sides judge archives by rules of their own, which are stricter. This holds where a rule of
ours has a hole that the filter has not; it came with Python 3.11.4 and was mended since.
"""

import tarfile


def objection(member: tarfile.TarInfo, root: str) -> str:
    """Why Python would not unpack a member below ``root``; empty when it would, or cannot say."""
    judge = getattr(tarfile, "data_filter", None)
    if judge is None:
        return ""
    try:
        judge(member, root)
    except (tarfile.TarError, OSError) as error:  # a path that the system does not take, too
        return str(error) or type(error).__name__
    return ""
