"""The specification's three rollback scenarios, with its own statements, on a drawn herd."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

CHECKOUT = Path(__file__).parents[2]

# Spec, "Scenario 3", step 1.
FAILED_DEER = """
SELECT id, name, sighting_count
FROM deer
WHERE sighting_count > 0
  AND (feature_vector_multiscale IS NULL OR feature_vector_efficientnet IS NULL)
"""
# Spec, "Scenario 2", step 2.
DROP_PARTIAL = """
ALTER TABLE deer DROP COLUMN IF EXISTS feature_vector_multiscale;
ALTER TABLE deer DROP COLUMN IF EXISTS feature_vector_efficientnet;
ALTER TABLE deer DROP COLUMN IF EXISTS embedding_version;
"""


def ask(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


def do(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.fixture
def base_url(herd_url: str) -> str:
    """The herd as a base system knew it: single-layer vectors, and nothing of the newer models."""
    do(
        herd_url,
        "UPDATE deer SET feature_vector_multiscale = NULL, feature_vector_efficientnet = NULL, "
        "multiscale_model_id = NULL, partner_model_id = NULL, embedding_version = 'v1_lite'",
        "DELETE FROM detection_embeddings USING models m WHERE m.id = model_id AND m.output <> 'feature_vector'",
        """UPDATE settings SET value = '"v1_lite"' WHERE key = 'active_version'""",
    )
    return herd_url


def original(url: str) -> list[tuple[Any, ...]]:
    return ask(url, "SELECT id, number, name, sighting_count, feature_vector::text FROM deer ORDER BY id")


def test_scenario_1_enhanced_embeddings_perform_worse(
    base_url: str, cli: Callable[..., Any], start: Any, herd_options: list[str], tmp_path: Path
) -> None:
    before, home = original(base_url), ["--home", tmp_path]
    assert cli("reid", "reembed", *home, url=base_url).code == 0
    assert cli("reid", "cutover", "v3_lite", "--yes", "--reason", "test", *home, url=base_url).code == 0
    assert "Embedding version: v3_lite" in cli("status", *home, url=base_url).out

    # Step 1 and 2: the flag off, the worker started again. It decides by the old vectors.
    begin = time.monotonic()
    do(base_url, "UPDATE sightings SET state = 'undecided', deer_id = NULL WHERE state = 'review'")
    flagged = {"DATABASE_URL": base_url, "USE_ENHANCED_REID": "false", "DEERTRACK_HOME": str(tmp_path)}
    process = start("run", *herd_options, "--json", **flagged)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    decided = ask(base_url, "SELECT DISTINCT version FROM decisions ORDER BY 1")
    assert decided == [("v1_lite",), ("v3_lite",)]
    said = cli("status", *home, url=base_url, USE_ENHANCED_REID="false")
    assert "v1_lite, because USE_ENHANCED_REID=false is set here; the catalogue's own is v3_lite" in said.out

    # Step 3, for every process at once and without a restart.
    assert cli("reid", "rollback", "--yes", *home, url=base_url).code == 0
    assert time.monotonic() - begin < 120, "spec: recovery time 2 minutes"
    assert "Embedding version: v1_lite" in cli("status", *home, url=base_url).out
    assert original(base_url)[: len(before)] == before, "data loss: none"


def test_scenario_2_the_migration_fails(base_url: str, cli: Callable[..., Any], tmp_path: Path) -> None:
    home = ["--home", tmp_path]
    assert cli("db", "rollback", "--to", "010", "--yes", *home, url=base_url).code == 0
    before, dump = original(base_url), tmp_path / "pre_migration.dump"
    assert cli("db", "backup", dump, *home, url=base_url).code == 0
    columns = (
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'deer' "
        "AND (column_name LIKE 'feature_vector_%' OR column_name = 'embedding_version') ORDER BY 1"
    )

    # Incomplete index creation: something else has the name, so the migration's own check finds two of three.
    do(base_url, "CREATE SEQUENCE ix_deer_feature_vector_efficientnet_hnsw")
    failed = cli("db", "migrate", *home, url=base_url)
    assert failed.code == 1
    assert "Expected 3 indexes, found 2" in failed.err
    assert ask(base_url, columns) == [], "nothing half-built"
    assert original(base_url) == before

    # Somebody's own attempt left half of it, and damage. Steps 1 and 2, in either order; then again.
    do(
        base_url,
        "ALTER TABLE deer ADD COLUMN feature_vector_multiscale VECTOR(512)",
        "UPDATE deer SET feature_vector = NULL, name = name || ' ?'",
        *filter(str.strip, DROP_PARTIAL.split(";")),
    )
    assert cli("db", "restore", dump, "--yes", *home, url=base_url).code == 0
    assert original(base_url) == before, "data loss: none"
    assert cli("db", "migrate", *home, url=base_url).code == 0
    assert len(ask(base_url, columns)) == 3
    assert original(base_url) == before


def test_scenario_3_the_re_embedding_script_crashes(
    base_url: str, cli: Callable[..., Any], tmp_path: Path
) -> None:
    before = original(base_url)
    script = [sys.executable, str(CHECKOUT / "scripts" / "reembed_deer_enhanced.py"), "--resume"]
    environment = {**os.environ, "DATABASE_URL": base_url, "DEERTRACK_HOME": str(tmp_path)}
    crashing = subprocess.Popen(
        [*script, "--batch-size", "1"], env=environment, stderr=subprocess.PIPE, text=True
    )
    while len(ask(base_url, FAILED_DEER)) == len(before):
        assert crashing.poll() is None
        time.sleep(0.01)
    crashing.send_signal(signal.SIGKILL)
    crashing.communicate()

    failed = ask(base_url, FAILED_DEER)
    assert 0 < len(failed) < len(before), "partial embeddings"
    begin = time.monotonic()
    done = subprocess.run(script, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - begin < 60, "spec: recovery time 1 minute"
    assert ask(base_url, FAILED_DEER) == []
    assert original(base_url) == before, "partial progress preserved, nothing lost"
    assert f"of {len(failed)}" in done.stderr.replace(",", ""), "only the remaining ones were done"
