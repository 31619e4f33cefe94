"""Migrations only add: what a process of the version before uses is there until a release later.

While a server is upgraded, the one of before may still run on the new schema. So a column that the
code uses no more is dropped by the release after that one, and listed here then.
"""

import re
from pathlib import Path

import pytest

from terrapod_control_plane.migrations import files

PATHS = sorted(files.VERSIONS.glob("*.sql"))
_COMMENT = re.compile(r"--[^\n]*")
_TAKES = (
    re.compile(r"\bdrop (?!index\b)(?!not null\b)(?!default\b)\w+"),
    re.compile(r"\brename\b"),
    re.compile(r"\balter column \w+ (?:set data )?type\b"),
    re.compile(r"\bset not null\b"),
    re.compile(r"\btruncate\b(?! on\b)"),  # a trigger may be told of one
    re.compile(r"\bcommit\b"),  # all of an upgrade is one transaction
    # An insert of before does not know the column.
    re.compile(r"\badd column (?![^,;]*\bdefault\b)[^,;]*\bnot null\b"),
)
# From before there was a release.
TAKEN = {
    "terrapod_2026_11_26_growth.sql": ["drop table", "drop column", "drop constraint"],
    "terrapod_2026_11_26_recovery.sql": ["alter column fence type"],
}
# Databases know these, in this order.
INSTALLED = [
    "2026-11-24T06:00:00:000000",
    "2026-11-26T01:00:00:000000",
    "2026-11-26T02:00:00:000000",
    "2026-11-26T03:00:00:000000",
    "2026-11-26T04:00:00:000000",
    "2026-11-26T07:00:00:000000",
    "2026-11-26T09:00:00:000000",
    "2026-11-27T00:00:00:000000",
    "2026-11-27T01:00:00:000000",
]


def takes(sql: str) -> list[str]:
    """What a migration takes away or asks for that was not there."""
    text = " ".join(_COMMENT.sub("", sql).lower().split())
    found = [match for pattern in _TAKES for match in pattern.finditer(text)]
    return [match[0] for match in sorted(found, key=lambda match: match.start())]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_migration_only_adds(path: Path) -> None:
    found = takes(path.read_text())
    assert found == TAKEN.get(path.name, []), (
        "the release of before still runs on this schema: a new column has a default or may be "
        "null, and what is dropped a release after its last use is named in TAKEN of this file"
    )


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("alter table a add column b text", []),
        ("alter table a add column b text not null default ''", []),
        ("alter table a add column b text default '' not null", []),
        ("alter table a add column b text not null", ["add column b text not null"]),
        (
            "alter table a\n  add column b int,\n add column c int not null;",
            ["add column c int not null"],
        ),
        ("alter table a drop column b, drop constraint c", ["drop column", "drop constraint"]),
        ("drop table a; drop index b; drop function c", ["drop table", "drop function"]),
        ("alter table a alter column b drop not null", []),
        ("alter table a alter column b set not null", ["set not null"]),
        ("alter table a alter column b type bigint", ["alter column b type"]),
        ("alter table a rename to b", ["rename"]),
        ("update a set b = 1; commit; update a set c = 1", ["commit"]),
        ("-- drop table a\ncreate table b (id text not null)", []),
    ],
)
def test_the_search_for_what_takes(sql: str, found: list[str]) -> None:
    assert takes(sql) == found


def test_what_databases_know_stays() -> None:
    assert [one.id for one in files.read()][: len(INSTALLED)] == INSTALLED
