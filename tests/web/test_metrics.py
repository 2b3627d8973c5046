"""GET /metrics as Prometheus reads it, held against the database."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from fastapi.testclient import TestClient
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families

from deertrack.entry.web.app import make_app
from deertrack.settings import Settings
from deertrack.storage.db import Database
from deertrack.storage.jobs import JobQueue

TOKEN = "a-token-that-is-long-enough"
Sample = Callable[..., float | None]


@pytest.fixture
def client(db: Database) -> Iterator[TestClient]:
    app = make_app(Settings(api_token=TOKEN, hosts="testserver"), db, JobQueue(db.url))
    with TestClient(app, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        yield client


@pytest.fixture
def sample(client: TestClient) -> Sample:
    """The value of one sample of a fresh scrape; None where there is none."""

    def ask(name: str, /, **labels: str) -> float | None:
        answer = client.get("/metrics")
        assert answer.status_code == 200
        found = [
            s.value
            for family in text_string_to_metric_families(answer.text)
            for s in family.samples
            if s.name == name and labels.items() <= s.labels.items()
        ]
        assert len(found) < 2, f"{name} {labels} is ambiguous"
        return found[0] if found else None

    return ask


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
def catalogue(sql: Callable[..., Any]) -> None:
    """Two versions in an A/B test, one individual, and four decisions."""
    sql("INSERT INTO stations (name) VALUES ('Creek')")
    sql("INSERT INTO images (sha256, station_id, width, height) SELECT sha256('x'), id, 9, 9 FROM stations")
    sql(
        "INSERT INTO models (fingerprint, output, pack) VALUES (repeat('a', 64), 'feature_vector', 'x'), "
        "(repeat('b', 64), 'feature_vector', 'x')"
    )
    sql(
        "INSERT INTO embedding_versions (name, stage, pack, single_model_id) "
        "SELECT CASE output WHEN 'feature_vector' THEN 'v1_' || left(fingerprint, 1) END, 1, 'x', id FROM models"
    )
    sql(
        "INSERT INTO deer (number, name, single_model_id, feature_vector) "
        "SELECT 1, 'Deer 1', id, ('[1' || repeat(',0', 511) || ']')::vector FROM models WHERE fingerprint ~ '^a'"
    )
    sql(
        "INSERT INTO settings (key, value) VALUES ('active_version', '\"v1_a\"'), "
        '(\'ab_test\', \'{"version": "v1_b", "share": 0.5, "since": "2026-01-01T00:00:00+00:00"}\')'
    )
    decide(sql, "assign", 0.5, 4.0)
    decide(sql, "assign", 0.81, 30.0)
    decide(sql, "review", 0.3, 2.0)
    decide(sql, "assign", 0.9, 8.0, arm="enhanced", version="v1_b")


def decide(
    sql: Callable[..., Any],
    outcome: str,
    similarity: float,
    milliseconds: float,
    *,
    arm: str | None = "control",
    version: str = "v1_a",
    actor: str = "machine",
) -> None:
    sql(
        "WITH e AS (INSERT INTO encounters (station_id) SELECT id FROM stations RETURNING id), "
        "d AS (SELECT CASE WHEN %s = 'review' THEN NULL ELSE (SELECT id FROM deer) END AS id), "
        "g AS (INSERT INTO sightings (encounter_id, deer_id, state) "
        "SELECT e.id, d.id, CASE WHEN d.id IS NULL THEN 'review' ELSE 'assigned' END FROM e, d RETURNING *) "
        "INSERT INTO decisions (sighting_id, outcome, deer_id, version, arm, candidates, milliseconds, actor, "
        "fingerprints, policy) SELECT g.id, %s, g.deer_id, %s, %s, "
        "jsonb_build_array(jsonb_build_object('deer_id', 1, 'similarity', %s::float8)), %s, %s, '{}', '{}' FROM g",
        outcome,
        outcome,
        version,
        arm,
        similarity,
        milliseconds,
        actor,
    )


def test_the_token_guards_the_metrics_too(client: TestClient) -> None:
    assert client.get("/metrics", headers={"Authorization": ""}).status_code == 401
    assert client.get("/metrics").status_code == 200


def test_an_empty_catalogue_has_metrics(client: TestClient, sample: Sample) -> None:
    assert client.get("/metrics").headers["content-type"].startswith("text/plain; version=0.0.4")
    assert sample("deertrack_photos") == 0
    assert sample("deertrack_decisions_total") is None
    assert sample("deertrack_alerts", name="score_drift", level="alert") == 0


@pytest.mark.usefixtures("catalogue")
def test_what_the_metrics_say_is_what_the_database_holds(url: str, sample: Sample) -> None:
    JobQueue(url).defer("anything", {})
    assert sample("deertrack_photos") == 1
    assert sample("deertrack_individuals", status="active") == 1
    assert sample("deertrack_sightings", state="assigned") == 3
    assert sample("deertrack_sightings", state="review") == 1
    assert sample("deertrack_jobs", status="todo") == 1
    assert sample("deertrack_active_version_info", version="v1_a", challenger="v1_b") == 1
    assert sample("deertrack_incomparable_individuals", version="v1_a") == 0
    assert sample("deertrack_incomparable_individuals", version="v1_b") == 1
    assert sample("deertrack_alerts", name="missing_vectors", level="alert") == 1
    control = {"version": "v1_a", "arm": "control"}
    assert sample("deertrack_decisions_total", outcome="assign", **control) == 2
    assert sample("deertrack_decisions_total", outcome="review", **control) == 1
    assert sample("deertrack_decisions_total", outcome="assign", version="v1_b", arm="enhanced") == 1
    for edge, count in (("0.45", 1), ("0.5", 2), ("0.8", 2), ("0.85", 3), ("+Inf", 3)):
        assert sample("deertrack_best_similarity_bucket", le=edge, **control) == count
    assert sample("deertrack_best_similarity_sum", **control) == pytest.approx(1.61)
    for edge, count in (("0.001", 0), ("0.002", 1), ("0.005", 2), ("0.02", 2), ("0.05", 3), ("+Inf", 3)):
        assert sample("deertrack_decision_seconds_bucket", le=edge, **control) == count
    assert sample("deertrack_decision_seconds_count", **control) == 3
    assert sample("deertrack_decision_seconds_sum", **control) == pytest.approx(0.036)


@pytest.mark.usefixtures("catalogue")
def test_decisions_are_counted_on_from_scrape_to_scrape(sample: Sample, sql: Callable[..., Any]) -> None:
    labels = {"version": "v1_a", "arm": "control", "outcome": "assign"}
    assert sample("deertrack_decisions_total", **labels) == 2
    assert sample("deertrack_decisions_total", **labels) == 2
    decide(sql, "assign", 0.7, 3.0)
    decide(sql, "assign", 0.7, 3.0, actor="ranger")  # a person's are not the machine's
    assert sample("deertrack_decisions_total", **labels) == 3
    assert sample("deertrack_decision_seconds_count", version="v1_a", arm="control") == 4
    sql("DELETE FROM decisions WHERE id > 1")  # an older backup was restored
    assert sample("deertrack_decisions_total", **labels) == 1


@pytest.mark.usefixtures("catalogue")
def test_false_positives_are_among_the_reviewed(sample: Sample, sql: Callable[..., Any]) -> None:
    sql("INSERT INTO deer (number, name, status) VALUES (2, 'Deer 2', 'retired')")
    for sighting, deer in ((1, 1), (2, 2)):
        sql("UPDATE sightings SET deer_id = %s WHERE id = %s", deer, sighting)
        sql(
            "INSERT INTO decisions (sighting_id, outcome, deer_id, version, candidates, actor, fingerprints, "
            "policy) VALUES (%s, 'assign', %s, 'v1_a', '[]', 'ranger', '{}', '{}')",
            sighting,
            deer,
        )
    labels = {"version": "v1_a", "arm": "control", "outcome": "assign"}
    assert sample("deertrack_reviewed_decisions", verdict="right", **labels) == 1
    assert sample("deertrack_reviewed_decisions", verdict="wrong", **labels) == 1


@pytest.mark.usefixtures("catalogue")
def test_open_metrics_for_who_asks(client: TestClient) -> None:
    answer = client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    families = {family.name: family for family in open_metrics(answer.text)}
    assert families["deertrack_decisions"].type == "counter"
    assert families["deertrack_active_version"].type == "info"
    assert families["deertrack_decision_seconds"].type == "histogram"


def test_a_database_that_is_gone_is_said_so(db: Database, client: TestClient) -> None:
    db.close()
    answer = client.get("/metrics")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
