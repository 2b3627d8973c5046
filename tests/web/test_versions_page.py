"""Changing which version decides, over HTTP and in a browser's page."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from deertrack.domain.accounts import Role
from deertrack.domain.fusion import Weights
from deertrack.entry.web.app import make_app
from deertrack.services import accounts
from deertrack.services.lifecycle.validate import ValidationRequest, validate
from deertrack.settings import Settings
from deertrack.storage import catalogue, validations
from deertrack.storage.db import Database
from deertrack.storage.jobs import JobQueue

WHY = {"reason": "to see it"}


def state(client: TestClient) -> dict[str, Any]:
    return client.get("/api/v1/versions").json()


def test_a_fresh_catalogue_shows_what_packs_bring(db: Database, tmp_path: Path) -> None:
    app = make_app(Settings(hosts="testserver", home=tmp_path), db, JobQueue(db.url))
    with TestClient(app) as client:
        found = state(client)
        assert found["active"] is None
        assert {"v1_lite", "v3_lite", "v3_nyala"} <= {v["name"] for v in found["versions"]}
        assert all(v["coverage"] is None and v["needs_reason"] for v in found["versions"])
        page = client.get("/versions").text
        assert "deertrack reid reembed v3_lite" in page
        assert "data-version" not in page


def test_over_and_back(nyala: Database, nyala_client: TestClient) -> None:
    first = nyala_client.get("/api/v1/versions")
    roles = {v["name"]: v["role"] for v in first.json()["versions"]}
    assert roles["v3_lite"] == "active"
    refused = nyala_client.post("/api/v1/cutovers", json={"version": "v1_lite"})
    assert refused.status_code == 422
    assert "was never validated against 'v3_lite'" in refused.json()["title"]
    seen = {"If-Match": first.headers["etag"]}
    done = nyala_client.post("/api/v1/cutovers", json={"version": "v1_lite", **WHY}, headers=seen)
    assert done.status_code == 200, done.text
    assert (done.json()["version"], done.json()["before"]) == ("v1_lite", "v3_lite")
    assert state(nyala_client)["previous"] == "v3_lite"
    with nyala.transaction() as connection:
        told = catalogue.last_event(connection, "version:v1_lite")
    assert told
    assert (told["actor"], told["detail"]["reason"]) == ("user", "to see it")
    late = nyala_client.post("/api/v1/rollbacks", headers=seen)  # as it was before somebody cut over
    assert late.status_code == 412
    assert late.json()["current"]["active"] == "v1_lite"
    now = nyala_client.get("/api/v1/versions").headers["etag"]
    assert nyala_client.post("/api/v1/rollbacks", headers={"If-Match": now}).json()["version"] == "v3_lite"
    assert state(nyala_client)["active"] == "v3_lite"
    assert nyala_client.post("/api/v1/rollbacks").status_code == 422  # nothing is left to take back


def test_a_test_is_begun_and_ended(nyala_client: TestClient) -> None:
    order = {"version": "v1_lite", "share": 0.5, **WHY}
    begun = nyala_client.post("/api/v1/cutovers", json=order)
    assert begun.status_code == 200, begun.text
    found = state(nyala_client)
    assert (found["active"], found["test"]["version"], found["test"]["share"]) == ("v3_lite", "v1_lite", 0.5)
    assert "End the A/B test of v1_lite" in nyala_client.get("/versions").text
    assert nyala_client.get("/api/v1/dashboard/ab").json()["rows"][0]["measure"] == "assignment rate"
    assert nyala_client.post("/api/v1/rollbacks").json()["version"] == "v3_lite"
    assert state(nyala_client)["test"] is None


def test_a_cut_over_goes_once_however_often_it_is_sent(nyala_client: TestClient) -> None:
    key = {"Idempotency-Key": "once"}
    answers = [
        nyala_client.post("/api/v1/cutovers", json={"version": "v1_lite", **WHY}, headers=key)
        for _ in range(2)
    ]
    assert [a.status_code for a in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()


def test_a_passing_validation_needs_no_reason(nyala: Database, nyala_client: TestClient) -> None:
    with nyala.transaction() as connection:
        known = {r.version.name: r.version for r in validations.registered_versions(connection)}
        number = validations.add_validation(
            connection,
            new=known["v1_lite"],
            old=known["v3_lite"],
            weights=asdict(Weights(0.7, 0.3)),
            outcome="pass",
            report={"verdict": {"sentence": "Better <b>."}},
        )
    (v1,) = (v for v in state(nyala_client)["versions"] if v["name"] == "v1_lite")
    assert (v1["needs_reason"], v1["evidence"]["id"], v1["tuning"]["weights"]["multiscale"]) == (
        False,
        number,
        0.7,
    )
    page = nyala_client.get("/versions").text
    assert "Better &lt;b&gt;." in page
    assert nyala_client.post("/api/v1/cutovers", json={"version": "v1_lite"}).status_code == 200


def test_a_validations_report_can_be_read_without_paths(
    nyala: Database, nyala_client: TestClient, test_data: Path
) -> None:
    report = validate(nyala, ValidationRequest("v1_lite", "v3_lite", bootstrap=100))
    answer = nyala_client.get(f"/validations/{report.id}")
    assert answer.status_code == 200
    assert "v1_lite" in answer.text
    assert f"Validation {report.id}" in answer.text
    assert "connect-src" not in answer.headers["content-security-policy"]
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert str(test_data) not in answer.text
    assert nyala_client.get("/validations/999").status_code == 404


@pytest.mark.parametrize(
    "wrong",
    [{}, {"version": "v9_none"}, {"version": "v1_lite", "share": 0}, {"version": "v1_lite", "multiscale": 2}],
)
def test_orders_that_cannot_be(nyala_client: TestClient, wrong: dict[str, Any]) -> None:
    answer = nyala_client.post("/api/v1/cutovers", json=wrong)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


def test_only_admins_change_it(db: Database, tmp_path: Path) -> None:
    app = make_app(Settings(hosts="testserver", login=True, home=tmp_path), db, JobQueue(db.url))
    user = accounts.add_user(db, "ada", Role.REVIEWER, "four words nobody says", actor="test")
    headers = {"Authorization": f"Bearer {accounts.make_token(db, user.id, actor='test').secret}"}
    with TestClient(app, headers=headers) as client:
        assert client.get("/api/v1/versions").status_code == 200
        assert client.post("/api/v1/cutovers", json={"version": "v1_lite", **WHY}).status_code == 403
        assert client.post("/api/v1/rollbacks").status_code == 403
