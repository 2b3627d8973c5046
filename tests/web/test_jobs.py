"""Jobs seen from the web while real workers do them: progress, stopping, doing again; boxes decided later."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
from fastapi.testclient import TestClient

from deertrack.entry.web.api import jobs as jobs_api
from deertrack.entry.web.app import make_app
from deertrack.services.progress import JobProgress
from deertrack.settings import Settings
from deertrack.storage.db import Database
from deertrack.storage.jobs import JobQueue

TOKEN = "a-token-that-is-long-enough"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def photos(tmp_path: Path, test_data: Path) -> Path:
    """Real photos of two stations, one of them broken."""
    folder = tmp_path / "photos"
    for station in ("Camp", "Creek"):
        (folder / station).mkdir(parents=True)
        for path in sorted((test_data / "nyala" / "cards" / station).rglob("*.JPG"))[:3]:
            shutil.copy(path, folder / station)
    shutil.copy(
        test_data / "bad_images" / "african_elephants_truncated_file.jpg", folder / "Camp" / "broken.jpg"
    )
    return folder


@pytest.fixture
def client(db: Database, photos: Path, tmp_path: Path) -> Iterator[TestClient]:
    settings = Settings(api_token=TOKEN, photos=photos, hosts="testserver", home=tmp_path / "home")
    with TestClient(make_app(settings, db, JobQueue(db.url)), headers=BEARER) as client:
        yield client


@pytest.fixture
def work(url: str, tmp_path: Path) -> Callable[[], None]:
    """Let a worker do all that waits."""

    def run() -> None:
        command = [
            sys.executable,
            "-m",
            "deertrack",
            "worker",
            "--until-empty",
            "--home",
            str(tmp_path / "home"),
        ]
        environment = {**os.environ, "DATABASE_URL": url}
        done = subprocess.run(command, env=environment, capture_output=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr.decode()

    return run


def order(client: TestClient, folder: Path, **options: Any) -> int:
    body = {"photos": [str(folder)], "whole_photo": True, **options}
    return int(client.post("/api/v1/runs", json=body).json()["job"])


def told(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


def test_the_plan_counts_photos_by_station_and_changes_nothing(client: TestClient, photos: Path) -> None:
    plan = client.post("/api/v1/runs/plan", json={"photos": [str(photos)]}).json()
    assert plan == {"photos_found": 7, "photos_known": 0, "stations": {"Camp": 4, "Creek": 3}}
    assert client.get("/api/v1/stations").json()["total"] == 0
    assert client.post("/api/v1/runs/plan", json={"photos": ["/etc"]}).status_code == 422


def test_a_job_tells_how_far_it_is_and_what_came_of_it(
    client: TestClient, photos: Path, work: Callable[[], None]
) -> None:
    job = order(client, photos, timezone="Africa/Nairobi")
    waiting = client.get(f"/api/v1/jobs/{job}").json()
    assert (waiting["status"], waiting["kind"], waiting["title"]) == ("todo", "run", "photos")
    assert (waiting["by"], waiting["report"], waiting["stages"]) == ("token", None, [])
    work()
    done = client.get(f"/api/v1/jobs/{job}").json()
    assert done["status"] == "succeeded"
    assert done["report"]["photos_new"] == 7
    assert (
        done["report"]["new"] + done["report"]["review"] + done["report"]["matched"]
        == done["report"]["tracks"]
    )
    assert "problems" not in done["report"]
    assert done["ordered_at"] < done["started_at"] < done["ended_at"]
    stages = {stage["stage"]: stage for stage in done["stages"]}
    assert stages["Reading photos"] == {"stage": "Reading photos", "done": 7, "total": 7}
    assert stages["Embedding"]["done"] == stages["Embedding"]["total"] == 7
    problems = client.get(f"/api/v1/jobs/{job}/problems").json()
    assert problems["total"] == done["problems"] == 1
    assert problems["items"][0]["path"].endswith("broken.jpg")
    assert client.get(f"/api/v1/jobs/{job}/problems?offset=1").json()["items"] == []
    again = order(client, photos)
    listed = client.get("/api/v1/jobs?limit=1").json()
    assert (listed["total"], [item["id"] for item in listed["items"]]) == (2, [again])
    assert client.get("/api/v1/stations").json()["items"][0]["timezone"] == "Africa/Nairobi"


def test_events_tell_each_change_and_end_with_the_job(
    client: TestClient, url: str, photos: Path, work: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_api, "_EVERY", 0.02)
    job = order(client, photos)
    command = [sys.executable, "-m", "deertrack", "worker", "--until-empty"]
    with (
        subprocess.Popen(command, env={**os.environ, "DATABASE_URL": url}),
        client.stream("GET", f"/api/v1/jobs/{job}/events") as stream,
    ):
        assert stream.headers["content-type"].startswith("text/event-stream")
        events = told(list(stream.iter_lines()))
    assert events[0]["status"] == "todo"
    assert events[-1]["status"] == "succeeded"
    assert events[-1]["report"]["photos_new"] == 7
    seen = [event["stages"][-1]["stage"] for event in events if event["stages"]]
    assert list(dict.fromkeys(seen))[:2] == ["Reading photos", "Storing detections"]
    assert all(a != b for a, b in pairwise(events))


def test_a_silent_stream_says_that_it_lives_and_holds_no_connection(
    client: TestClient, db: Database, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_api, "_EVERY", 0.02)
    monkeypatch.setattr(jobs_api, "_ALIVE", 0.1)
    job = order(client, photos)
    lines = []
    with client.stream("GET", f"/api/v1/jobs/{job}/events") as stream:
        for line in stream.iter_lines():
            lines.append(line)
            if line.startswith(":"):
                client.post(f"/api/v1/jobs/{job}/stop")
    assert [event["status"] for event in told(lines)] == ["todo", "cancelled"]
    end = time.monotonic() + 10  # the last look may be on its way back
    while (stats := db._pool.get_stats())["pool_available"] != stats["pool_size"]:
        assert time.monotonic() < end, stats
        time.sleep(0.02)


def test_a_waiting_job_is_taken_out_and_a_running_one_stops_where_it_is(
    client: TestClient, db: Database, url: str, photos: Path, work: Callable[[], None]
) -> None:
    first = order(client, photos)
    assert client.post(f"/api/v1/jobs/{first}/stop").json()["status"] == "cancelled"
    assert client.post(f"/api/v1/jobs/{first}/stop").status_code == 422
    second = order(client, photos)
    with psycopg.connect(url) as connection:  # somebody asks as soon as the job is at work
        connection.execute(
            "CREATE FUNCTION stop_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "UPDATE procrastinate_jobs SET abort_requested = true WHERE id = NEW.job_id; RETURN NEW; END $$"
        )
        connection.execute(
            "CREATE TRIGGER stop_it AFTER INSERT ON job_progress FOR EACH ROW EXECUTE FUNCTION stop_it()"
        )
    work()
    stopped = client.get(f"/api/v1/jobs/{second}").json()
    assert stopped["status"] == "aborted"
    assert "stopped" in stopped["error"]
    assert client.get("/api/v1/status").json()["totals"]["photos"] == 7  # what it had done is kept
    with psycopg.connect(url) as connection:
        connection.execute("DROP TRIGGER stop_it ON job_progress")
    third = client.post(f"/api/v1/jobs/{second}/retry").json()["job"]
    assert client.post(f"/api/v1/jobs/{third}/retry").status_code == 422  # it has not ended
    work()
    done = client.get(f"/api/v1/jobs/{third}").json()
    assert (done["status"], done["report"]["photos_known"]) == ("succeeded", 7)


def test_progress_is_written_twice_a_second_at_most(db: Database, client: TestClient, url: str) -> None:
    progress = JobProgress(db, 77)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE writes (at timestamptz DEFAULT clock_timestamp())")
        connection.execute(
            "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN INSERT INTO writes DEFAULT VALUES; RETURN NEW; END $$"
        )
        connection.execute(
            "CREATE TRIGGER note AFTER INSERT OR UPDATE ON job_progress FOR EACH ROW EXECUTE FUNCTION note()"
        )
        progress.start("Embedding", 1000)
        until = time.monotonic() + 1.2
        while time.monotonic() < until:
            progress.advance()
        progress.finish()
        (writes,) = connection.execute("SELECT count(*) FROM writes").fetchone() or (0,)
        (stages,) = connection.execute("SELECT stages FROM job_progress").fetchone() or ([],)
    assert 3 <= writes <= 4  # the start, two, the end
    assert stages[0]["done"] > 1000


def test_what_is_not_there_is_a_404(client: TestClient) -> None:
    for path in ("/api/v1/jobs/99", "/api/v1/jobs/99/events", "/api/v1/jobs/99/problems", "/jobs/99"):
        assert client.get(path).status_code == 404
    assert client.post("/api/v1/jobs/99/stop").status_code == 404
    assert client.get("/api/v1/jobs/99999999999999999999").status_code == 422


def test_boxes_that_people_draw_are_embedded_and_decided_by_a_job(
    client: TestClient, photos: Path, work: Callable[[], None]
) -> None:
    order(client, photos)
    work()
    image = next(
        image
        for image in range(1, 9)
        if client.get(f"/api/v1/photos/{image}/detections").json()["error"] is None
    )
    (box,) = client.get(f"/api/v1/photos/{image}/detections").json()["detections"]
    place = {"x": 0.1, "y": 0.1, "width": 0.4, "height": 0.5}
    added = client.post(f"/api/v1/photos/{image}/detections", json={"box": place, "flank": "left"}).json()
    assert added["detection"]["drawn_by"] == "token"
    inner = {"x": 0.2, "y": 0.2, "width": 0.6, "height": 0.7}
    mended = client.put(f"/api/v1/detections/{box['id']}/box", json=inner).json()
    assert mended["job"] == added["job"]  # one job does it for both
    assert mended["detection"]["sighting_id"] == box["sighting_id"]
    work()
    assert client.get(f"/api/v1/jobs/{added['job']}").json()["report"]["embedded"] == 2
    now = {d["id"]: d for d in client.get(f"/api/v1/photos/{image}/detections").json()["detections"]}
    assert now[box["id"]]["rejected"]
    assert now[added["detection"]["id"]]["sighting_id"] not in (None, box["sighting_id"])
    assert now[added["detection"]["id"]]["state"] in ("assigned", "review")
    rejected = client.post(f"/api/v1/detections/{mended['detection']['id']}/reject").json()
    assert (rejected["job"], rejected["detection"]["rejected"]) == (None, True)
    assert client.post(f"/api/v1/detections/{mended['detection']['id']}/restore").json()["job"]
    described = client.patch(f"/api/v1/detections/{added['detection']['id']}", json={"sex": "male"}).json()
    assert described["detection"]["sex"] == "male"
    for wrong in ({"x": 0.9, "y": 0.9, "width": 0, "height": 0.1}, {"x": 2, "y": 0, "width": 1, "height": 1}):
        assert client.post(f"/api/v1/photos/{image}/detections", json={"box": wrong}).status_code == 422


def test_a_station_is_changed_by_one_person_at_a_time(
    client: TestClient, photos: Path, work: Callable[[], None], url: str
) -> None:
    order(client, photos)
    work()
    way = f"/api/v1/stations/{client.get('/api/v1/stations').json()['items'][0]['id']}"
    seen = client.get(way)
    assert seen.json()["sightings"] > 0
    tag = {"If-Match": seen.headers["etag"]}
    looked = client.post(f"{way}/shift", json={"by": "+1h", "dry_run": True}, headers=tag).json()
    assert looked["after"]["first_photo"] > looked["before"]["first_photo"]
    assert client.get(way).json() == seen.json()  # it was only a look
    moved = client.post(f"{way}/shift", json={"by": "+1h"}, headers=tag)
    assert moved.json()["after"] == looked["after"]
    late = client.patch(way, json={"timezone": "Africa/Nairobi"}, headers=tag)
    assert late.status_code == 412
    assert late.json()["current"]["clock_shift"] == 3600
    tag = {"If-Match": moved.headers["etag"]}
    place = client.patch(
        way, json={"latitude": -24.5, "longitude": 31.5, "timezone": "Africa/Nairobi"}, headers=tag
    )
    assert (place.json()["latitude"], place.json()["timezone"]) == (-24.5, "Africa/Nairobi")
    assert client.patch(way, json={"latitude": None}).status_code == 422  # half a place
    assert client.patch(way, json={"latitude": None, "longitude": None}).json()["latitude"] is None
    assert client.patch(way, json={"timezone": "Mars/Olympus"}).status_code == 422
    assert client.post(f"{way}/shift", json={"by": "soon"}).status_code == 422
    assert client.get("/api/v1/stations/99").status_code == 404
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT actor FROM events WHERE kind = 'change station'").fetchall()
    assert rows == [("token",)] * 3


def test_the_server_has_a_worker_of_its_own_that_comes_back_and_goes_with_it(
    url: str, tmp_path: Path, photos: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "DATABASE_URL": url, "DEERTRACK_API_TOKEN": TOKEN}
    command = [
        sys.executable,
        "-m",
        "deertrack",
        "serve",
        "--port",
        str(port),
        "--home",
        str(tmp_path / "home"),
    ]
    server = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    web = httpx2.Client(base_url=f"http://127.0.0.1:{port}", headers=BEARER)

    def until(what: Callable[[], Any], seconds: float = 40) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if found := what():
                    return found
            except httpx2.HTTPError:
                pass
            time.sleep(0.1)
        raise AssertionError("it did not happen")

    def workers() -> list[int]:
        """The processes that this server started."""
        found = Path(f"/proc/{server.pid}/task").glob("*/children")
        return [int(pid) for children in found for pid in children.read_text().split()]

    try:
        body = {"photos": [str(photos)], "whole_photo": True}
        job = until(lambda: web.post("/api/v1/runs", json=body)).json()["job"]
        until(lambda: web.get(f"/api/v1/jobs/{job}").json()["status"] == "succeeded")
        (first,) = workers()
        os.kill(first, signal.SIGKILL)
        until(lambda: [pid for pid in workers() if pid != first])
        server.send_signal(signal.SIGKILL)  # it cannot say good-bye to its worker
        (second,) = [pid for pid in workers() if pid != first] or [0]
    finally:
        server.kill()
        server.wait()
    until(lambda: not second or not Path(f"/proc/{second}").exists())
