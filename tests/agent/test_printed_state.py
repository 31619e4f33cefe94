"""A state that terraform prints into its log."""

import json

import pytest

from terrapod_agent.work import printed_state
from terrapod_agent.work.printed_state import PrintedStateFilter

STATE = json.dumps({"version": 4, "terraform_version": "1.15.5", "serial": 1}, indent=2)
NOTE = "(terraform printed the state here, for it could not be written; it is not shown)\n"
LOGS = {
    f"a line\n{STATE}\n\n\nError: it failed\n": f"a line\n{NOTE}\n\nError: it failed\n",
    f"{STATE}\n": NOTE,
    f"{STATE}\n{STATE}\nend": f"{NOTE}{NOTE}end",
    'not one\n{\n  "version": 5,\n}\n': 'not one\n{\n  "version": 5,\n}\n',
    f"in a line: {STATE}\n": f"in a line: {STATE}\n",
    "no end of a line\n{": "no end of a line\n{",
    f"cut off\n{STATE[:-4]}": f"cut off\n{NOTE}",
    "": "",
}


@pytest.mark.parametrize(("log", "shown"), LOGS.items())
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_a_printed_state_is_not_shown_however_the_log_is_cut(
    log: str, shown: str, size: int
) -> None:
    dumps = PrintedStateFilter()
    data = log.encode()
    out = [dumps.feed(data[at : at + size]) for at in range(0, len(data), size)]
    assert b"".join([*out, dumps.finish()]).decode() == shown


def test_the_end_of_a_line_is_shown_at_once() -> None:
    assert PrintedStateFilter().feed(b"one\n") == b"one\n"


def test_the_last_printed_state_is_found() -> None:
    second = STATE.replace("1,", "2,").replace('"serial": 1', '"serial": 2')
    log = f"a\n{STATE}\nb\n{second}\n\nError\n".encode()
    found = printed_state.last_printed_state(log)
    assert found is not None
    assert json.loads(found)["serial"] == 2
    assert printed_state.last_printed_state(f"{STATE}\n".encode()) is not None
    assert printed_state.last_printed_state(f"a\n{STATE}".encode()[:-4]) is None
    assert printed_state.last_printed_state(b"nothing") is None
