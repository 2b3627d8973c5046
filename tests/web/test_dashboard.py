"""The dashboard: numbers held against a small known herd, charts and CSV of it, and the real catalogue's page."""

import csv
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from fastapi.testclient import TestClient

from deertrack.entry.web.app import make_app
from deertrack.services.dashboard import NAMES, Asked, Dashboard
from deertrack.settings import Settings
from deertrack.storage.db import Database
from deertrack.storage.jobs import JobQueue

EVIL = "=Creek<script>"


@pytest.fixture
def client(db: Database) -> Iterator[TestClient]:
    with TestClient(make_app(Settings(hosts="testserver"), db, JobQueue(db.url))) as client:
        yield client


@pytest.fixture
def sql(url: str) -> Callable[..., Any]:
    """Run a statement; its first value."""

    def run(statement: str, *parameters: object) -> Any:
        with psycopg.connect(url) as connection:
            cursor = connection.execute(statement, parameters)
            row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None

    return run


@pytest.fixture
def herd(sql: Callable[..., Any]) -> Callable[..., None]:
    """Three animals at two stations; gives a way to add sightings."""
    for name, zone in ((EVIL, "America/Chicago"), ("Ridge", "UTC")):
        sql("INSERT INTO stations (name, timezone) VALUES (%s, %s)", name, zone)
    for number, sex, age, status in (
        (1, "male", "adult", "active"),
        (2, "female", "adult", "active"),
        (3, "female", "fawn", "active"),
        (4, "male", "adult", "retired"),
    ):
        sql(
            "INSERT INTO deer (number, name, sex, age_class, status) VALUES (%s, %s, %s, %s, %s)",
            number,
            f"Deer {number}",
            sex,
            age,
            status,
        )

    def seen(station: str, at: str | None, deer: int | None, state: str = "assigned") -> None:
        sql(
            "WITH e AS (INSERT INTO encounters (station_id, started_at, ended_at) "
            "SELECT id, %s::timestamptz, %s::timestamptz FROM stations WHERE name = %s RETURNING id) "
            "INSERT INTO sightings (encounter_id, deer_id, state) "
            "SELECT e.id, (SELECT id FROM deer WHERE number = %s), %s FROM e",
            at,
            at,
            station,
            deer,
            state,
        )

    seen(EVIL, "2025-10-01T03:00Z", 1)  # still the 30th of September in Chicago
    seen("Ridge", "2025-10-01T03:00Z", 2)
    seen("Ridge", "2025-10-05T18:00Z", 1)
    seen("Ridge", "2025-12-05T18:30Z", 3)
    seen("Ridge", "2025-12-06T18:30Z", None, "review")
    seen("Ridge", "2025-12-07T18:30Z", None, "no animal")
    seen("Ridge", None, 2)
    return seen


@pytest.fixture
def rows(client: TestClient) -> Callable[..., list[dict[str, Any]]]:
    """The rows of a table."""

    def ask(name: str, **limits: str) -> list[dict[str, Any]]:
        answer = client.get(f"/api/v1/dashboard/{name}", params=limits)
        assert answer.status_code == 200, answer.text
        return answer.json()["rows"]

    return ask


@pytest.mark.usefixtures("herd")
def test_individuals_are_counted_by_month_by_the_stations_clocks(rows: Callable[..., Any]) -> None:
    def row(period: str, sightings: int, individuals: int, new: int, known: int) -> dict[str, Any]:
        return {
            "period": period, "sightings": sightings, "individuals": individuals, "new": new, "known": known,
        }  # fmt: skip

    assert rows("population") == [
        row("2025-09-01", 1, 1, 1, 1),
        row("2025-10-01", 2, 2, 1, 2),
        row("2025-11-01", 0, 0, 0, 2),
        row("2025-12-01", 1, 1, 1, 3),
    ]
    assert rows("population", since="2025-10-02", until="2025-10-05") == [row("2025-10-01", 1, 1, 1, 2)]
    assert rows("population", since="2025-10-02", until="2025-10-04") == []
    assert rows("population", station=EVIL) == [row("2025-09-01", 1, 1, 1, 1)]
    assert [r["period"] for r in rows("population", by="week", until="2025-10-31")] == [
        "2025-09-29"
    ]  # Tuesday to Sunday of one week
    assert rows("discovery")[-1] == {"day": "2025-12-05", "sightings": 4, "individuals": 3}


