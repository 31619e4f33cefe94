"""Identifiers are told apart from everything else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from terrapod_control_plane.app import SLICES
from terrapod_control_plane.kernel import ids

KINDS = sorted(kind for one in SLICES for kind in one.kinds)


@given(st.sampled_from(KINDS))
def test_a_new_one_is_of_its_kind(prefix: str) -> None:
    made = ids.new(prefix)
    assert ids.kind(made) == prefix
    assert ids.new(prefix) != made
    for wrong in (made + "x", made[:-1], made + "\n", " " + made, made.upper(), "x" + made):
        assert ids.kind(wrong) is None


@given(st.text())
def test_other_text_is_of_no_kind(text: str) -> None:
    assert ids.kind(text) is None


@pytest.mark.parametrize("letter", "0OIl/.")
def test_letters_that_look_alike_are_not_used(letter: str) -> None:
    assert ids.kind("run-" + letter + "1" * 15) is None


@pytest.mark.parametrize("number", [0, 57, 58, 58**4 - 1])
def test_a_part_knows_its_whole(number: int) -> None:
    whole = ids.new("sv")
    made = ids.part("wsout", whole, number)
    assert ids.kind(made) == "wsout"
    assert ids.parted(made) == (whole, number)


def test_parts_have_as_many_numbers_as_fit() -> None:
    with pytest.raises(ValueError, match="more parts"):
        ids.part("wsout", ids.new("sv"), 58**4)
