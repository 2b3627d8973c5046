"""The whole life of an embedding change on real photos, as an operator does it (docs/lifecycle.md).

A base system with a single-layer model → migration 011 → re-embedding, killed twice → validation → A/B test → new
photos → monitoring → rollback. What was there before must be there after, to the bit.
"""

import csv
import json
import os
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from deertrack.vision.model_packs import builtin_pack

KNOWN = 12  # individuals, those with the most encounters

# All that the base system knew. Names, sightings and its own vectors, bit for bit.
BASE = {
    "deer": "SELECT id, number, name, sex, status, notes, feature_vector::text FROM deer WHERE id <= %(deer)s "
    "ORDER BY id",
    "sightings": "SELECT id, encounter_id, deer_id, state FROM sightings WHERE id <= %(sightings)s ORDER BY id",
    "detections": "SELECT id, image_id, sighting_id, bbox_x, confidence FROM detections WHERE id <= %(detections)s "
    "ORDER BY id",
    "decisions": "SELECT id, sighting_id, outcome, deer_id, probability FROM decisions WHERE id <= %(decisions)s "
    "ORDER BY id",
    "vectors": "SELECT detection_id, model_id, embedding::text FROM detection_embeddings "
    "WHERE detection_id <= %(detections)s AND model_id = %(model)s ORDER BY 1",
}

# The specification's own queries, word for word but for the sign of <#> (docs/spec.md) and the version's name.
NORMS = """
SELECT id, name,
    ABS(1.0 - -(feature_vector_multiscale <#> feature_vector_multiscale)) AS multiscale_norm_error,
    ABS(1.0 - -(feature_vector_efficientnet <#> feature_vector_efficientnet)) AS efficientnet_norm_error
FROM deer
WHERE feature_vector_multiscale IS NOT NULL
  AND feature_vector_efficientnet IS NOT NULL
"""
NULLS = """
SELECT COUNT(*) FROM deer
WHERE sighting_count > 0
  AND (feature_vector_multiscale IS NULL OR feature_vector_efficientnet IS NULL)
"""
FAILED_DEER = """
SELECT id, name, sighting_count
FROM deer
WHERE sighting_count > 0
  AND (feature_vector_multiscale IS NULL OR feature_vector_efficientnet IS NULL)
"""
VERSIONS = "SELECT embedding_version, COUNT(*) FROM deer GROUP BY embedding_version"


class Ranch:
    """A catalogue and the commands that its operator types."""

    def __init__(self, start: Any, url: str, home: Path) -> None:
        self._start = start
        self.url, self.home = url, home

    def ask(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(query, parameters).fetchall()

    def one(self, query: str, **parameters: Any) -> Any:
        return self.ask(query, **parameters)[0][0]

    def begin(self, *words: object, **environment: str) -> "subprocess.Popen[str]":
        process: subprocess.Popen[str] = self._start(
            *words, DATABASE_URL=self.url, DEERTRACK_HOME=str(self.home), **environment
        )
        return process

    def type(self, *words: object, code: int = 0, **environment: str) -> tuple[str, str]:
        process = self.begin(*words, **environment)
        out, err = process.communicate(timeout=240)
        assert "Traceback" not in err, err
        assert process.returncode == code, (words, out, err)
        return out, err

    def json(self, *words: object, **environment: str) -> Any:
        return json.loads(self.type(*words, "--json", **environment)[0])

    def kill_when(self, words: list[object], ready: Callable[[], bool]) -> None:
        process = self.begin(*words)
        while not ready():
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)


@pytest.fixture
def cards(test_data: Path, tmp_path: Path) -> tuple[Path, Path, Path]:
    """Photos of the best known animals: folders ``before`` and ``after`` (each one's last encounter), and names."""
    nyala, encounters = test_data / "nyala", defaultdict(set)
    with (nyala / "truth.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        encounters[row["identity"]].add((row["timestamp"][:10], row["encounter"]))
    most = sorted(encounters, key=lambda name: (-len({e for _, e in encounters[name]}), name))[:KNOWN]
    last = {max(encounters[name])[1] for name in most}
    names = tmp_path / "names.csv"
    with names.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        for row in rows:
            if row["identity"] in most:
                part = "after" if row["encounter"] in last else "before"
                photo = tmp_path / part / row["file"]
                photo.parent.mkdir(parents=True, exist_ok=True)
                photo.symlink_to(nyala / "cards" / row["file"])
                if part == "before":
                    writer.writerow(row)
    return tmp_path / "before", tmp_path / "after", names


@pytest.fixture
def ranch(start: Any, url: str, tmp_path: Path) -> Ranch:
    return Ranch(start, url, tmp_path / "home")


def import_base_model(ranch: Ranch, tmp_path: Path) -> Path:
    """A single-layer model of its own, as the base system had, and what its similarities mean."""
    ranch.type(
        *("models", "import", builtin_pack().directory / "mobilenet_v2.onnx"),
        *("--name", "base", "--version", "v1_base", "--input", "192x256"),
        *("--licence", "MIT", "--provenance", "the pack that ships with deertrack"),
    )
    (pack,) = [p for p in ranch.json("models", "list")["packs"] if p["name"] == "base"]
    fingerprints = list(pack["versions"][0]["fingerprints"].values())
    curve = {"similarities": [0.5, 0.9], "log_ratios": [-3.0, 2.0], "fingerprints": fingerprints}
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps({"fitted_on": "a drill", "curves": {"v1_base": curve}}))
    return path


