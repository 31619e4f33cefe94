"""What is read of a saved plan, and what is changed in it; strange ones are left alone."""

import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from terrapod_agent.work import plan_file, terraform
from terrapod_agent.work.snapshots import file_backend_seconds, pays_off
from terrapod_common import wire

LOCAL = b"\n\x05local\x1a\x03web"
CLOUD = b"\n\x05cloud\x1a\x03web"


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def change(action: int, size: int = 10) -> bytes:
    does = (field(1, action) if action else b"") + field(2, b"v" * size)
    return field(3, field(8, b"provider") + field(9, does))


def saved(path: Path, plan: bytes, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tfplan", plan)
        for name, content in ({"tfstate": b"s" * 1000} | members).items():
            archive.writestr(name, content)
    return path


def test_what_a_plan_would_do_is_read(tmp_path: Path) -> None:
    fixed = varint(7 << 3 | 5) + b"1234" + varint(8 << 3 | 1) + b"12345678"
    changes = [change(0, 500), change(1), change(3), change(5, 300), change(6)]
    path = saved(tmp_path / "p", field(1, 3) + b"".join(changes) + field(13, LOCAL) + fixed)
    found = plan_file.read_saved_plan(path)
    assert found is not None
    assert (found.backend, found.prior_bytes, found.changes) == ("local", 1000, 4)
    assert found.created_bytes == sum(len(changes[at]) for at in (1, 2, 4))
    assert found.must_differ
    assert not found.needs_values
    updates = plan_file.read_saved_plan(saved(tmp_path / "u", change(3) + field(13, LOCAL)))
    assert updates is not None
    assert not updates.must_differ


@pytest.mark.parametrize(
    ("tool", "plan", "asks"),
    [
        ("terraform 1.15.5", field(13, LOCAL) + field(28, b"once"), True),
        ("terraform 1.15.5", field(13, LOCAL), False),
        ("terraform 1.15.5", b"not understood", True),
        ("terraform 1.9.8", b"not understood", False),
        ("tofu 1.11.0", field(13, LOCAL), True),
        ("tofu 1.10.6", field(13, LOCAL), False),
    ],
)
def test_values_are_given_again_where_the_plan_does_not_hold_them(
    tmp_path: Path, tool: str, plan: bytes, *, asks: bool
) -> None:
    name, _, version = tool.partition(" ")
    which = wire.Tool(name=name, version=version)  # type: ignore[arg-type]
    assert (
        terraform.apply_needs_values(which, plan_file.read_saved_plan(saved(tmp_path / "p", plan)))
        is asks
    )


def test_only_the_backend_is_changed(tmp_path: Path) -> None:
    plan = field(1, 3) + change(1) + field(13, LOCAL) + field(14, b"1.15.5") + field(25, 1)
    path = saved(tmp_path / "p", plan, **{"tfconfig/m-/main.tf": b"text"})
    record = plan_file.backend_record(saved(tmp_path / "c", field(13, CLOUD)))
    assert record == field(13, CLOUD)
    assert plan_file.replace_backend(path, record, tmp_path / "g")
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(tmp_path / "g") as after:
        assert before.namelist() == after.namelist()
        assert after.read("tfplan") == plan.replace(field(13, LOCAL), field(13, CLOUD))
        for name in ("tfstate", "tfconfig/m-/main.tf"):
            assert before.read(name) == after.read(name)
    found = plan_file.read_saved_plan(tmp_path / "g")
    assert found is not None
    assert found.backend == "cloud"


@pytest.mark.parametrize(
    "plan",
    [
        b"",
        b"not a protocol buffer",
        change(1),  # no backend
        field(13, LOCAL) * 2,
        field(13, b""),
        field(13, 5),
        field(3, b"") + field(13, LOCAL),
        field(3, 1) + field(13, LOCAL),
        varint(3 << 3 | 2) + varint(1 << 60) + field(13, LOCAL),
        varint(3 << 3 | 3),
        b"\xff" * 30,
        field(13, LOCAL)[:-1],
    ],
)
def test_a_plan_that_is_not_understood_is_left_alone(tmp_path: Path, plan: bytes) -> None:
    path = saved(tmp_path / "p", plan)
    assert plan_file.read_saved_plan(path) is None
    assert not pays_off(wire.Tool(name="terraform", version="1.15.5"), None)


def test_a_plan_that_is_no_zip_is_left_alone(tmp_path: Path) -> None:
    """As those of OpenTofu that are encrypted."""
    path = tmp_path / "p"
    for content in (b"", b'{"encrypted_data": "x"}', b"PK\x03\x04 torn"):
        path.write_bytes(content)
        assert plan_file.read_saved_plan(path) is None
        assert plan_file.backend_record(path) is None
        assert not plan_file.replace_backend(path, b"", tmp_path / "g")
    assert plan_file.read_saved_plan(tmp_path / "missing") is None


def test_nothing_else_than_a_backend_is_grafted(tmp_path: Path) -> None:
    path = saved(tmp_path / "p", change(1) + field(13, LOCAL))
    for record in (b"", field(14, b"x"), field(13, CLOUD) * 2, b"\xff"):
        assert not plan_file.replace_backend(path, record, tmp_path / "g")


@given(st.binary(max_size=200))
def test_no_bytes_are_too_strange(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("strange")
    plan_file.read_saved_plan(saved(folder / "p", data))
    plan_file.replace_backend(folder / "p", data, folder / "g")


def like(changes: int, prior: int, created: int) -> plan_file.SavedPlan:
    return plan_file.SavedPlan(
        backend="local",
        prior_bytes=prior,
        changes=changes,
        created_bytes=created,
        must_differ=True,
        needs_values=False,
    )


def test_the_cost_of_a_file_grows_with_changes_times_size() -> None:
    assert file_backend_seconds(like(5000, 0, 5000 * 1200)) > 60  # 5,000 new objects of 1 KB
    assert file_backend_seconds(like(1, 15_000_000, 3000)) < 1  # one of them changes
    assert file_backend_seconds(like(5000, 15_000_000, 0)) > 60  # all of them go


@pytest.mark.parametrize(
    ("tool", "version", "plan", "is_wanted"),
    [
        ("terraform", "1.15.5", like(5000, 0, 6_000_000), True),
        ("terraform", "1.6.0-rc1", like(5000, 0, 6_000_000), True),
        ("terraform", "1.5.7", like(5000, 0, 6_000_000), False),
        ("terraform", "1.15.5", like(100, 0, 100_000), False),
        ("tofu", "1.10.0", like(5000, 0, 6_000_000), False),
    ],
)
def test_snapshots_are_for_many_changes_of_a_large_state(
    tool: str, version: str, plan: plan_file.SavedPlan, *, is_wanted: bool
) -> None:
    assert pays_off(wire.Tool(name=tool, version=version), plan) is is_wanted  # type: ignore[arg-type]
