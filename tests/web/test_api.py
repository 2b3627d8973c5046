"""The HTTP interface and the queue behind it, with real workers."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from deertrack.entry.web.app import make_app
from deertrack.settings import Settings
from deertrack.storage.db import Database
from deertrack.storage.jobs import JobQueue

TOKEN = "a-token-that-is-long-enough"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six different pictures at one station, cropped to one animal each."""
    folder = tmp_path / "photos" / "Creek"
    folder.mkdir(parents=True)
    for seed in range(6):
        noise = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((640, 480), Image.Resampling.BICUBIC).save(folder / f"{seed}.jpg")
    return folder.parent


@pytest.fixture
def client(db: Database, photos: Path) -> Iterator[TestClient]:
    app = make_app(Settings(api_token=TOKEN, photos=photos, hosts="testserver"), db, JobQueue(db.url))
    with TestClient(app, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        yield client


def worker(url: str, *options: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "DATABASE_URL": url}
    return subprocess.Popen(
        [sys.executable, "-m", "deertrack", "worker", *options], env=environment, stderr=subprocess.PIPE
    )


def test_a_run_goes_through_the_queue_to_a_worker(client: TestClient, url: str, photos: Path) -> None:
    order = client.post("/api/v1/runs", json={"photos": [str(photos)], "whole_photo": True})
    assert order.status_code == 202
    job = order.json()["job"]
    assert client.get(f"/api/v1/runs/{job}").json() == {"job": job, "status": "todo", "outcome": None}
    assert worker(url, "--until-empty").wait(timeout=120) == 0
    done = client.get(f"/api/v1/runs/{job}").json()
    assert done["status"] == "succeeded", done["outcome"]
    assert done["outcome"]["photos_new"] == 6
    known = client.get("/api/v1/individuals").json()["items"]
    assert known
    met = client.get(f"/api/v1/individuals/{known[0]['number']}/sightings").json()
    assert met["items"][0]["photos"][0]["detection_id"] == known[0]["profile_detection_id"]
    assert client.get("/api/v1/status").json()["totals"]["photos"] == 6
    assert known[0]["name"] in client.get("/report").text


def test_a_killed_workers_job_is_done_by_the_next(client: TestClient, url: str, photos: Path) -> None:
    job = client.post("/api/v1/runs", json={"photos": [str(photos)], "whole_photo": True}).json()["job"]
    first = worker(url)
    deadline = time.monotonic() + 60
    while client.get(f"/api/v1/runs/{job}").json()["status"] == "todo" and time.monotonic() < deadline:
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.wait()
    with psycopg.connect(url) as connection:  # half a minute of silence, without waiting for it
        connection.execute("UPDATE procrastinate_workers SET last_heartbeat = now() - interval '1 minute'")
    assert worker(url, "--until-empty").wait(timeout=120) == 0
    assert client.get(f"/api/v1/runs/{job}").json()["status"] == "succeeded"
    assert client.get("/api/v1/status").json()["totals"]["photos"] == 6


def test_a_failed_run_says_why(client: TestClient, url: str, photos: Path) -> None:
    missing = str(photos / "nowhere")
    job = client.post("/api/v1/runs", json={"photos": [missing], "whole_photo": True}).json()["job"]
    worker(url, "--until-empty").wait(timeout=120)
    answer = client.get(f"/api/v1/runs/{job}").json()
    assert answer["status"] == "failed"
    assert missing in answer["outcome"]["error"]


def test_nobody_gets_in_without_the_token(client: TestClient) -> None:
    for headers in (
        {"Authorization": ""},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic eDp5"},
    ):
        assert client.get("/api/v1/status", headers=headers).status_code == 401
        assert client.get("/", headers=headers).status_code == 401
        assert client.post("/api/v1/runs", headers=headers, json={"photos": ["/"]}).status_code == 401
    assert client.get("/health", headers={"Authorization": ""}).json() == {"status": "ok"}


def test_other_names_for_this_server_are_refused(client: TestClient) -> None:
    assert client.get("/api/v1/status", headers={"Host": "evil.example"}).status_code == 400


@pytest.mark.parametrize("path", ["/etc", "{photos}/../..", "{photos}-other"])
def test_folders_outside_the_photos_are_refused(client: TestClient, photos: Path, path: str) -> None:
    path = path.replace("{photos}", str(photos))
    answer = client.post("/api/v1/runs", json={"photos": [path], "whole_photo": True})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert "is not inside" in answer.json()["title"]


def test_what_is_not_there_is_a_404_with_a_reason(client: TestClient) -> None:
    for path in ("/api/v1/individuals/99", "/api/v1/runs/99"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert "99" in answer.json()["title"]


def test_health_fails_when_the_database_is_gone(client: TestClient, url: str, server_url: str) -> None:
    name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )
        try:
            assert client.get("/health").status_code == 503
        finally:
            connection.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")


def test_serving_others_needs_a_token(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "deertrack",
        "serve",
        "--host",
        "0.0.0.0",
        "--home",
        str(tmp_path / "home"),
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "DEERTRACK_API_TOKEN" in done.stderr
