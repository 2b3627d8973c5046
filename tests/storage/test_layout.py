"""The three layouts of profile columns: as migrated, cleaned, and cleaned with the columns renamed."""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import psycopg
import pytest

from deertrack.domain.embedding import DIMENSIONS, EmbeddingVersion, Output, Vectors, normalise
from deertrack.domain.errors import InputError
from deertrack.domain.fusion import Weights
from deertrack.domain.records import Sex
from deertrack.storage import catalogue, checks, cleanup, embeddings, gallery, profiles
from deertrack.storage.db import Connection, Database
from deertrack.storage.embeddings import RegisteredVersion
from deertrack.storage.layout import NEW_NAMES, insist_on_columns, read_layout

LAYOUTS = ("full", "cleaned", "renamed")
ORIGINAL = {output: output.value for output in Output}


def change(connection: Connection, layout: str) -> None:
    """Bring a catalogue as migrated into a layout."""
    if layout != "full":
        cleanup.drop_legacy(connection)
    if layout == "renamed":
        cleanup.rename_columns(connection, {output.value: name for output, name in NEW_NAMES.items()})


def register(connection: Connection, stage: int) -> RegisteredVersion:
    fingerprints = {o: hashlib.sha256(o.encode()).hexdigest() for o in Output}
    return embeddings.register_version(connection, EmbeddingVersion(f"v{stage}_x", stage, "x", fingerprints))


def looks(seed: int) -> dict[Output, Vectors]:
    rng = np.random.default_rng(seed)
    return {output: normalise(rng.normal(size=(1, DIMENSIONS)))[0] for output in Output}


def add(connection: Connection, seed: int) -> int:
    """An individual with one detection, which has its vectors."""
    registered = register(connection, 3)
    row = connection.execute(
        "WITH s AS (INSERT INTO stations (name) VALUES (%(name)s) RETURNING id), "
        "i AS (INSERT INTO images (sha256, station_id, width, height) "
        "SELECT sha256(%(name)s::bytea), id, 9, 9 FROM s RETURNING id, station_id), "
        "f AS (INSERT INTO files (path, size, mtime_ns, image_id) SELECT %(name)s, 1, 1, id FROM i), "
        "e AS (INSERT INTO encounters (station_id) SELECT station_id FROM i RETURNING id) "
        "INSERT INTO detections (image_id, confidence, bbox_x, bbox_y, bbox_width, bbox_height) "
        "SELECT i.id, 0.9, 0, 0, 1, 1 FROM i, e RETURNING id, (SELECT id FROM e) AS encounter",
        {"name": f"photo {seed}"},
    ).fetchone()
    assert row is not None
    vectors = looks(seed)
    embeddings.store_vectors(connection, registered, [row["id"]], {o: v[None] for o, v in vectors.items()})
    deer = gallery.add_deer(
        connection, registered, sex=Sex.UNKNOWN, profile_detection_id=row["id"], vectors=vectors
    )
    connection.execute(
        "WITH s AS (INSERT INTO sightings (encounter_id, deer_id, state) VALUES (%s, %s, 'assigned') "
        "RETURNING id), "
        "c AS (INSERT INTO decisions (sighting_id, outcome, deer_id, version, fingerprints, policy, candidates) "
        "SELECT id, 'new', %s, 'v3_x', '{}', '{}', '[]' FROM s) "
        "UPDATE detections SET sighting_id = (SELECT id FROM s) WHERE id = %s",
        [row["encounter"], deer, deer, row["id"]],
    )
    gallery.note_sighting(connection, deer, Sex.UNKNOWN)
    return deer


@pytest.fixture
def herd(db: Database) -> Database:
    """Twelve individuals with all three profile vectors; v3_x is active."""
    with db.transaction() as connection:
        for seed in range(12):
            add(connection, seed)
        catalogue.put_setting(connection, catalogue.ACTIVE_VERSION, "v3_x")
    return db


def found(connection: Connection, stage: int, seed: int) -> list[gallery.Match]:
    registered = register(connection, stage)
    return gallery.search(connection, registered, looks(seed), sex=Sex.UNKNOWN, weights=Weights())


