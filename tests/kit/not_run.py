"""What a test needs of its machine, and which tests did not run for want of it.

A test that was skipped proves nothing, so it is named at the end of every session. Where
``ALL_TESTS_MUST_RUN`` is set, it is a failure.
"""

import os
import shutil
from collections.abc import Mapping

import pytest

STRICT = "ALL_TESTS_MUST_RUN"
NEEDS = "needs(*names): the user root, or programs on PATH, without which a test does not run"


def lacking(item: pytest.Item) -> list[str]:
    """What a test needs and this machine has not."""
    wanted = [name for mark in item.iter_markers("needs") for name in mark.args]
    return sorted({name for name in wanted if not _is_here(name)})


def _is_here(name: str) -> bool:
    return os.geteuid() == 0 if name == "root" else shutil.which(name) is not None


def not_run(config: pytest.Config) -> Mapping[str, list[str]]:
    """The tests that were skipped, by the reason."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    found: dict[str, list[str]] = {}
    for report in reporter.stats.get("skipped", []) if reporter else ():
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        found.setdefault(str(reason).removeprefix("Skipped: "), []).append(report.nodeid)
    return found


def is_failure(config: pytest.Config) -> bool:
    """Whether there are such tests where there may be none."""
    return bool(os.environ.get(STRICT)) and bool(not_run(config))


def tell(reporter: pytest.TerminalReporter) -> None:
    """Name them."""
    if not (found := not_run(reporter.config)):
        return
    failed = is_failure(reporter.config)
    many = sum(map(len, found.values()))
    reporter.section(f"not run here: {many}", "=", red=failed, yellow=not failed)
    for reason, names in sorted(found.items()):
        reporter.line(reason)
        for name in sorted(names):
            reporter.line(f"    {name}")
    if failed:
        reporter.line(f"{STRICT} is set, so this is a failure", red=True)
