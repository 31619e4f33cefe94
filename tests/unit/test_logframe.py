"""Log framing: whatever way a client reads, it gets the mark, the bytes and the mark."""

from hypothesis import given
from hypothesis import strategies as st

from terrapod_common.logframe import ETX, STX, window

LOGS = st.binary(max_size=40)


def read(log: bytes, offset: int, limit: int, *, complete: bool) -> bytes:
    cut = window(offset, limit, len(log), complete=complete)
    body = log[cut.start : cut.start + cut.length]
    assert len(body) == cut.length
    return cut.prefix + body + cut.suffix


@given(LOGS, st.lists(st.integers(1, 60), min_size=1))
def test_any_sequence_of_reads_gives_the_framed_log(log: bytes, limits: list[int]) -> None:
    whole = STX + log + ETX
    got = b""
    turn = 0
    while len(got) < len(whole):
        limit = limits[turn % len(limits)]
        piece = read(log, len(got), limit, complete=True)
        assert 0 < len(piece) <= limit
        got += piece
        turn += 1
    assert got == whole
    assert read(log, len(got), 100, complete=True) == b""


@given(LOGS, st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9)), max_size=30))
def test_a_log_that_grows_while_it_is_read_gives_the_same(
    log: bytes, steps: list[tuple[int, int]]
) -> None:
    got = b""
    written = 0
    for limit, more in steps:
        got += read(log[:written], len(got), limit, complete=False)
        assert (STX + log[:written]).startswith(got)  # no end before the log's own
        written = min(len(log), written + more)
    while piece := read(log, len(got), 7, complete=True):
        got += piece
    assert got == STX + log + ETX


@given(LOGS, st.integers(0, 60), st.integers(0, 60), st.booleans())
def test_a_window_is_a_cut_of_the_framed_log(
    log: bytes,
    offset: int,
    limit: int,
    complete: bool,  # noqa: FBT001 - hypothesis gives it
) -> None:
    framed = STX + log + (ETX if complete else b"")
    assert read(log, offset, limit, complete=complete) == framed[offset : offset + limit]


@given(st.integers(-5, -1), LOGS)
def test_a_negative_offset_is_the_beginning_and_a_negative_limit_nothing(
    number: int, log: bytes
) -> None:
    assert read(log, number, 100, complete=True) == STX + log + ETX
    assert read(log, 0, number, complete=True) == b""
