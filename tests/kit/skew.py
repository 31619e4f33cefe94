"""Processes whose clock is wrong, by libfaketime, which is loaded before all other libraries."""

import subprocess
from collections.abc import Mapping


def clock_ahead(hours: float) -> Mapping[str, str]:
    """The environment of a process whose clock is so many hours ahead."""
    given = subprocess.run(
        ["faketime", "-f", f"{hours:+g}h", "env"], capture_output=True, text=True, check=True
    )
    said = dict(line.partition("=")[::2] for line in given.stdout.splitlines())
    # Each reads its clock for itself: waits are not touched, for what is monotonic stays true.
    kept = {name: said[name] for name in ("LD_PRELOAD", "FAKETIME")}
    return kept | {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_NO_CACHE": "1"}
