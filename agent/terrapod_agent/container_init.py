"""The first process of a container: starts nothing, reaps what nobody else does.

It is executed in place of an agent that finds itself to be process 1, and the agent goes on as
its child. With the standard library only, so that it stays small.
"""

import contextlib
import os
import signal
import sys

_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def main(child: int, ready: int) -> int:
    """Pass signals on to ``child`` and reap until it ends; its exit code."""

    def pass_on(number: int, _: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    for number in _PASSED_ON:
        signal.signal(number, pass_on)
    os.close(ready)  # the child waits for it: from now on signals are passed on
    while True:
        ended, status = os.wait()
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
