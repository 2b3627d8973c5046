"""Connections: one pool a process, each connection set up for vectors and filtered HNSW searches."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from pgvector.psycopg import register_vector
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from deertrack.domain.errors import DatabaseError, UnstorableError

Connection = psycopg.Connection[DictRow]

# A filter behind an HNSW scan starves at the default ef_search = 40 without iterative scans; JIT compiles
# longer than these queries run. Vectors are stored apart from their rows, so the planner takes a scan of the
# table for far cheaper than it is: at random_page_cost = 4, made for spinning disks, it leaves the index aside,
# and so does a plan that it makes once for whatever sex and limit may be asked for.
_SESSION = """
SELECT set_config('hnsw.ef_search', '100', false),
       set_config('hnsw.iterative_scan', 'strict_order', false),
       set_config('random_page_cost', '1.1', false),
       set_config('plan_cache_mode', 'force_custom_plan', false),
       set_config('jit', 'off', false),
       set_config('timezone', 'UTC', false)
"""


def prepare(connection: psycopg.Connection[Any]) -> None:
    """Make a fresh connection ready: vector types known, search settings made."""
    connection.execute(_SESSION)
    if connection.execute("SELECT 1 FROM pg_type WHERE typname = 'vector'").fetchone():
        register_vector(connection)
    connection.commit()


class Database:
    """A PostgreSQL database by URL. Everything that is read or written goes through :meth:`transaction`."""

    def __init__(self, url: str, *, size: int = 4) -> None:
        self.url = url
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            url,
            min_size=1,
            max_size=size,
            open=False,
            timeout=30,
            configure=prepare,
            kwargs={"row_factory": dict_row},
        )

    def open(self) -> None:
        """Connect.

        Raises:
            DatabaseError: nobody answers at the URL, or it is none.
        """
        check_url(self.url)
        with translated_errors():
            # One plain attempt first: it says at once, and in PostgreSQL's words, what a pool only times out on.
            psycopg.connect(self.url, connect_timeout=10).close()
            self._pool.open(wait=True)

    def close(self) -> None:
        """Give every connection back. Harmless when called twice."""
        self._pool.close()

    def __enter__(self) -> "Database":
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction: committed at the end of the block, rolled back when an error leaves it."""
        with translated_errors(), self._pool.connection() as connection:
            yield connection


def check_url(url: str) -> None:
    """Insist on a connection URL that PostgreSQL's library understands.

    Raises:
        DatabaseError: it does not. The library's own message repeats the URL, and with it the password.
    """
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise DatabaseError(
            "DATABASE_URL is not a connection URL of PostgreSQL",
            hint="Write it as postgresql://user:password@host:5432/database, special characters as %40 and so on.",
        ) from None


@contextmanager
def translated_errors() -> Iterator[None]:
    """The driver's errors never leave this room: they become :class:`DatabaseError`."""
    try:
        yield
    except PoolTimeout as error:
        raise DatabaseError(
            "no free database connection within 30 s", hint="Is another job holding the database?"
        ) from error
    except psycopg.errors.LockNotAvailable as error:
        raise DatabaseError(
            "the catalogue is busy: somebody else is changing many things at once",
            hint="Nothing was changed. Try again in a moment.",
        ) from error
    except psycopg.OperationalError as error:
        raise DatabaseError(
            f"cannot work with the database: {str(error).strip()}",
            hint="Check DATABASE_URL, or unset it to use the embedded server (`deertrack db status`).",
        ) from error
    except psycopg.errors.NumericValueOutOfRange as error:
        raise UnstorableError(f"a number that no column can hold: {str(error).strip()}") from error
    except psycopg.Error as error:
        # What the driver itself refuses has no code of the server's.
        unsendable = isinstance(error, psycopg.DataError) and error.sqlstate is None
        kind = UnstorableError if unsendable else DatabaseError
        raise kind(f"the database refused a statement: {str(error).strip()}") from error
