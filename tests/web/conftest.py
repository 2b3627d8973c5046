"""A catalogue of real photos behind the web: one station of nyala, decided about once, copied for each test."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from fastapi.testclient import TestClient
from psycopg import sql
from psycopg.conninfo import make_conninfo

from deertrack import wiring
from deertrack.entry.web.app import make_app
from deertrack.services.run import RunRequest, run
from deertrack.settings import Settings
from deertrack.storage.db import Database
from deertrack.storage.jobs import JobQueue

STATION = "Camp"


@pytest.fixture(scope="session")
def nyala_template(server_url: str, template: str, test_data: Path) -> str:
    """A database that holds what a run over one station made of it."""
    name, data = "template_nyala", test_data / "nyala"
    _copy(server_url, template, name)
    with Database(make_conninfo(server_url, dbname=name)) as db:
        pack = wiring.load_pack(Settings(), db)
        run(
            db,
            RunRequest([data / "cards" / STATION], detections=data / "detections.json"),
            lambda _: wiring.make_embedder(Settings(), pack),
            lambda db: wiring.make_deciders(Settings(), db),
        )
    return name


@pytest.fixture
def nyala(server_url: str, nyala_template: str) -> Iterator[Database]:
    """That catalogue, for one test."""
    name = f"nyala_{uuid4().hex[:12]}"
    _copy(server_url, nyala_template, name)
    with Database(make_conninfo(server_url, dbname=name)) as db:
        yield db
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def nyala_client(nyala: Database, tmp_path: Path) -> Iterator[TestClient]:
    """The web over that catalogue, without a login."""
    settings = Settings(hosts="testserver", home=tmp_path / "home")
    with TestClient(make_app(settings, nyala, JobQueue(nyala.url))) as client:
        yield client


def _copy(server_url: str, template: str, name: str) -> None:
    with psycopg.connect(server_url, autocommit=True) as connection:
        make = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        connection.execute(make.format(sql.Identifier(name), sql.Identifier(template)))
