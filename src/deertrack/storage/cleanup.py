"""The clean-up's part in the database (spec, phase 5): what hangs on the legacy column, and its end."""

from collections.abc import Mapping, Sequence

import psycopg
from psycopg import sql

from deertrack.domain.errors import DatabaseError
from deertrack.storage.db import Connection
from deertrack.storage.embeddings import RegisteredVersion
from deertrack.storage.layout import LEGACY, LEGACY_INDEX, Layout, ProfileColumn
from deertrack.storage.queries import load_queries

_SQL = load_queries("cleanup")

# While ALTER TABLE waits for a long reader, everybody who comes later waits behind it.
_PATIENCE = "3s"


def weigh(connection: Connection, column: ProfileColumn) -> tuple[int, int]:
    """Bytes on disk of the legacy column's vectors, and of its index."""
    query = _SQL["weight"].format(vector=column.vector, index=LEGACY_INDEX)
    row = connection.execute(query).fetchone()
    assert row is not None
    return row["vectors"], row["index"]


def count_only_here(connection: Connection, layout: Layout, column: ProfileColumn) -> int:
    """Individuals, retired and merged ones only, that have no vector but in this column."""
    others = [sql.SQL("{} IS NOT NULL").format(c.vector) for c in layout.columns if c != column]
    query = _SQL["only_here"].format(vector=column.vector, others=sql.SQL(" OR ").join(others))
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(row["deer"])


def dependents(connection: Connection, *, dropped: bool, named: Sequence[str]) -> list[str]:
    """What else in the database needs columns that are to go: views, constraints, other indexes, functions.

    Args:
        dropped: the legacy column is to go. (All but functions follow a column that is renamed.)
        named: every column that will not be there under this name.
    """
    found = connection.execute(_SQL["functions"], {"columns": list(named)}).fetchall() if named else []
    if dropped:
        names = {"column": LEGACY.value, "index": LEGACY_INDEX}
        found = [*connection.execute(_SQL["dependents"], names), *found]
    return [row["what"] for row in found]


def lock_table(connection: Connection) -> None:
    """Keep everybody else off ``deer`` until the transaction ends.

    Raises:
        DatabaseError: somebody uses it for longer than 3 s.
    """
    connection.execute(_SQL["patience"], {"patience": _PATIENCE})
    try:
        connection.execute(_SQL["lock_table"])
    except psycopg.errors.LockNotAvailable as error:
        raise DatabaseError(
            f"somebody has been reading or writing deer for {_PATIENCE}; nothing was changed",
            hint="Try again when that is done: a backup, `deertrack db check`, a re-embedding.",
        ) from error


def relabel(connection: Connection, layout: Layout, active: RegisteredVersion) -> None:
    """Let nobody who has the active version's vectors go by a version that searched the legacy column."""
    query = _SQL["relabel"].format(lacks=layout.lacks(active))
    connection.execute(query, {"version": active.version.name})


def drop_legacy(connection: Connection) -> None:
    """Drop the legacy column and, with it, its index. Detections keep their vectors, ``single_model_id`` stays."""
    connection.execute(_SQL["drop_column"].format(column=sql.Identifier(LEGACY)))


def rename_columns(connection: Connection, names: Mapping[str, str]) -> None:
    """Give columns of ``deer`` other names."""
    for before, after in names.items():
        query = _SQL["rename_column"].format(column=sql.Identifier(before), name=sql.Identifier(after))
        connection.execute(query)
