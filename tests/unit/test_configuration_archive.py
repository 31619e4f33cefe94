"""Which archives of a configuration are taken, and every kind of hostile one that is not."""

from __future__ import annotations

import gzip
import io
import os
import tarfile

import pytest
from msgspec.structs import replace

from terrapod_common.overrides import OVERRIDE, rivals_override
from terrapod_control_plane.configurations.archive import BadArchive, Bounds, check

BOUNDS = Bounds(
    bytes_at_most=8 * 1024 * 1024, files_at_most=20, ratio_at_most=200, ratio_free_bytes=1024 * 1024
)


def member(name: str, *, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def packed(*members: tarfile.TarInfo, content: bytes = b"") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for info in members:
            if info.isreg():
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def checked(raw: bytes, bounds: Bounds = BOUNDS) -> None:
    check(io.BytesIO(raw), lambda _: len(raw), bounds)


def file(name: str) -> tarfile.TarInfo:
    return member(name)


def folder(name: str) -> tarfile.TarInfo:
    return member(name, kind=tarfile.DIRTYPE)


def symlink(name: str, to: str) -> tarfile.TarInfo:
    return member(name, kind=tarfile.SYMTYPE, link=to)


def hardlink(name: str, to: str) -> tarfile.TarInfo:
    return member(name, kind=tarfile.LNKTYPE, link=to)


@pytest.mark.parametrize(
    "members",
    [
        [],
        [file("main.tf"), file(".terraform/modules/a/main.tf")],
        [folder("./"), folder("a/"), file("./a/main.tf"), folder("a")],
        [file("a/x.tf"), symlink("a/y.tf", "x.tf"), symlink("b/c/z.tf", "../../a/x.tf")],
        [file("x"), hardlink("y", "x")],
        [file("x..y/..z")],
        [symlink("app/shared", "../modules/../shared/x"), file("shared/x")],
        [symlink("a/x", "../b/../c/../a")],
        [symlink("a/here", "."), symlink("a/x", "here/../y")],
        [file("x"), file("x")],  # as `tar -r` does it: the later one counts
        [file("\u00e9/\u4e16\u754c.tf"), file("a b'c\"d.tf")],
        [file("override.tf"), file("zz_override.tf"), file("a/my_override.tf.json")],
        [file("\U0010ffff.tf"), file("zzzzz_override.txt"), file(".zzzzz_override.tf")],
        [file("n" * 255)],
        [file("d/" * 20 + "n" * 150)],
    ],
)
def test_what_a_client_packs_is_taken(members: list[tarfile.TarInfo]) -> None:
    checked(packed(*members, content=b"locals {}\n"))


@pytest.mark.parametrize(
    "members",
    [
        [file("/etc/passwd")],
        [file("../x")],
        [file("a/../../x")],
        [file("a/../x")],
        [symlink("x", "/etc")],
        [symlink("x", "..")],
        [symlink("a/x", "../../y")],
        [symlink("x", "a/../../y")],
        [symlink("x", "a"), file("x/y")],
        [symlink("d", "."), symlink("d/e/f", "../..")],
        [file("a/b"), symlink("a", "c")],
        [symlink("a", "b"), folder("a")],
        [file("a/b"), file("a")],
        [hardlink("x", "/etc/passwd")],
        [hardlink("x", "../y")],
        [symlink("a", "b"), hardlink("x", "a")],
        [symlink("deep/up", ".."), symlink("deep/x", "up/../y")],  # inside only as it is spelled
        [symlink("a", "b"), symlink("b", "a")],
        [symlink("a", "a")],
        [symlink("a", "b/c"), symlink("b", "../x")],
        [symlink("a", "")],
        [symlink("a", "b\nc")],
        [symlink("a", "b"), file("a")],
        [file("a"), symlink("a", "b")],
        [file("a"), file("a/b")],
        [hardlink("x", "y")],
        [hardlink("x", "x")],
        [folder("d"), hardlink("x", "d")],
        [file("a\nb.tf")],
        [file("a\x1b[31m.tf")],
        [file("a\x7f")],
        [file("a\x85b")],
        [file("a\udcffb")],  # no UTF-8
        [file("n" * 256)],
        [file("\u00e9" * 128)],  # 256 bytes
        [file("\U0010ffff_override.tf")],
        [file("sub/zzzzz_override.tf.json")],
        [folder(OVERRIDE)],
        [file(f"{OVERRIDE}/x")],
        [symlink(OVERRIDE, "x")],
        [member("x", kind=tarfile.CHRTYPE)],
        [member("x", kind=tarfile.BLKTYPE)],
        [member("x", kind=tarfile.FIFOTYPE)],
        [member("x", kind=tarfile.GNUTYPE_SPARSE)],
        [file("d/" * 80 + "x")],
        [file("n" * 5000)],
        [file(f"f{n}") for n in range(21)],
    ],
)
def test_a_hostile_member_is_refused(members: list[tarfile.TarInfo]) -> None:
    with pytest.raises(BadArchive):
        checked(packed(*members))


NO_TAR = gzip.compress(b"no tar", mtime=0)
EMPTY = gzip.compress(b"", mtime=0)


@pytest.mark.parametrize("raw", [b"", b"no gzip", NO_TAR, EMPTY])
def test_what_is_no_archive_is_refused(raw: bytes) -> None:
    with pytest.raises(BadArchive):
        checked(raw)


def test_every_truncation_is_refused() -> None:
    raw = packed(file("main.tf"), content=os.urandom(600))
    checked(raw)
    for end in range(0, len(raw), 7):
        with pytest.raises(BadArchive):
            checked(raw[:end])


def test_a_changed_byte_is_refused() -> None:
    raw = bytearray(packed(file("main.tf"), content=os.urandom(5000)))
    raw[-6] ^= 1  # in the checksum
    with pytest.raises(BadArchive):
        checked(bytes(raw))


def test_too_many_bytes_are_refused() -> None:
    raw = packed(file("x"), content=os.urandom(100_000))
    with pytest.raises(BadArchive, match="unpacks to more than 50000 bytes"):
        checked(raw, replace(BOUNDS, bytes_at_most=50_000))


def test_a_bomb_is_refused_by_its_ratio() -> None:
    raw = packed(file("x"), content=bytes(6_000_000))
    assert len(raw) < 20_000
    with pytest.raises(BadArchive, match="unpacks to more than"):
        checked(raw)


def test_bytes_behind_the_end_of_the_tar_count_as_well() -> None:
    raw = packed(file("x")) + gzip.compress(bytes(6_000_000))
    with pytest.raises(BadArchive, match="unpacks to more than"):
        checked(raw)


def test_a_long_header_is_not_read_into_memory() -> None:
    info = member("x")
    info.pax_headers = {"comment": "c" * 400_000}
    with pytest.raises(BadArchive, match="header that is too long"):
        checked(packed(info))


@pytest.mark.parametrize(
    "name",
    [
        OVERRIDE,
        "zzzz_terrapod_override.tf.json",
        "zzzz_terrapod_override.tofu",
        "zzzz_terrapod_override.tofu.json",
        "zzzz_terrapodx_override.tf",
        "zzzzz_override.tofu",
        "{_override.tf",
        "\u00e9_override.tf",
    ],
)
def test_no_name_takes_the_place_of_our_override_file(name: str) -> None:
    assert rivals_override(name)
    with pytest.raises(BadArchive, match="come after"):
        checked(packed(file(f"envs/{name}")))


@pytest.mark.parametrize(
    "name",
    [
        "override.tf",
        "a_override.tf",
        "Z_override.tofu",
        "zzzz_terrapod_main.tf",
        "zzzzz.tf",
        "~.tf",
    ],
)
def test_names_that_people_choose_are_theirs(name: str) -> None:
    assert not rivals_override(name)


def test_links_that_cost_more_than_they_are_worth_are_refused() -> None:
    many = [symlink(f"a/l{n}", "b/../" * 400 + "x") for n in range(2600)]
    with pytest.raises(BadArchive, match="too many links"):
        checked(packed(*many), replace(BOUNDS, files_at_most=10_000))


def test_a_configuration_of_the_largest_size_is_checked_in_seconds() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as tar:
        for number in range(54_000):
            tar.addfile(file(f"modules/m{number // 100}/f{number}.tf"))
    raw = out.getvalue()
    checked(
        raw,
        Bounds(
            bytes_at_most=2**30,
            files_at_most=250_000,
            ratio_at_most=200,
            ratio_free_bytes=100_000_000,
        ),
    )
