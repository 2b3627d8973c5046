"""The audit: every log of a real catalogue, complete, in order, and harmless in a spreadsheet."""

import csv
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from deertrack.domain.accounts import Role
from deertrack.entry.web.app import make_app
from deertrack.services import accounts
from deertrack.settings import Settings
from deertrack.storage import catalogue
from deertrack.storage.db import Database
from deertrack.storage.jobs import JobQueue

Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def ask(nyala_client: TestClient) -> Ask:
    def get(**parameters: object) -> dict[str, Any]:
        answer = nyala_client.get("/api/v1/audit", params={k: str(v) for k, v in parameters.items()})
        assert answer.status_code == 200, answer.text
        return answer.json()

    return get


@pytest.fixture
def event(nyala: Database) -> Callable[..., None]:
    def add(actor: str, kind: str, subject: str, detail: dict[str, object]) -> None:
        with nyala.transaction() as connection:
            catalogue.add_event(connection, actor, kind, subject, detail)

    return add


def waiting(client: TestClient) -> int:
    return int(client.get("/api/v1/reviews").json()["items"][0]["id"])


def test_every_line_of_every_log_comes_once_and_in_order(
    nyala: Database, nyala_client: TestClient, ask: Ask
) -> None:
    for number in (1, 2):
        answer = nyala_client.patch(f"/api/v1/individuals/{number}", json={"name": f"Named {number}"})
        assert answer.status_code == 200, answer.text
    with nyala.transaction() as connection:
        (expected,) = connection.execute(
            "SELECT (SELECT count(*) FROM events) AS event, (SELECT count(*) FROM decisions) AS decision, "
            "(SELECT sum(jsonb_array_length(items)) FROM edits) AS edit"
        )
    found: list[dict[str, Any]] = []
    before = None
    while True:
        page = ask(limit=17, **({"before": before} if before else {}))
        found += page["items"]
        before = page["next"]
        assert len(page["items"]) == 17 or before is None
        if before is None:
            break
    counts = {log: sum(line["log"] == log for line in found) for log in expected}
    assert counts == expected
    assert all(expected.values())
    assert len({(line["log"], line["id"], line["subject"]) for line in found}) == len(found)
    times = [line["at"] for line in found]
    assert times == sorted(times, reverse=True)
    lines = nyala_client.get("/api/v1/audit.jsonl").text.splitlines()
    assert [json.loads(line) for line in lines] == found


def test_a_persons_change_says_from_what_to_what(nyala_client: TestClient, ask: Ask) -> None:
    before = nyala_client.get("/api/v1/individuals/1").json()["name"]
    nyala_client.patch("/api/v1/individuals/1", json={"name": "Old Crooked"})
    (line,) = [one for one in ask(actor="user")["items"] if one["log"] == "edit"]
    assert line["subject"].startswith("deer:")
    assert line["from"]["name"] == before
    assert line["to"]["name"] == "Old Crooked"
    assert line["at"].endswith("Z")


def test_a_decision_says_from_whom_to_whom(nyala: Database, nyala_client: TestClient, ask: Ask) -> None:
    sighting = waiting(nyala_client)
    said = nyala_client.post(
        f"/api/v1/sightings/{sighting}/answer", json={"verdict": "same", "individual": 1}
    )
    assert said.status_code == 200, said.text
    person, machine = ask(subject=f"sighting:{sighting}", kind="decide")["items"]
    assert (person["actor"], person["kind"]) == ("user", "decide assign")
    assert person["from"]["outcome"] == "review"
    assert person["to"]["number"] == 1
    assert (machine["actor"], machine["kind"], machine["from"]) == ("machine", "decide review", None)
    assert machine["detail"]["version"] == "v3_lite"
    assert 0 <= machine["detail"]["probability"] <= 1


def test_lines_are_found_by_who_what_and_when(event: Callable[..., None], ask: Ask) -> None:
    start = datetime.now(UTC)
    event("ada", "rename", "deer:7", {"from": "A", "to": "B"})
    event("bob", "rename", "deer:70", {"from": "C", "to": "D"})
    event("ada", "policy", "catalogue", {"was": 0.01, "to": 0.02, "why": "less work"})

    def subjects(**limits: object) -> list[str]:
        return [line["subject"] for line in ask(**limits)["items"]]

    assert subjects(actor="ada") == ["catalogue", "deer:7"]
    assert subjects(kind="rename", since=start.isoformat()) == ["deer:70", "deer:7"]
    assert subjects(subject="deer:7") == ["deer:7"]
    assert subjects(subject="deer", actor="bob") == ["deer:70"]
    assert subjects(until=start.isoformat(), actor="ada") == []
    (policy,) = ask(kind="policy")["items"]
    assert (policy["from"], policy["to"], policy["detail"]) == (0.01, 0.02, {"why": "less work"})
    assert {line["actor"] for line in ask(actor="machine")["items"]} == {"machine"}


def test_a_spreadsheet_runs_nothing(nyala_client: TestClient, event: Callable[..., None]) -> None:
    event("=cmd()", "rename", "deer:7", {"from": "@SUM(A1)", "to": "+1", "note": 'a "b", c\nd'})
    answer = nyala_client.get("/api/v1/audit.csv?subject=deer:7")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["content-disposition"]
    (row,) = csv.DictReader(answer.text.splitlines(keepends=True))
    assert (row["actor"], row["from"], row["to"]) == ("'=cmd()", "'@SUM(A1)", "'+1")
    assert json.loads(row["detail"]) == {"note": 'a "b", c\nd'}
    assert datetime.fromisoformat(row["at"]).utcoffset().total_seconds() == 0  # type: ignore[union-attr]


def test_the_whole_log_is_never_in_memory(nyala: Database, nyala_client: TestClient) -> None:
    """Twenty thousand lines come in pieces, all of them, whoever reads slowly holding no connection."""
    with nyala.transaction() as connection:
        connection.execute(
            "INSERT INTO events (actor, kind, subject, detail) "
            "SELECT 'bulk', 'rename', 'deer:' || n, '{}' FROM generate_series(1, 20000) n"
        )
    seen, pieces = 0, 0
    with nyala_client.stream("GET", "/api/v1/audit.jsonl?actor=bulk") as answer:
        for piece in answer.iter_raw():
            pieces += 1
            seen += piece.count(b"\n")
    assert seen == 20_000
    assert pieces > 10


def test_what_cannot_be_asked(nyala_client: TestClient) -> None:
    start = "before=2025-01-01T00:00:00Z"
    wrong = ("before=x", "before=2025-01-01_event_1_0", f"{start}_event_-1_0", f"{start}_event_{10**20}_0")
    for query in (*wrong, "since=yesterday", "limit=0", "limit=5000"):
        answer = nyala_client.get(f"/api/v1/audit?{query}")
        assert answer.status_code == 422, query
        assert answer.headers["content-type"] == "application/problem+json"


def test_only_admins_read_it(db: Database, tmp_path: Path) -> None:
    app = make_app(Settings(hosts="testserver", login=True, home=tmp_path), db, JobQueue(db.url))
    with TestClient(app) as client:
        for role, status in ((Role.REVIEWER, 403), (Role.ADMIN, 200)):
            user = accounts.add_user(db, role.word, role, "four words nobody says", actor="test")
            token = accounts.make_token(db, user.id, actor="test").secret
            for address in ("audit", "audit.csv", "audit.jsonl"):
                headers = {"Authorization": f"Bearer {token}"}
                assert client.get(f"/api/v1/{address}", headers=headers).status_code == status
                assert client.get(f"/api/v1/{address}").status_code == 401
