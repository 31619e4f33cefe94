"""``python -m terrapod_agent``."""

from terrapod_agent.cli import main

main()
