"""Versions and constraints on them."""

import pytest

from terrapod_control_plane.toolchains.versions import BadVersion, constraint, newest, parsed

HELD = ["1.3.0", "1.9.8", "1.10.0-rc1", "1.10.0", "1.10.2", "2.0.0"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("", "2.0.0"),
        ("~> 1.9", "1.10.2"),
        ("~> 1.9.0", "1.9.8"),
        (">= 1.3, < 1.9", "1.3.0"),
        ("!= 2.0.0", "1.10.2"),
        ("= 1.10.0", "1.10.0"),
        ("1.10.0-rc1", "1.10.0-rc1"),
        ("> 2.0.0", None),
    ],
)
def test_the_newest_that_a_constraint_allows(wanted: str, found: str | None) -> None:
    assert newest(HELD, wanted) == found


def test_versions_stand_in_the_order_of_their_numbers() -> None:
    shuffled = [*HELD[3:], *HELD[:3]]
    assert sorted(shuffled, key=parsed) == HELD


@pytest.mark.parametrize("text", ["", "latest", "~> ", "1.2.3.4", ">> 1", "1.2,"])
def test_what_is_no_constraint_is_refused(text: str) -> None:
    with pytest.raises(BadVersion):
        constraint(text)
