"""``deertrack reid monitor`` and ``reid ab`` as a person and a script see them."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import typer
from typer.testing import CliRunner

from deertrack.domain.errors import InputError
from deertrack.domain.separation import Estimate
from deertrack.entry.cli.monitor import ab_command, bars, interval, monitor_command

NOW = datetime.now(UTC)


@pytest.fixture
def deertrack(url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run one of the two commands on the test's database; what it printed."""
    app = typer.Typer()
    app.command("monitor")(monitor_command)
    app.command("ab")(ab_command)
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("COLUMNS", "160")

    def run(*words: str) -> str:
        result = CliRunner().invoke(app, words)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    return run


@pytest.fixture
def trial(url: str) -> None:
    """An A/B test: the control matches 6 of 10 encounters, the enhanced arm 9 of 10, 200 each."""
    since = (NOW - timedelta(days=3)).isoformat()
    detail = {"from": "v1_a", "share": 0.5, "since": since}
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO models (fingerprint, output, pack) VALUES (repeat('a', 64), 'feature_vector', 'x')"
        )
        connection.execute(
            "INSERT INTO embedding_versions (name, stage, pack, single_model_id) "
            "SELECT v, 1, 'x', m.id FROM models m, unnest(ARRAY['v1_a', 'v1_b']) v"
        )
        connection.execute(
            "INSERT INTO settings (key, value) VALUES ('active_version', '\"v1_a\"'), ('ab_test', %s)",
            [json.dumps({"version": "v1_b", "share": 0.5, "since": since})],
        )
        connection.execute(
            "INSERT INTO events (at, actor, kind, subject, detail) "
            "VALUES (%s, 'me', 'ab begun', 'version:v1_b', %s)",
            [since, json.dumps(detail)],
        )
        connection.execute(
            "INSERT INTO events (actor, kind, subject, detail) VALUES ('machine', 'run', 'catalogue', %s)",
            [json.dumps({"photos_new": 90, "embedded": 60, "seconds": {"ingest": 6, "embed": 3}})],
        )
        connection.execute("INSERT INTO stations (name) VALUES ('Creek')")
        connection.execute("INSERT INTO deer (number, name) VALUES (1, 'Deer 1')")
        connection.execute(
            "INSERT INTO encounters (station_id) SELECT s.id FROM stations s, generate_series(1, 400)"
        )
        connection.execute(
            "INSERT INTO sightings (encounter_id, deer_id, state) "
            "SELECT id, CASE WHEN m THEN 1 END, CASE WHEN m THEN 'assigned' ELSE 'review' END "
            "FROM (SELECT id, (id / 2) % 10 < CASE WHEN id % 2 = 0 THEN 6 ELSE 9 END AS m FROM encounters) e"
        )
        connection.execute(
            "INSERT INTO decisions (sighting_id, outcome, deer_id, version, arm, candidates, milliseconds, "
            "decided_at, fingerprints, policy) "
            "SELECT id, CASE WHEN deer_id IS NULL THEN 'review' ELSE 'assign' END, deer_id, "
            "CASE WHEN encounter_id % 2 = 0 THEN 'v1_a' ELSE 'v1_b' END, "
            "CASE WHEN encounter_id % 2 = 0 THEN 'control' ELSE 'enhanced' END, "
            "jsonb_build_array(jsonb_build_object('deer_id', 1, 'similarity', 0.5 + encounter_id % 7 / 20.0)), "
            "4 + encounter_id % 3, now() - interval '1 day', '{}', '{}' FROM sightings"
        )


def test_an_empty_catalogue_is_told_so(deertrack: Callable[..., str]) -> None:
    printed = deertrack("monitor")
    assert "decided about nothing" in printed
    assert "Nothing calls for attention" in printed
    assert json.loads(deertrack("monitor", "--json"))["periods"] == []
    with pytest.raises(InputError, match="never was an A/B test"):
        deertrack("ab")


@pytest.mark.usefixtures("trial")
def test_the_tables_of_monitor(deertrack: Callable[..., str]) -> None:
    printed = deertrack("monitor", "--by", "day")
    for expected in (
        "v1_a (control)",
        "v1_b (enhanced)",
        "60 % (53.1–66.5)",
        "Similarity of the best candidate",
        "What you looked at",
        "Time of a decision",
        "10.0",  # photos a second
        "Missing vectors: Searches with v1_a",
    ):
        assert expected in printed
    day = f"{NOW - timedelta(days=1):%Y-%m-%d}"
    assert day in printed
    assert "decided about nothing" in deertrack("monitor", "--since", f"{NOW:%Y-%m-%d}")


@pytest.mark.usefixtures("trial")
def test_monitor_for_scripts(deertrack: Callable[..., str]) -> None:
    found = json.loads(deertrack("monitor", "--json", "--by", "month"))
    assert found["by"] == "month"
    lines = {(p["line"]["version"], p["line"]["arm"]): p["outcomes"] for p in found["periods"]}
    assert lines["v1_b", "enhanced"]["matched"] == 180
    assert lines["v1_a", "control"]["rate"]["value"] == 0.6
    assert {a["name"] for a in found["alerts"]} == {"missing_vectors"}
    assert found["last_change"]["kind"] == "ab begun"
    assert found["times"][0]["percentiles"]["p50"] == 5


@pytest.mark.usefixtures("trial")
def test_the_arms_side_by_side(deertrack: Callable[..., str]) -> None:
    printed = deertrack("ab")
    assert "v1_b (enhanced) against v1_a (control), 50% of the encounters since" in printed
    assert "under way" in printed
    assert "Assignment rate: Enough data: higher, +30.0 points with enhanced (95 % interval +2" in printed
    assert "Review agreement: Not enough data: of one arm, nobody reviewed" in printed
    found: dict[str, Any] = json.loads(deertrack("ab", "--json"))
    assert found["control"]["encounters"] == found["enhanced"]["encounters"] == 200
    rate = next(c for c in found["contrasts"] if c["measure"] == "assignment rate")
    assert rate["enough"] is True
    assert rate["difference"]["value"] == pytest.approx(0.3)


def test_bars_and_intervals() -> None:
    assert bars([0, 1, 50, 100]) == " ▁▄█"
    assert bars([0, 0]) == "  "
    assert interval(None) == "–"
    assert interval(Estimate(0.5, 0.25, 0.75)) == "50 % (25.0–75.0)"
