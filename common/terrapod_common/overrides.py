"""The file that Terrapod puts beside a user's configuration, and which names would come after it.

terraform and tofu merge override files in the order of their names, and the last one counts.
"""

import os

# The same bytes in every run, and a name that sorts behind those that people choose.
OVERRIDE = "zzzz_terrapod_override.tf"

_EXTENSIONS = (".tf", ".tf.json", ".tofu", ".tofu.json")
_HIDES = os.fsencode(OVERRIDE.removesuffix(".tf"))


def is_override_file(name: str) -> bool:
    """Whether terraform or tofu merge a file of this name over the others of its folder."""
    # What editors and the system leave behind is not read at all.
    if name.startswith(".") or name.endswith("~") or (name.startswith("#") and name.endswith("#")):
        return False
    base = next((name.removesuffix(end) for end in _EXTENSIONS if name.endswith(end)), "")
    return base == "override" or base.endswith("_override")


def rivals_override(name: str) -> bool:
    """Whether a file of this name takes our override's place, or would be merged after it."""
    raw = os.fsencode(name)
    # tofu leaves a .tf file out when there is a .tofu of the same name.
    taken = raw.partition(b".")[0] == _HIDES and is_override_file(name)
    return taken or (is_override_file(name) and raw >= os.fsencode(OVERRIDE))