def test_the_drill(ranch: Ranch, cards: tuple[Path, Path, Path], test_data: Path, tmp_path: Path) -> None:
    before, after, names = cards
    detections = ["--detections", test_data / "nyala" / "detections.json"]

    # The base system: a single-layer model, known animals, no column of migration 011.
    calibration = import_base_model(ranch, tmp_path)
    ranch.type("reid", "cutover", "v1_base", "--calibration", calibration, "--yes")
    ranch.type("run", before, *detections)
    ranch.type("review", "import", names)
    assert ranch.one("SELECT count(*) FROM deer WHERE status = 'active'") == KNOWN
    ranch.type("db", "rollback", "--to", "010", "--yes")
    columns = (
        "SELECT count(*) FROM information_schema.columns WHERE table_name = 'deer' AND column_name ~ %(like)s"
    )
    assert ranch.one(columns, like="vector_multiscale|vector_efficientnet|embedding_version") == 0
    marks = {
        table: ranch.one(f"SELECT max(id) FROM {table}")
        for table in ("deer", "sightings", "detections", "decisions")
    }
    marks["model"] = ranch.one("SELECT max(id) FROM models")
    base = {name: ranch.ask(query, **marks) for name, query in BASE.items()}
    assert all(base.values())

    # Testing checklist, pre-migration.
    ranch.type("db", "backup", tmp_path / "pre_migration.dump")
    assert ranch.one("SELECT count(*) FROM pg_extension WHERE extname = 'vector'") == 1

    # Phase 1. A command that needs the new schema says so and changes nothing; then the migration.
    assert "db migrate" in ranch.type("reid", "reembed", "v3_lite", code=1)[1]
    ranch.type("db", "migrate")
    assert ranch.one(columns, like="vector_multiscale|vector_efficientnet|embedding_version") == 3
    indexes = {row[0] for row in ranch.ask("SELECT indexname FROM pg_indexes WHERE tablename = 'deer'")}
    assert indexes >= {
        "ix_deer_feature_vector_hnsw",
        "ix_deer_feature_vector_multiscale_hnsw",
        "ix_deer_feature_vector_efficientnet_hnsw",
        "ix_deer_embedding_version",
    }
    assert {row[0] for row in ranch.ask("SELECT embedding_version FROM deer WHERE status = 'active'")} == {
        "v1_base"
    }
    assert ranch.one("SELECT pg_total_relation_size('deer')") < 5_000_000

    # Phase 2, killed twice; each time what was committed stays, and the search goes on with the old version.
    reembed = ["reid", "reembed", "v3_lite", "--all-detections", "--batch-size", "4"]
    vectors = "SELECT count(*) FROM detection_embeddings WHERE model_id <> %(model)s"
    ranch.kill_when(reembed, lambda: ranch.one(NULLS) < KNOWN)
    done = KNOWN - len(ranch.ask(FAILED_DEER))
    assert 0 < done < KNOWN
    ranch.kill_when(reembed, lambda: ranch.one(vectors, **marks) > 3 * (KNOWN + 120))
    assert len(ranch.ask(FAILED_DEER)) <= KNOWN - done
    out = ranch.json(*reembed, "--resume")
    assert (out["done_before"] >= done, out["without"], out["problems"]) == (True, 0, [])
    assert ranch.json(*reembed)["detections"] == 0, "the same again does nothing"

    # Post-re-embedding.
    assert ranch.one(NULLS) == 0
    errors = [error for row in ranch.ask(NORMS) for error in row[2:]]
    assert len(errors) >= 2 * KNOWN
    assert max(errors) < 0.0001
    assert dict(ranch.ask(VERSIONS)).get("v3_lite", 0) >= KNOWN
    assert ranch.ask(BASE["deer"], **marks) == base["deer"], "the old vectors are untouched"
    ranch.type("db", "check")

    # Phase 3. These two versions tell the animals apart equally well, and that is no reason to change.
    found = ranch.json("reid", "validate", "v3_lite", "--old", "v1_base", "--bootstrap", "200")
    assert found["outcome"] in ("fail", "not enough data")
    _, refusal = ranch.type("reid", "cutover", "v3_lite", "--ab", "0.5", "--yes", code=1)
    assert found["outcome"] in refusal

    # Phase 4, with a reason, as an A/B test; new photos come in.
    ranch.type("reid", "cutover", "v3_lite", "--ab", "0.5", "--yes", "--reason", "a drill")
    assert "A/B test" in ranch.type("status")[0]
    ranch.type("run", after, *detections)
    arms = ranch.ask(
        "SELECT arm, version, count(*) FROM decisions WHERE id > %(decisions)s GROUP BY 1, 2", **marks
    )
    assert {(arm, version) for arm, version, _ in arms} == {("control", "v1_base"), ("enhanced", "v3_lite")}

    # Monitoring.
    ranch.json("reid", "monitor")
    compared = ranch.json("reid", "ab")
    assert json.dumps(compared).count("v3_lite") > 0
    assert ranch.one("SELECT count(*) FROM events WHERE kind IN ('ab begun', 'run')") >= 3
    ranch.type("db", "check")

    # The environment's flag wins over all this, and status says so.
    assert "USE_ENHANCED_REID=false" in ranch.type("status", USE_ENHANCED_REID="false")[0]

    # Whole cut-over, then back: in seconds, and as if nothing had been.
    ranch.type("reid", "cutover", "v3_lite", "--yes", "--reason", "a drill")
    start = time.monotonic()
    ranch.type("reid", "rollback", "--yes")
    assert time.monotonic() - start < 120, "spec: two minutes"
    assert "v1_base" in ranch.type("status")[0]
    assert {name: ranch.ask(query, **marks) for name, query in BASE.items()} == base
    assert ranch.json("run", before, after, *detections)["nothing_new"]
    ranch.type("db", "check")
