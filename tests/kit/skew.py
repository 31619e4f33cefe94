"""Processes whose clock is wrong: a small library that is loaded before all others."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

COMPILER = shutil.which("cc")

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long ahead(void) {
    const char *text = getenv("TEST_CLOCK_AHEAD");
    return text ? atol(text) : 0;
}

int clock_gettime(clockid_t id, struct timespec *found) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int answer = real(id, found);
    if (!answer && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) found->tv_sec += ahead();
    return answer;
}

int gettimeofday(struct timeval *found, void *zone) {
    struct timespec now;
    int answer = clock_gettime(CLOCK_REALTIME, &now);
    found->tv_sec = now.tv_sec;
    found->tv_usec = now.tv_nsec / 1000;
    return answer;
}

time_t time(time_t *found) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (found) *found = now.tv_sec;
    return now.tv_sec;
}
"""


def clock_ahead(folder: Path, hours: float) -> Mapping[str, str]:
    """The environment of a process whose clock is so many hours ahead; needs a compiler."""
    library = folder / "skew.so"
    if not library.exists():
        assert COMPILER is not None
        source = folder / "skew.c"
        source.write_text(_SOURCE)
        command = [COMPILER, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
        subprocess.run(command, check=True)
    return {"LD_PRELOAD": str(library), "TEST_CLOCK_AHEAD": str(int(hours * 3600))}
