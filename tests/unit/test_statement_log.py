"""How the benches count statements in PostgreSQL's log."""

from tests.bench.statement_log import texts_of, told

_LOG = b"""\
2026-01-01 10:00:00.000 UTC [10] LOG:  statement: BEGIN;
2026-01-01 10:00:00.001 UTC [10] LOG:  execute __asyncpg_stmt_1__: select *
\tfrom runs where id = $1
2026-01-01 10:00:00.002 UTC [10] LOG:  statement: COMMIT;
2026-01-01 10:00:00.003 UTC [77] LOG:  statement: select pg_reload_conf()
2026-01-01 10:00:00.004 UTC [9] LOG:  received SIGHUP, reloading configuration files
"""


def test_statements_are_found_whole_and_our_own_are_left_out() -> None:
    found = {"BEGIN;": 1, "select * from runs where id = $1": 1, "COMMIT;": 1}
    assert texts_of(_LOG, own="77") == found


def test_what_each_request_executes_is_told_apart_from_what_follows_some() -> None:
    texts = {"BEGIN;": 20, "COMMIT;": 20, "select 1": 50, "select id from outbox where id > $1": 20}
    assert told(texts | {"select rarely": 1}, 20) == (2, 2, 1.5)
    assert str(told(texts, 20)) == "2 + 2, 1.5 after"
    assert str(told({"select 1": 20}, 10)) == "2 + 0"