@pytest.mark.usefixtures("herd")
def test_when_and_where(rows: Callable[..., Any]) -> None:
    assert rows("activity") == [
        {"station": EVIL, "hour": 22, "sightings": 1},
        {"station": "Ridge", "hour": 3, "sightings": 1},
        {"station": "Ridge", "hour": 18, "sightings": 3},  # with what waits, without what is no animal
    ]
    assert {"station": "Ridge", "period": "2025-12-01", "sightings": 2, "individuals": 1} in rows("visits")


@pytest.mark.usefixtures("herd")
def test_composition_is_of_who_was_seen_there_and_then(rows: Callable[..., Any]) -> None:
    def counted(**limits: str) -> dict[tuple[str, str], int]:
        return {(r["sex"], r["age_class"]): r["individuals"] for r in rows("composition", **limits)}

    assert counted() == {("female", "adult"): 1, ("female", "fawn"): 1, ("male", "adult"): 1}
    assert counted(station=EVIL) == {("male", "adult"): 1}
    assert counted(since="2025-12-01") == {("female", "fawn"): 1}


@pytest.mark.usefixtures("herd")
def test_a_night_lasts_from_noon_to_noon(sql: Callable[..., Any], rows: Callable[..., Any]) -> None:
    for n, at in enumerate(
        ("2025-10-01T23:00Z", "2025-10-02T01:00Z", "2025-10-02T11:59Z", "2025-10-02T12:00Z")
    ):
        sql(
            "INSERT INTO images (sha256, station_id, width, height, taken_at) "
            "SELECT sha256(%s::text::bytea), id, 9, 9, %s FROM stations WHERE name = 'Ridge'",
            n,
            at,
        )
    assert rows("nights") == [{"station": "Ridge", "period": "2025-10-01", "nights": 2, "photos": 4}]
    (day,) = rows("nights", since="2025-10-02", until="2025-10-02")
    assert (day["nights"], day["photos"]) == (2, 3)
    assert rows("nights", station=EVIL) == []


def test_what_waits_and_what_people_answered(
    herd: Callable[..., None], db: Database, sql: Callable[..., Any], rows: Callable[..., Any]
) -> None:
    sql("UPDATE sightings SET created_at = '2025-12-10T12:00Z' WHERE state = 'review'")
    assert rows("waiting") == [{"week": "2025-12-08", "waiting": 1}]
    assert rows("answered") == []
    sql("INSERT INTO models (fingerprint, output, pack) VALUES (repeat('a', 64), 'feature_vector', 'x')")
    sql(
        "INSERT INTO embedding_versions (name, stage, pack, single_model_id) SELECT 'v1', 1, 'x', id FROM models"
    )
    for actor, sighting in (("ada", 1), ("ada", 2), ("bob", 3), ("machine", 4)):
        sql(
            "INSERT INTO decisions (sighting_id, outcome, deer_id, version, actor, fingerprints, policy, "
            "candidates) SELECT id, 'assign', deer_id, 'v1', %s, '{}', '{}', '[]' FROM sightings WHERE id = %s",
            actor,
            sighting,
        )
    dashboard = Dashboard(db, seconds=0)
    (day,) = dashboard.table("answered", Asked()).rows
    assert day[1:] == (3, 2)


