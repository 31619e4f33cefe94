"""Several errors at once come out as one that a person can read."""

from terrapod_agent.background import single_error
from terrapod_common.loops import Fatal


def test_one_error_comes_out_bare() -> None:
    fatal = Fatal("revoked")
    assert single_error(ExceptionGroup("tasks", [ExceptionGroup("inner", [fatal])])) is fatal


def test_the_first_of_several_of_one_kind_comes_out() -> None:
    first = Fatal("revoked")
    assert single_error(ExceptionGroup("tasks", [first, Fatal("revoked")])) is first


def test_errors_of_several_kinds_stay_together() -> None:
    group = ExceptionGroup("tasks", [Fatal("revoked"), OSError("gone")])
    assert single_error(group) is group
