"""`python -m terrapod_control_plane` is `terrapod`."""

from terrapod_control_plane.cli import main

if __name__ == "__main__":  # a worker process imports this module again, under another name
    main()
