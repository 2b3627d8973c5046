"""Backup and restore of the whole database, with PostgreSQL's own pg_dump and pg_restore.

A restore fills a new database beside the old one, then swaps the two names in one transaction. So the result
is exactly what was backed up, without tables that came later, the old data can be read meanwhile, and
whatever goes wrong, and wherever, the database is as it was.
"""

import hashlib
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from deertrack.domain.errors import DatabaseError, InputError
from deertrack.storage.programs import client_command, tool_for_server

_LOCK_WAIT = "60s"  # for tables that a migration is changing
_PATIENCE = 10.0  # seconds to find a moment for the swap without clients of the database

Admin = psycopg.Connection[tuple[Any, ...]]


def backup(url: str, target: Path) -> int:
    """Write a consistent copy of the database to a file; the work of others goes on meanwhile.

    The file (pg_dump's custom format, readable by its owner only) appears when it is complete and was read
    through once, in place of an older one of that name.

    Args:
        url: connection URL of the database.
        target: the file to write, in a directory that exists.

    Returns:
        size of the file in bytes.

    Raises:
        InputError: the target is a directory, or its directory is missing or closed to us.
        DatabaseError: no suitable pg_dump, or it failed; an older file of that name is untouched.
    """
    if target.is_dir():
        raise InputError(f"{target} is a directory", hint="name the file to write")
    major, _ = _server(url)
    command, environment = client_command(tool_for_server("pg_dump", major), url)
    try:
        with tempfile.TemporaryDirectory(prefix=".deertrack-backup-", dir=target.parent) as folder:
            partial = Path(folder) / "dump"
            options = ["--no-password", "--format=custom", f"--lock-wait-timeout={_LOCK_WAIT}"]
            if problem := _run([*command, *options, f"--file={partial}"], environment):
                raise DatabaseError(f"cannot back up to {target}: {problem}")
            if problem := _problem_of(tool_for_server("pg_restore", major), partial):
                raise DatabaseError(f"cannot back up to {target}: it cannot be read back: {problem}")
            partial.chmod(0o600)  # it tells where the animals are
            partial.replace(target)
            return target.stat().st_size
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror}") from error


def sha256(file: Path) -> str:
    """The hash of a file's content, in 64 hexadecimal digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def check_dump(url: str, source: Path) -> None:
    """Read a backup through, without restoring it.

    Args:
        url: connection URL of a server: a dump is for one of its version.
        source: a file that `backup` wrote.

    Raises:
        InputError: there is no such file, or it is not an intact dump in pg_dump's custom format.
        DatabaseError: no suitable pg_restore.
    """
    major, _ = _server(url)
    _check_dump(tool_for_server("pg_restore", major), source)


def restore(url: str, source: Path) -> None:
    """Replace the database by what a backup holds. On any error the database is as it was.

    Everybody's connections to the database are closed at the end. It takes disk space for both for a while.
    A dump may contain any SQL: restore only files that you trust.

    Args:
        url: connection URL of the database, which must exist; its user must be allowed to create databases.
        source: a file that `backup` wrote.

    Raises:
        InputError: there is no such file, or it is not an intact dump in pg_dump's custom format.
        DatabaseError: no suitable pg_restore, or the server refuses.
    """
    major, name = _server(url)
    pg_restore = tool_for_server("pg_restore", major)
    _check_dump(pg_restore, source)
    tag = hashlib.sha256(name.encode()).hexdigest()[:12]
    fresh, old = f"deertrack_restoring_{tag}", f"deertrack_replaced_{tag}"
    try:
        with psycopg.connect(make_conninfo(url, dbname="postgres"), autocommit=True) as admin:
            try:
                _drop(admin, fresh)
                _drop(admin, old)
                admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(fresh)))
                _fill(pg_restore, make_conninfo(url, dbname=fresh), source)
                _swap(admin, name, fresh, old)
            finally:
                with suppress(psycopg.Error):
                    _drop(admin, fresh)
                    _drop(admin, old)
    except psycopg.Error as error:
        raise DatabaseError(
            f"cannot restore {source}; the database is unchanged: {str(error).strip()}",
            hint="its user must own the database and be allowed to create databases (CREATEDB)",
        ) from error


def _server(url: str) -> tuple[int, str]:
    """Major version of a server, and the name of the database there."""
    try:
        with psycopg.connect(url, connect_timeout=10) as connection:
            return connection.info.server_version // 10_000, connection.info.dbname
    except psycopg.Error as error:
        raise DatabaseError(f"cannot reach the database: {str(error).strip()}") from error


def _check_dump(pg_restore: Path, source: Path) -> None:
    """Read the whole dump, decompressing it, without a database."""
    hint = "name a file that `deertrack db backup` wrote"
    try:
        with source.open("rb") as file:
            magic = file.read(5)
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror}", hint=hint) from error
    if magic != b"PGDMP":
        raise InputError(f"{source} is not a PostgreSQL dump in custom format", hint=hint)
    if problem := _problem_of(pg_restore, source):
        raise InputError(f"{source} is damaged, or too new for this server: {problem}", hint=hint)


def _problem_of(pg_restore: Path, dump: Path) -> str:
    """What speaks against a dump, read to its end; empty if nothing does."""
    return _run([str(pg_restore), "--file=/dev/null", str(dump)])


def _fill(pg_restore: Path, url: str, source: Path) -> None:
    command, environment = client_command(pg_restore, url)
    options = ["--no-password", "--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges"]
    if problem := _run([*command, *options, str(source)], environment):
        raise DatabaseError(f"cannot restore {source}; the database is unchanged: {problem}")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ANALYZE")  # or the planner knows nothing of the tables for a minute


def _swap(admin: Admin, name: str, fresh: str, old: str) -> None:
    """Give `fresh` the name of the database, which becomes `old`: at once, or not at all."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            with admin.transaction():
                admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = ANY(%s) AND backend_type = 'client backend'",
                    [[name, fresh]],
                )
                for before, after in ((name, old), (fresh, name)):
                    rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
                    admin.execute(rename.format(sql.Identifier(before), sql.Identifier(after)))
            return
        except psycopg.errors.ObjectInUse:  # somebody came back in between
            if time.monotonic() > deadline:
                raise


def _drop(admin: Admin, name: str) -> None:
    admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _run(command: list[str], environment: dict[str, str] | None = None) -> str:
    """What a program complains about when it fails; empty if it succeeds."""
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stderr.strip() or f"exit status {done.returncode}"