def test_each_layout_is_seen_as_it_is(db: Database) -> None:
    def names() -> dict[Output, str]:
        with db.transaction() as connection:
            return {column.output: column.name for column in read_layout(connection).columns}

    assert names() == ORIGINAL
    with db.transaction() as connection:
        change(connection, "renamed")
        assert read_layout(connection).column(Output.SINGLE) is None  # in the transaction that did it
    assert names() == NEW_NAMES
    # And the way that the specification writes it, by hand.
    with db.transaction() as connection:
        connection.execute(
            "ALTER TABLE deer RENAME COLUMN feature_vector_primary TO feature_vector_multiscale"
        )
    assert names() == {**NEW_NAMES, Output.MULTISCALE: "feature_vector_multiscale"}


def test_a_layout_once_read_stays_until_the_transaction_ends(db: Database, url: str) -> None:
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("SET lock_timeout = '200ms'")
        drop = "ALTER TABLE deer DROP COLUMN feature_vector"
        with db.transaction() as connection:
            for _ in range(8):  # also once the driver prepares it, and PostgreSQL plans it no more
                read_layout(connection)
        with db.transaction() as connection:
            read_layout(connection)
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute(drop)
        other.execute(drop)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("stage", [2, 3])
def test_searches_find_the_same_on_the_same_index_in_every_layout(
    herd: Database, stage: int, layout: str
) -> None:
    with herd.transaction() as connection:
        before = [found(connection, stage, seed) for seed in range(12)]  # often enough to be prepared
    with herd.transaction() as connection:
        change(connection, layout)
    with herd.transaction() as connection:
        assert [found(connection, stage, seed) for seed in range(12)] == before
        assert [matches[0].deer_id for matches in before] == list(range(1, 13))
        connection.execute("SET LOCAL enable_seqscan = off")
        registered = register(connection, stage)
        plan = gallery.explain_search(
            connection, registered, looks(1), sex=Sex.UNKNOWN, weights=Weights(0.7, 0.3)
        )
        index = {2: "ix_deer_feature_vector_multiscale_hnsw", 3: "deer_ensemble_hnsw"}[stage]
        assert f"Index Scan using {index}" in plan
        assert [found(connection, stage, seed)[0] for seed in range(12)] == [m[0] for m in before]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_new_individuals_get_the_vectors_that_there_are_columns_for(herd: Database, layout: str) -> None:
    with herd.transaction() as connection:
        change(connection, layout)
    with herd.transaction() as connection:
        deer = [add(connection, seed) for seed in range(20, 28)]
        assert found(connection, 3, 27)[0].deer_id == deer[-1]
        row = connection.execute("SELECT * FROM deer WHERE id = %s", [deer[-1]]).fetchone()
        assert row is not None
        columns = read_layout(connection).columns
        for column in columns:
            assert embeddings.as_array(row[column.name]).tobytes() == looks(27)[column.output].tobytes()
            assert row[column.model_name] == register(connection, 3).models[column.output]
        assert len(columns) == (3 if layout == "full" else 2)
        for stage in (2, 3):
            assert gallery.count_incomparable(connection, register(connection, stage)) == 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_profiles_are_filled_and_counted_in_every_layout(herd: Database, layout: str) -> None:
    with herd.transaction() as connection:
        change(connection, layout)
        v3 = register(connection, 3)
        assert profiles.coverage(connection, v3) == profiles.Coverage(12, 12, 12)
        before = connection.execute("SELECT * FROM deer ORDER BY id").fetchall()
        partner = read_layout(connection).column(Output.PARTNER)
        assert partner is not None
        connection.execute(
            f"UPDATE deer SET {partner.name} = NULL, partner_model_id = NULL WHERE number <= 5"
        )
        assert profiles.coverage(connection, v3) == profiles.Coverage(12, 7, 12)
        assert gallery.count_incomparable(connection, v3) == 5
        assert profiles.put_profiles(connection, v3, deer_ids=[2]) == [2]
        assert sorted(profiles.put_profiles(connection, v3)) == [1, 3, 4, 5]
        assert str(connection.execute("SELECT * FROM deer ORDER BY id").fetchall()) == str(before)


