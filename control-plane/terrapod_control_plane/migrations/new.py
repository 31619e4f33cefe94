"""``python -m terrapod_control_plane.migrations.new NAME``: the file of the next migration."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from terrapod_control_plane.migrations import files


def main(arguments: Sequence[str]) -> None:
    """Write it, and say where."""
    if len(arguments) != 1:
        sys.exit("usage: python -m terrapod_control_plane.migrations.new NAME")
    try:
        made = files.new(arguments[0], datetime.now(UTC))
    except files.BadMigration as error:
        sys.exit(str(error))
    sys.stdout.write(f"{made}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
