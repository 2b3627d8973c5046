"""Real PostgreSQL for every test that asks: one embedded server a session, a fresh database a test."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from deertrack.storage.db import Database
from deertrack.storage.migrate import migrate
from deertrack.storage.server import EmbeddedServer

CHECKOUT = Path(__file__).parent.parent

# Tests expect of a fresh catalogue what the untrained pack does; test_default_pack.py is about the default.
os.environ["DEERTRACK_PACK"] = "lite"
# What a server keeps beside its database (small pictures, uploads) stays out of the user's own folder.
os.environ["DEERTRACK_HOME"] = tempfile.mkdtemp(prefix="deertrack-tests-home-")


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """An embedded server of this test process's own."""
    home = Path(tempfile.mkdtemp(prefix="deertrack-tests-"))
    server = EmbeddedServer(home)
    yield server.ensure()
    server.stop(mode="immediate")
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def template(server_url: str) -> str:
    """A database with the whole schema, that others are copied from."""
    name = "template_deertrack"
    _create(server_url, name)
    migrate(make_conninfo(server_url, dbname=name))
    return name


@pytest.fixture
def empty_url(server_url: str) -> Iterator[str]:
    """A database without any schema."""
    yield from _database(server_url, None)


@pytest.fixture
def url(server_url: str, template: str) -> Iterator[str]:
    """A migrated, empty catalogue by URL."""
    yield from _database(server_url, template)


@pytest.fixture
def db(url: str) -> Iterator[Database]:
    """A migrated, empty catalogue."""
    with Database(url) as database:
        yield database


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Real photos that cannot be shipped: DEERTRACK_TEST_DATA, else the folder shared/data beside the checkout."""
    folder = Path(os.environ.get("DEERTRACK_TEST_DATA", CHECKOUT.parent / "shared" / "data"))
    if not (folder / "nyala").is_dir():
        pytest.skip(f"no test photos in {folder}; set DEERTRACK_TEST_DATA")
    return folder


def _create(server_url: str, name: str, template: str = "template1") -> None:
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )


def _database(server_url: str, template: str | None) -> Iterator[str]:
    name = f"test_{uuid4().hex[:12]}"
    _create(server_url, name, template or "template1")
    yield make_conninfo(server_url, dbname=name)
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
