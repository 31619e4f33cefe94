"""``python -m terrapod_control_plane.migrations.new NAME``: the file of the next migration."""

import sys
from datetime import UTC, datetime

from terrapod_control_plane.migrations import files


def main() -> None:
    """Write it, and say where."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m terrapod_control_plane.migrations.new NAME")
    try:
        made = files.new(sys.argv[1], datetime.now(UTC))
    except files.BadMigration as error:
        sys.exit(str(error))
    sys.stdout.write(f"{made}\n")


if __name__ == "__main__":
    main()
