"""Memory that was freed goes back to the system, so that a crowd is not paid for ever."""

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc keeps what was freed"
)

_GIVE_BACK = "from terrapod_control_plane.kernel.memory import give_back\n"
_JOB = """
import anyio
from terrapod_control_plane.health.jobs import jobs
from terrapod_control_plane.settings import Settings
trim, = (job for job in jobs(Settings()) if job.name == "memory.trim")
assert trim.every <= 60
give_back = lambda: anyio.run(trim.run, None)
"""
# Larger than what Python's own allocator takes, smaller than what is mapped on its own. The last
# one stays, so nothing above the others is free: that part would go back by itself.
_MEASURE = """
import psutil
me = psutil.Process()
many = [bytes(1000) for _ in range(150_000)]
last = bytes(1000)
full = me.memory_info().rss
del many
freed = me.memory_info().rss
give_back()
print(full, freed, me.memory_info().rss)
"""


@pytest.mark.parametrize("way", [_GIVE_BACK, _JOB], ids=["by itself", "as a job"])
def test_what_was_freed_goes_back_to_the_system(way: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", way + _MEASURE], capture_output=True, text=True, check=True
    )
    full, freed, after = (int(number) for number in ran.stdout.split())
    kept, returned = full - freed, freed - after
    assert kept < 20_000_000, "the allocator gives it back by itself: this proves nothing"
    assert returned > 100_000_000
