"""Who follows the logs of a run, and when its end is shown."""
