"""Real photos behind the web (a station of nyala, decided about once, copied for each test), and a real browser."""

import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import uvicorn
from fastapi.testclient import TestClient
from playwright.sync_api import Browser, Page, expect, sync_playwright
from psycopg import sql
from psycopg.conninfo import make_conninfo

from deertrack import wiring
from deertrack.entry.web.app import make_app
from deertrack.services.run import RunRequest, run
from deertrack.settings import Settings
from deertrack.storage.db import Database
from deertrack.storage.jobs import JobQueue

STATION = "Camp"
LAPTOP = {"width": 1280, "height": 800}
PATIENCE = 30_000  # ms; nothing waits that long unless the machine has much else to do
expect.set_options(timeout=PATIENCE)


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


@pytest.fixture
def serve() -> Iterator[Callable[[Settings, Database], str]]:
    """Start a server of its own for a catalogue; returns its address."""
    with ExitStack() as servers:
        yield lambda settings, db: servers.enter_context(_serving(settings, db))


@contextmanager
def _serving(settings: Settings, db: Database) -> Iterator[str]:
    app = make_app(settings, db, JobQueue(db.url))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()  # a page that is quicker than the server waits for it
        config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """This machine's own Chromium."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no Chromium on this machine (Debian: apt install chromium)")
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*quiet, "--disable-sync"])
        yield browser
        browser.close()


@pytest.fixture
def new_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Another person's browser. What goes wrong in any script, or with a page's own policy, fails the test."""
    contexts, wrong = [], []

    def make(**options: Any) -> Page:
        context = browser.new_context(**{"viewport": LAPTOP, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if "Content Security" in said.text else None)
        return page

    yield make
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def open_page(new_page: Callable[..., Page], site: str) -> Callable[..., Page]:
    """Another person's browser at a path of the test's site."""

    def open_at(path: str, **options: Any) -> Page:
        page = new_page(base_url=site, **options)
        page.goto(path)
        return page

    return open_at


def _copy(server_url: str, template: str, name: str) -> None:
    with psycopg.connect(server_url, autocommit=True) as connection:
        make = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        connection.execute(make.format(sql.Identifier(name), sql.Identifier(template)))
