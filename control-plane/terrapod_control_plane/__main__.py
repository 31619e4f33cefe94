"""`python -m terrapod_control_plane` is `terrapod`."""

from terrapod_control_plane.cli import main

main()
