"""Whatever anybody sends to the API: never a bug's answer. Wild requests made from its own description."""

from pathlib import Path
from typing import Any

import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings

from deertrack.entry.web.app import make_app
from deertrack.settings import Settings
from deertrack.storage.db import Database
from deertrack.storage.jobs import JobQueue

ENDLESS = {"/api/v1/jobs/{job}/events"}  # a stream


WILD = settings(
    max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)


def test_no_request_meets_a_bug(nyala: Database, tmp_path: Path) -> None:
    app = make_app(Settings(hosts="testserver", home=tmp_path, photos=tmp_path), nyala, JobQueue(nyala.url))
    schema = schemathesis.openapi.from_asgi("/openapi.json", app).exclude(path=sorted(ENDLESS))
    tried, wrong = 0, []

    def ask(case: Any) -> None:
        nonlocal tried
        tried += 1
        answer = case.call(headers={"Host": "testserver"})
        if answer.status_code >= 500 and not (case.path == "/health" and answer.status_code == 503):
            wrong.append((case.method, case.path, case.query, case.body, answer.text[:300]))
        if answer.status_code >= 400 and case.path.startswith("/api/"):
            assert answer.headers["content-type"][0].startswith("application/problem+json"), case.path

    for found in schema.get_all_operations():
        WILD(given(found.ok().as_strategy())(ask))()
    assert wrong == []
    assert tried > 400


def test_everything_is_described(nyala_client: TestClient) -> None:
    described = nyala_client.get("/openapi.json").json()
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            assert operation.get("summary"), (path, method)
            if path.startswith("/api/"):
                assert operation.get("description"), (path, method)
