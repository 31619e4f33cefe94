"""What an installation of the first version held: rows in all tables, and notes of migrations."""

from pathlib import Path

SQL = Path(__file__).with_suffix(".sql")

# The table of notes, as piccolo made it.
NOTES = [
    ("id", "integer", "NO", "nextval('migration_id_seq'::regclass)"),
    ("name", "character varying", "NO", "''::character varying"),
    ("app_name", "character varying", "NO", "''::character varying"),
    ("ran_on", "timestamp without time zone", "NO", "CURRENT_TIMESTAMP"),
]
