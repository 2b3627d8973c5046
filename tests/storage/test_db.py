"""Connections: errors in our own words, every connection set up for search, and a pool that recovers."""

import threading
import time
from contextlib import ExitStack

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from deertrack.domain.errors import DatabaseError, InputError
from deertrack.storage.db import Database

SEARCH_SETTINGS = {
    "hnsw.ef_search": "100",
    "hnsw.iterative_scan": "strict_order",
    "random_page_cost": "1.1",
    "plan_cache_mode": "force_custom_plan",
    "jit": "off",
    "TimeZone": "UTC",
}


def settings_of(connection: psycopg.Connection[dict[str, object]]) -> dict[str, object]:
    return {
        name: next(iter(connection.execute("SELECT current_setting(%s)", [name]).fetchone().values()))
        for name in SEARCH_SETTINGS
    }


def stations(db: Database) -> int:
    with db.transaction() as connection:
        return connection.execute("SELECT count(*) AS n FROM stations").fetchone()["n"]


def test_a_transaction_is_kept_when_its_block_ends(db: Database) -> None:
    with db.transaction() as connection:
        connection.execute("INSERT INTO stations (name) VALUES ('Oak ridge')")
    assert stations(db) == 1


@pytest.mark.parametrize("error", [InputError("no"), RuntimeError("no"), KeyboardInterrupt()])
def test_an_error_leaves_the_block_as_it_is_and_nothing_is_kept(db: Database, error: BaseException) -> None:
    def stumble() -> None:
        with db.transaction() as connection:
            connection.execute("INSERT INTO stations (name) VALUES ('Oak ridge')")
            raise error

    with pytest.raises(type(error)) as caught:
        stumble()
    assert caught.value is error
    assert stations(db) == 0


@pytest.mark.parametrize(
    "statement",
    [
        "SELEKT 1",
        "SELECT 1 / 0",
        "SELECT * FROM nowhere",
        "INSERT INTO stations (name) VALUES ('twice'), ('twice')",
        "INSERT INTO stations (name, latitude) VALUES ('north of north', 91)",
        "SELECT '[1,2]'::vector <=> '[1,2,3]'::vector",
    ],
)
def test_the_drivers_errors_become_ours(db: Database, statement: str) -> None:
    def work() -> None:
        with db.transaction() as connection:
            connection.execute("INSERT INTO stations (name) VALUES ('before')")
            connection.execute(statement)

    with pytest.raises(DatabaseError, match="the database refused a statement") as caught:
        work()
    assert not isinstance(caught.value, psycopg.Error)
    assert stations(db) == 0  # the pool's connection is of use again, and nothing was kept


def test_a_value_that_cannot_be_sent_is_our_error_too(db: Database) -> None:
    with pytest.raises(DatabaseError), db.transaction() as connection:
        connection.execute("SELECT %s", ["a\x00b"])


def test_a_lost_connection_is_our_error_and_the_next_transaction_has_a_good_one(db: Database) -> None:
    with (
        pytest.raises(DatabaseError, match="cannot work with the database") as caught,
        db.transaction() as connection,
    ):
        connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert caught.value.hint
    with db.transaction() as connection:
        assert settings_of(connection) == SEARCH_SETTINGS


def test_every_connection_is_set_up_for_filtered_search(db: Database) -> None:
    with ExitStack() as stack:
        connections = [stack.enter_context(db.transaction()) for _ in range(4)]
        assert len({connection.info.backend_pid for connection in connections}) == 4
        for connection in connections:
            assert settings_of(connection) == SEARCH_SETTINGS
            # Once pgvector is loaded it checks them, and would drop what it does not know.
            connection.execute("SELECT '[1,2]'::vector <=> '[2,1]'::vector")
            assert settings_of(connection) == SEARCH_SETTINGS


def test_a_failed_transaction_does_not_take_the_settings_along(db: Database) -> None:
    for _ in range(3):
        with pytest.raises(DatabaseError), db.transaction() as connection:
            connection.execute("SELECT 1 / 0")
        with db.transaction() as connection:
            assert settings_of(connection) == SEARCH_SETTINGS


def test_when_all_connections_are_taken_the_error_says_so(db: Database) -> None:
    db._pool.timeout = 0.1
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(db.transaction())
        with pytest.raises(DatabaseError, match="no free database connection"):
            stack.enter_context(db.transaction())
    assert stations(db) == 0


def test_many_threads_share_the_pool(db: Database) -> None:
    def work(name: str) -> None:
        with db.transaction() as connection:
            connection.execute("INSERT INTO stations (name) VALUES (%s)", [name])

    threads = [threading.Thread(target=work, args=[f"station {i}"]) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stations(db) == 16


@pytest.mark.parametrize(
    "wrong",
    [
        "postgresql://ranger:tops3cret@127.0.0.1:1/deertrack",
        "postgresql://ranger:tops3cret@host.invalid/deertrack",
        "postgresql://ranger:tops3cret@127.0.0.1:port/deertrack",
        "postgresql://ranger:tops3cret@127.0.0.1:1/deertrack?no_such_option=1",
        "mysql://ranger:tops3cret@127.0.0.1/deertrack",
        "not a url",
    ],
)
def test_a_wrong_url_is_said_at_once_without_the_password(wrong: str) -> None:
    started = time.monotonic()
    with pytest.raises(DatabaseError) as caught, Database(wrong):
        pass
    assert time.monotonic() - started < 8
    assert not isinstance(caught.value, psycopg.Error)
    assert "tops3cret" not in caught.value.message + caught.value.hint


def test_a_database_that_does_not_exist_is_named(url: str) -> None:
    with pytest.raises(DatabaseError, match="no_such_catalogue"):
        Database(make_conninfo(url, dbname="no_such_catalogue")).open()


def test_a_database_without_pgvector_can_be_opened(empty_url: str) -> None:
    with Database(empty_url) as database, database.transaction() as connection:
        assert connection.execute("SELECT 1 AS one").fetchone() == {"one": 1}


def test_closing_twice_is_harmless_and_using_a_closed_database_is_our_error(url: str) -> None:
    database = Database(url)
    database.open()
    database.close()
    database.close()
    with pytest.raises(DatabaseError), database.transaction():
        pass
