"""Numbers of strangers: believed only within bounds."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from terrapod_common import wire
from terrapod_control_plane.kernel.errors import BadRequest
from terrapod_control_plane.web import params

TEXT = st.one_of(st.text(), st.integers().map(str), st.floats().map(str), st.from_regex(r"[\d.]+"))
WIRE = [found for found in vars(wire).values() if isinstance(found, type) and found is not Struct]


@given(TEXT)
def test_a_number_of_a_query_is_in_its_bounds_or_refused(text: str) -> None:
    try:
        assert -1 <= params.whole_number(text) <= wire.LARGEST_INTEGER
    except BadRequest:
        digits = text.removeprefix("-")
        assert not (digits.isascii() and digits.isdecimal() and len(digits) < 16)


@given(TEXT)
def test_a_wait_is_finite_or_refused(text: str) -> None:
    try:
        assert 0 <= params.seconds(text) < math.inf
    except BadRequest:
        assert text


@pytest.mark.parametrize("text", ["NaN", "inf", "-1", "1e9", "\u0663", "+1", " 1", "1" * 400])
def test_what_only_looks_like_a_number_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        params.seconds(text)
    if text == "-1":
        assert params.whole_number(text) == -1
    else:
        with pytest.raises(BadRequest):
            params.whole_number(text)


def numbers(kind: type[Struct]) -> list[str]:
    """The fields of a struct that hold numbers, by what a decoder makes of one."""
    found = []
    for field in msgspec.structs.fields(kind):
        try:
            msgspec.convert(1, field.type)
            msgspec.convert("x", field.type)
        except msgspec.ValidationError as error:
            if "Expected `int" in str(error) or "Expected `float" in str(error):
                found.append(field.name)
    return found


@pytest.mark.parametrize("kind", [k for k in WIRE if issubclass(k, Struct)])
def test_every_number_on_the_wire_has_bounds(kind: type[Struct]) -> None:
    types = {field.name: field.type for field in msgspec.structs.fields(kind)}
    for name in numbers(kind):
        for extreme in (-1, 2**63, 1e300, -1e300):
            with pytest.raises(msgspec.ValidationError):
                msgspec.convert(extreme, types[name])


def test_the_search_for_numbers_finds_them() -> None:
    assert numbers(wire.Heartbeat) == ["slots"]
    assert {"fence", "additions", "log_size"} <= set(numbers(wire.Report))
    assert "lease_seconds" in numbers(wire.Work)
