"""Backup and restore against a real server: what was backed up comes back, and a failure changes nothing."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from deertrack.domain.errors import DatabaseError, InputError
from deertrack.storage import programs
from deertrack.storage.backup import backup, restore
from deertrack.storage.programs import tool, tool_for_server
from deertrack.storage.server import EmbeddedServer

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the embedded server needs Linux or macOS")


@pytest.fixture(scope="module")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = EmbeddedServer(tmp_path_factory.mktemp("home"))
    yield server.ensure()
    server.stop()


@pytest.fixture
def url(server_url: str) -> Iterator[str]:
    """A database with a few deer, their vectors and an HNSW index on them."""
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute("CREATE DATABASE herd")
    herd = server_url.replace("@/deertrack?", "@/herd?")
    with psycopg.connect(herd) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute("CREATE TABLE deer (id int PRIMARY KEY, name text, feature_vector vector(3))")
        connection.execute("CREATE INDEX deer_hnsw ON deer USING hnsw (feature_vector vector_cosine_ops)")
        connection.execute(
            "INSERT INTO deer SELECT n, 'Hirsch ü ' || n, ARRAY[sin(n), cos(n), n / 1000.0]::vector"
            " FROM generate_series(1, 1000) n"
        )
    yield herd
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute("DROP DATABASE herd WITH (FORCE)")


def content(url: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT id, name, feature_vector::text FROM deer ORDER BY id").fetchall()
        indexes = connection.execute("SELECT indexdef FROM pg_indexes WHERE tablename = 'deer' ORDER BY 1")
        return [*rows, *indexes.fetchall()]


def databases(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        return {name for (name,) in connection.execute("SELECT datname FROM pg_database")}


def test_round_trip_brings_back_rows_vectors_and_index(url: str, tmp_path: Path) -> None:
    before, names = content(url), databases(url)
    dump = tmp_path / "Sicherung ü.dump"
    size = backup(url, dump)
    assert size == dump.stat().st_size > 10_000
    assert dump.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [dump.name]  # nothing temporary left

    with psycopg.connect(url) as connection:
        connection.execute("DELETE FROM deer WHERE id % 2 = 0")
        connection.execute("UPDATE deer SET name = 'x'")
        # What a later version of deertrack might have added, in the way of dropping the old table.
        connection.execute("CREATE TABLE later (deer_id int REFERENCES deer)")
    restore(url, dump)
    assert content(url) == before
    assert databases(url) == names
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT to_regclass('later')").fetchone() == (None,)
        nearest = "SELECT id FROM deer ORDER BY feature_vector <=> '[0.84,0.54,0.001]' LIMIT 1"
        connection.execute("SET enable_seqscan = off")
        assert "deer_hnsw" in str(connection.execute(f"EXPLAIN {nearest}").fetchall())
        assert connection.execute(nearest).fetchone() == (1,)


def test_backup_is_one_moment_while_others_write(url: str, tmp_path: Path) -> None:
    """Each transaction adds a pair, so a consistent copy holds an even number."""
    done = threading.Event()

    def write() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            number = 10_000
            while not done.is_set():
                with connection.transaction():
                    for _ in range(2):
                        connection.execute("INSERT INTO deer (id) VALUES (%s)", [number])
                        number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        backup(url, tmp_path / "dump")
    finally:
        done.set()
        writer.join()
    restore(url, tmp_path / "dump")
    assert (len(content(url)) - 2) % 2 == 0


def test_restore_needs_nobody_to_leave(url: str, tmp_path: Path) -> None:
    backup(url, tmp_path / "dump")
    with closing(psycopg.connect(url)) as reader, closing(psycopg.connect(url)) as writer:
        reader.execute("SELECT * FROM deer LIMIT 1")
        writer.execute("UPDATE deer SET name = 'never committed'")
        restore(url, tmp_path / "dump")
        with pytest.raises(psycopg.OperationalError):
            reader.execute("SELECT 1")
    assert content(url)[0][1] == "Hirsch ü 1"


@pytest.mark.parametrize("damage", ["text", "empty", "missing", "folder", "truncated", "flipped", "header"])
def test_restore_refuses_what_is_no_intact_dump(url: str, tmp_path: Path, damage: str) -> None:
    good, bad = tmp_path / "good.dump", tmp_path / "bad.dump"
    backup(url, good)
    dump = bytearray(good.read_bytes())
    if damage == "text":
        bad.write_text("DROP TABLE deer;")
    elif damage == "empty":
        bad.touch()
    elif damage == "folder":
        bad.mkdir()
    elif damage == "truncated":
        bad.write_bytes(dump[: len(dump) // 2])
    elif damage == "flipped":
        # The compressed rows are by far the largest part, so the middle of the file is within them.
        for offset in range(len(dump) // 2, len(dump) // 2 + 40):
            dump[offset] ^= 0x55
        bad.write_bytes(dump)
    elif damage == "header":
        bad.write_bytes(b"PGDMP" + os.urandom(200))
    before, names = content(url), databases(url)
    with pytest.raises(InputError, match=r"bad\.dump"):
        restore(url, bad)
    assert content(url) == before
    assert databases(url) == names


def test_restore_that_the_server_refuses_changes_nothing(url: str, tmp_path: Path) -> None:
    """A dump that is intact but cannot be loaded: its check constraint no longer holds for its rows."""
    with psycopg.connect(url) as connection:
        connection.execute("CREATE FUNCTION calm(int) RETURNS bool LANGUAGE sql AS 'SELECT true'")
        connection.execute("ALTER TABLE deer ADD CHECK (calm(id))")
        connection.execute(
            "CREATE OR REPLACE FUNCTION calm(int) RETURNS bool LANGUAGE sql AS 'SELECT $1 < 5'"
        )
    backup(url, tmp_path / "dump")
    before, names = content(url), databases(url)
    with pytest.raises(DatabaseError, match=r"unchanged.*check constraint"):
        restore(url, tmp_path / "dump")
    assert content(url) == before
    assert databases(url) == names


def test_killed_restore_changes_nothing_and_the_next_one_works(url: str, tmp_path: Path) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE FUNCTION calm(int) RETURNS bool LANGUAGE sql AS 'SELECT true'")
        connection.execute("ALTER TABLE deer ADD CHECK (calm(id))")
        connection.execute(
            "CREATE OR REPLACE FUNCTION calm(int) RETURNS bool LANGUAGE sql AS"
            " 'SELECT pg_sleep(0.2) IS NOT NULL'"  # loading the rows would take minutes
        )
    backup(url, tmp_path / "slow")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE OR REPLACE FUNCTION calm(int) RETURNS bool LANGUAGE sql AS 'SELECT true'")
    backup(url, tmp_path / "quick")
    before, names = content(url), databases(url)

    program = "import sys; from pathlib import Path; from deertrack.storage.backup import restore; "
    program += "restore(sys.argv[1], Path(sys.argv[2]))"
    client = subprocess.Popen([sys.executable, "-c", program, url, str(tmp_path / "slow")])
    deadline = time.monotonic() + 20
    while databases(url) == names:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.5)
    client.kill()
    client.wait()
    assert content(url) == before

    restore(url, tmp_path / "quick")
    assert content(url) == before
    assert databases(url) == names


@pytest.mark.parametrize("target", ["no/such/folder/dump", "."])
def test_backup_refuses_an_impossible_target(url: str, tmp_path: Path, target: str) -> None:
    with pytest.raises(InputError):
        backup(url, tmp_path / target)
    assert list(tmp_path.iterdir()) == []


def test_failed_backup_keeps_the_older_file(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deertrack.storage.backup._LOCK_WAIT", "200ms")
    dump = tmp_path / "dump"
    dump.write_text("precious")
    with psycopg.connect(url) as connection:
        connection.execute("ALTER TABLE deer ALTER name TYPE text")  # holds the table until we commit
        with pytest.raises(DatabaseError, match="timeout"):
            backup(url, dump)
    assert [path.name for path in tmp_path.iterdir()] == ["dump"]
    assert dump.read_text() == "precious"


def test_unreachable_database_is_said_so(tmp_path: Path) -> None:
    nobody = f"postgresql:///deertrack?host={tmp_path}"
    with pytest.raises(DatabaseError, match="cannot reach"):
        backup(nobody, tmp_path / "dump")
    with pytest.raises(DatabaseError, match="cannot reach"):
        restore(nobody, tmp_path / "dump")


def test_tools_match_the_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert tool_for_server("pg_dump", 18) == tool("pg_dump")
    for version in (17, 42):
        (tmp_path / "pg_dump").write_text(f"#!/bin/sh\necho 'pg_dump (PostgreSQL) {version}.3 (Debian)'\n")
        (tmp_path / "pg_dump").chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        assert tool_for_server("pg_dump", version) == tmp_path / "pg_dump"
    with pytest.raises(DatabaseError, match=r"server is PostgreSQL 99.*found: .*18, 42") as caught:
        tool_for_server("pg_dump", 99)
    assert "99 or later" in caught.value.hint


def test_password_is_not_an_argument() -> None:
    command, environment = programs.client_command(Path("psql"), "postgresql://me:s%40cret@db.example:5433/x")
    assert "s@cret" not in " ".join(command)
    assert environment["PGPASSWORD"] == "s@cret"
    assert command[0] == "psql"
    assert all(part in command[1] for part in ("user=me", "host=db.example", "port=5433", "dbname=x"))