@pytest.mark.usefixtures("herd")
def test_as_csv_it_says_the_same_and_runs_nothing(client: TestClient, rows: Callable[..., Any]) -> None:
    answer = client.get("/api/v1/dashboard/activity?format=csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "deertrack-activity.csv" in answer.headers["content-disposition"]
    table = list(csv.DictReader(answer.text.splitlines()))
    assert [int(r["sightings"]) for r in table] == [r["sightings"] for r in rows("activity")]
    assert table[0]["station"] == f"'{EVIL}"


@pytest.mark.usefixtures("herd")
def test_the_page_draws_what_is_there_and_escapes_names(client: TestClient) -> None:
    answer = client.get("/dashboard?since=&until=&station=&by=month&decided=")  # as a form sends it
    assert answer.status_code == 200
    assert "<script>" not in answer.text.replace("</script>", "").replace('<script type="module"', "")
    assert "=Creek&lt;script&gt;" in answer.text
    assert " style=" not in answer.text
    figures = dict(
        re.findall(r'<figure class="card chart" id="(\w+)">(.*?)</figure>', answer.text, re.DOTALL)
    )
    drawn = {name for name, figure in figures.items() if 'role="img" aria-label=' in figure}
    assert drawn == {"population", "discovery", "visits", "activity", "composition"}
    for name in drawn:
        assert f'href="/api/v1/dashboard/{name}?format=csv&amp;by=month"' in figures[name]
        assert "<summary>Table</summary>" in figures[name]
        assert "NaN" not in figures[name]
    assert "Nothing here." in figures["nights"]


def test_an_empty_catalogue_has_empty_tables(client: TestClient, rows: Callable[..., Any]) -> None:
    assert client.get("/api/v1/dashboard").json() == {"tables": list(NAMES)}
    for name in NAMES:
        assert rows(name) == []
    for part in ("animals", "recognition"):
        assert client.get(f"/dashboard?part={part}").status_code == 200


def test_what_cannot_be_asked(client: TestClient) -> None:
    for address, status in (
        ("nothing", 404),
        ("population?since=yesterday", 422),
        ("population?by=hour", 422),
        ("population?since=2025-02-01&until=2025-01-01", 422),
        ("population?format=xlsx", 422),
        ("population?until=9999-12-31", 200),
        ("population?since=0001-01-01", 200),
        ("nights?since=0001-01-01&until=9999-12-31", 200),
        ("assignment?decided=0001-01-01", 200),
    ):
        answer = client.get(f"/api/v1/dashboard/{address}")
        assert answer.status_code == status, address
        if status != 200:
            assert answer.headers["content-type"] == "application/problem+json"


def test_counted_once_a_minute(herd: Callable[..., None], db: Database) -> None:
    kept, fresh = Dashboard(db), Dashboard(db, seconds=0)
    before = kept.table("activity", Asked()).rows
    herd("Ridge", "2025-12-05T07:00Z", 3)
    assert kept.table("activity", Asked()).rows == before
    assert len(fresh.table("activity", Asked()).rows) == len(before) + 1


def test_who_asks_later_gets_what_was_and_it_is_counted_anew(herd: Callable[..., None], db: Database) -> None:
    kept = Dashboard(db, seconds=0.01)
    before = kept.table("activity", Asked()).rows
    herd("Ridge", "2025-12-05T07:00Z", 3)
    end = time.monotonic() + 20
    while len(kept.table("activity", Asked()).rows) == len(before):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert len(kept.table("activity", Asked()).rows) == len(before) + 1


def test_recognition_of_a_real_catalogue(nyala: Database, nyala_client: TestClient) -> None:
    with nyala.transaction() as connection:
        decided = connection.execute(
            "SELECT outcome, count(*) AS n FROM decisions WHERE actor = 'machine' GROUP BY 1"
        ).fetchall()
    told = {row["outcome"]: row["n"] for row in decided}
    (row,) = nyala_client.get("/api/v1/dashboard/assignment?by=month").json()["rows"]
    assert (row["matched"], row["new"], row["review"]) == tuple(
        told.get(outcome, 0) for outcome in ("assign", "new", "review")
    )
    assert row["low"] <= row["rate"] <= row["high"]
    similar = nyala_client.get("/api/v1/dashboard/similarities").json()["rows"]
    assert 0 < sum(r["sightings"] for r in similar) <= sum(told.values())
    page = nyala_client.get("/dashboard?part=recognition").text
    figures = dict(re.findall(r'<figure class="card chart" id="(\w+)">(.*?)</figure>', page, re.DOTALL))
    for name in ("assignment", "similarities", "waiting", "versions"):
        assert 'role="img"' in figures[name], name
    assert "There never was an A/B test here." in figures["ab"]
    assert nyala_client.get("/dashboard?part=animals").status_code == 200
