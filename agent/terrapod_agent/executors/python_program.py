"""Starting programs of ours that are up in milliseconds and heed nothing that a run sets."""

import sys
from pathlib import Path

import terrapod_agent

_PACKAGES = str(Path(terrapod_agent.__file__).parents[1])


def command_line(module: str) -> tuple[str, ...]:
    """What starts the ``main`` of a module, which may import the standard library and us only."""
    start = (
        f"import sys; sys.path.insert(0, {_PACKAGES!r});"
        f" from {module} import main; sys.exit(main(sys.argv[1:]))"
    )
    return (sys.executable, "-I", "-S", "-E", "-c", start)  # isolated, and without site
