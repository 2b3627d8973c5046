"""The schema's history: numbered SQL files, applied and rolled back by yoyo, one process at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row
from yoyo import get_backend, read_migrations

from deertrack.domain.errors import MigrationError
from deertrack.storage.db import check_url, translated_errors
from deertrack.storage.layout import LEGACY, is_cleaned

# From the migration that makes the legacy column to the last one that names it.
_LEGACY_FROM, _LEGACY_UNTIL = "005", "015"

# Any number will do, as long as it stays: two processes must ask for the same one.
_MIGRATION_LOCK = 0x0DEE_0011


@dataclass(frozen=True, slots=True)
class SchemaState:
    """``applied`` and ``pending`` migrations by id, in order, e.g. ``011_add_reid_enhancement``.

    ``rolled_back`` are those of the pending that were undone on purpose.
    """

    applied: tuple[str, ...]
    pending: tuple[str, ...]
    rolled_back: tuple[str, ...] = ()


def schema_state(url: str) -> SchemaState:
    """Which migrations the database has and which it lacks."""
    with _yoyo(url) as (backend, migrations):
        return _state(backend, migrations)


def migrate(url: str) -> tuple[str, ...]:
    """Apply what is missing, in order; returns the ids applied now. Harmless when nothing is missing.

    Raises:
        MigrationError: one of them failed. It was rolled back; those before it stay.
    """
    with _yoyo(url) as (backend, migrations):
        done = []
        for migration in backend.to_apply(migrations):
            _step(migration.id, "apply", lambda m=migration: backend.apply_one(m))
            done.append(str(migration.id))
        return tuple(done)


def rollback(url: str, *, to: str) -> tuple[str, ...]:
    """Undo every migration after number ``to`` ("010", or "000" for all), newest first; returns their ids.

    Raises:
        MigrationError: no such number, a schema that the clean-up left no way back to, or a rollback failed (it was
            undone; the later ones stay rolled back).
    """
    check_rollback(url, to=to)
    with _yoyo(url) as (backend, migrations):
        done = []
        for migration in backend.to_rollback(migrations):
            if migration.id.split("_")[0] > to:
                _step(migration.id, "roll back", lambda m=migration: backend.rollback_one(m))
                done.append(str(migration.id))
        return tuple(done)


def check_rollback(url: str, *, to: str) -> None:
    """Make sure that there is a way back to migration ``to``; see :func:`rollback`.

    Raises:
        MigrationError: no such number, or that schema searches the column that the clean-up dropped.
    """
    with _yoyo(url) as (_, migrations):
        numbers = {m.id.split("_")[0] for m in migrations} | {"000"}
    if to not in numbers:
        raise MigrationError(f"there is no migration {to!r}", hint=f"Known: {', '.join(sorted(numbers))}.")
    with translated_errors(), psycopg.connect(url, row_factory=dict_row) as connection:
        if _LEGACY_FROM <= to < _LEGACY_UNTIL and is_cleaned(connection):
            raise MigrationError(
                f"there is no way back to migration {to}: what comes after it needs deer.{LEGACY}, which "
                "`deertrack reid cleanup` dropped",
                hint="deertrack db restore FILE brings back a backup from before the clean-up; rollback --to 000 "
                "removes everything.",
            )


def _state(backend: Any, migrations: Any) -> SchemaState:
    pending = {m.id for m in backend.to_apply(migrations)}
    ids = [m.id for m in migrations]
    undone = {
        row[0]
        for row in backend.execute("SELECT DISTINCT migration_id FROM _yoyo_log WHERE operation = 'rollback'")
    }
    return SchemaState(
        applied=tuple(i for i in ids if i not in pending),
        pending=tuple(i for i in ids if i in pending),
        rolled_back=tuple(i for i in ids if i in pending & undone),
    )


def _step(migration_id: str, verb: str, action: Any) -> None:
    try:
        action()
    except psycopg.Error as error:
        raise MigrationError(
            f"could not {verb} migration {migration_id}: {str(error).strip()}",
            hint="Nothing of it was kept. `deertrack db status` shows where the schema stands.",
        ) from error


@contextmanager
def _yoyo(url: str) -> Iterator[tuple[Any, Any]]:
    """yoyo's backend and migrations, held by one process at a time.

    An advisory lock, not yoyo's own lock table: that one outlives a killed process and blocks the next.
    """
    check_url(url)
    with translated_errors(), psycopg.connect(url, autocommit=True) as guard:
        guard.execute("SELECT pg_advisory_lock(%s)", [_MIGRATION_LOCK])
        with as_file(files(__package__).joinpath("migrations")) as folder:
            backend = get_backend(_yoyo_uri(url))
            try:
                yield backend, read_migrations(str(folder))
            finally:
                backend.connection.close()


def _yoyo_uri(url: str) -> str:
    """The same connection in yoyo's spelling, which knows URLs only."""
    parts = {k: str(v) for k, v in conninfo_to_dict(url).items() if v is not None}
    user, password = parts.pop("user", ""), parts.pop("password", "")
    database = parts.pop("dbname", user)
    login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    return f"postgresql+psycopg://{login}@/{quote(database)}?{urlencode(parts)}"