def test_a_single_layer_version_is_refused_once_its_column_is_gone(herd: Database) -> None:
    with herd.transaction() as connection:
        v1 = register(connection, 1)
        insist_on_columns(connection, v1)
        assert found(connection, 1, 4)[0].deer_id == 5
        change(connection, "cleaned")
        assert gallery.count_incomparable(connection, v1) == 12
        assert profiles.coverage(connection, v1) == profiles.Coverage(12, 0, 12)
        refused: list[Callable[[], Any]] = [
            lambda: insist_on_columns(connection, v1),
            lambda: found(connection, 1, 4),
            lambda: profiles.put_profiles(connection, v1),
        ]
        for action in refused:
            with pytest.raises(InputError, match=r"'v1_x' cannot be searched any more") as caught:
                action()
            assert caught.value.message.endswith("deer.feature_vector was dropped")
            assert "Detections still hold their vectors" in caught.value.hint
            assert "db restore FILE" in caught.value.hint
        for stage in (2, 3):
            insist_on_columns(connection, register(connection, stage))


def test_the_refusal_says_when_it_was_dropped_which_backup_helps_and_what_is_left(db: Database) -> None:
    with db.transaction() as connection:
        change(connection, "cleaned")
        drop = {"dropped": ["deer.feature_vector"], "backup": "/safe/before.dump"}
        catalogue.add_event(connection, "tester", "clean up", "catalogue", drop)
        catalogue.add_event(connection, "tester", "clean up", "catalogue", {"dropped": [], "backup": None})
        row = connection.execute("SELECT to_char(now(), 'YYYY-MM-DD') AS today").fetchone()
        assert row is not None
        with pytest.raises(InputError, match=rf"was dropped on {row['today']}$") as caught:
            insist_on_columns(connection, register(connection, 1))
    assert "db restore /safe/before.dump" in caught.value.hint
    assert "Detections" not in caught.value.hint  # none has a vector of it


@pytest.mark.parametrize("layout", LAYOUTS)
def test_checks_pass_and_indexes_are_rebuilt_in_every_layout(herd: Database, layout: str) -> None:
    with herd.transaction() as connection:
        change(connection, layout)
    with herd.transaction() as connection:
        results = checks.run_checks(connection, register(connection, 3))
        assert [r.name for r in results if not r.passed] == []
        assert len(results) == 10
    built = checks.reindex(herd.url)
    assert ("ix_deer_feature_vector_hnsw" in built) == (layout == "full")
    assert {"deer_ensemble_hnsw", "ix_deer_feature_vector_multiscale_hnsw"} <= set(built)


BROKEN = {
    "profile_norms": "SET {multiscale} = {multiscale} + {multiscale}",
    "model_columns": "SET {partner} = NULL",
    "profile_sources": "SET {partner} = {multiscale}",
    "missing_vectors": "SET {multiscale} = NULL, multiscale_model_id = NULL",
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("check", BROKEN)
def test_checks_find_what_is_broken_in_every_layout(herd: Database, layout: str, check: str) -> None:
    with herd.transaction() as connection:
        change(connection, layout)
        names = {c.output.name.lower(): c.name for c in read_layout(connection).columns}
        connection.execute(f"UPDATE deer {BROKEN[check].format(**names)} WHERE number = 7")
        results = {r.name: r for r in checks.run_checks(connection, register(connection, 3))}
    assert not results[check].passed
    assert {subject for r in results.values() for subject, _ in r.findings} == {"deer 7"}
    if check == "profile_norms":
        assert results[check].findings[0][1].startswith(f"{names['multiscale']} has length 2.0")


def test_an_active_version_without_its_column_is_found(herd: Database) -> None:
    with herd.transaction() as connection:
        change(connection, "cleaned")
        results = checks.run_checks(connection, register(connection, 1))
    (missing,) = (r for r in results if not r.passed)
    assert (missing.name, len(missing.findings)) == ("missing_vectors", 12)
