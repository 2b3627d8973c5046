"""`deertrack db check`: each thing broken on purpose is found, by the right check and by no other."""

from collections.abc import Callable
from typing import Any

import pytest

from deertrack.services.checks import examine, rebuild_indexes
from deertrack.services.identify import Matcher, alone, identify
from deertrack.storage import catalogue
from deertrack.storage.checks import VECTOR_INDEXES
from deertrack.storage.db import Database

Ask = Callable[..., Any]


@pytest.fixture
def herd(db: Database, stage: Any, seen: Any, matcher: Matcher) -> Database:
    """Four individuals, each seen twice at two stations."""
    for animal in range(4):
        stage.burst("Creek", 1000 * animal, seen(animal))
        stage.burst("Pond", 1000 * animal + 500, seen(animal))
    identify(db, alone(matcher))
    with db.transaction() as connection:
        catalogue.put_setting(connection, catalogue.ACTIVE_VERSION, matcher.registered.version.name)
    return db


def failed(db: Database) -> dict[str, int]:
    return {result.name: len(result.findings) for result in examine(db).results if not result.passed}


def break_it(db: Database, *statements: str) -> None:
    with db.transaction() as connection:
        connection.execute("SET LOCAL session_replication_role = replica")  # past the immutability triggers
        for statement in statements:
            connection.execute(statement)


def test_a_healthy_catalogue_passes_every_check(herd: Database) -> None:
    found = examine(herd)
    assert found.passed, failed(herd)
    assert len(found.results) == 10
    assert found.versions == {"v3_stage": 4}


def test_a_catalogue_that_never_ran_passes_too(db: Database) -> None:
    assert examine(db).passed


def test_the_specifications_own_norm_check_would_fail_every_perfect_vector(herd: Database, one: Ask) -> None:
    error = one("SELECT min(abs(1.0 - (feature_vector <#> feature_vector))) FROM deer")
    assert error == pytest.approx(2.0, abs=1e-3)
    assert "profile_norms" not in failed(herd)


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        (
            ["UPDATE deer SET feature_vector = (feature_vector + feature_vector)"],
            {"profile_norms", "profile_sources"},
        ),
        (
            ["UPDATE detection_embeddings SET embedding = embedding + embedding"],
            {"detection_norms"},
        ),
        (
            ["UPDATE deer SET feature_vector_efficientnet = NULL, partner_model_id = NULL WHERE number = 1"],
            {"missing_vectors", "version_consistency"},
        ),
        (["UPDATE deer SET embedding_version = 'v9_other' WHERE number = 2"], {"version_consistency"}),
        (["UPDATE deer SET multiscale_model_id = partner_model_id WHERE number = 1"], None),
        (["UPDATE deer SET single_model_id = NULL WHERE number = 1"], {"model_columns"}),
        (
            ["UPDATE deer d SET feature_vector = o.feature_vector FROM deer o WHERE d.id = 1 AND o.id = 2"],
            {"profile_sources"},
        ),
        (["UPDATE deer SET sighting_count = 7 WHERE number = 3"], {"sighting_counts"}),
        (["DELETE FROM decisions WHERE id = 1"], {"orphans"}),
        (["UPDATE detections SET sighting_id = NULL WHERE image_id <= 2"], None),
        (["DELETE FROM files WHERE image_id = 1"], {"orphans"}),
        (["DROP INDEX ix_deer_feature_vector_multiscale_hnsw"], {"indexes"}),
        (
            ["UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'deer_ensemble_hnsw'::regclass"],
            {"indexes"},
        ),
    ],
)
def test_what_is_broken_is_found(herd: Database, statements: list[str], expected: set[str] | None) -> None:
    break_it(herd, *statements)
    found = failed(herd)
    assert found, "nothing was found"
    assert expected is None or set(found) == expected


def test_a_finding_names_the_individual(herd: Database) -> None:
    break_it(herd, "UPDATE deer SET sighting_count = 7 WHERE number = 3")
    (result,) = (r for r in examine(herd).results if not r.passed)
    assert result.findings == (("deer 3", "counts 7 sightings, has 2"),)
    assert result.remedy


def test_a_broken_index_is_mended_by_building_it_anew(herd: Database) -> None:
    break_it(herd, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'deer_ensemble_hnsw'::regclass")
    assert set(failed(herd)) == {"indexes"}
    assert "deer_ensemble_hnsw" in rebuild_indexes(herd)
    assert failed(herd) == {}


def test_an_unused_index_is_found_in_a_large_gallery(herd: Database) -> None:
    """Other operators than the query's: the index is there and valid, and no search ever walks it."""
    vectors = "feature_vector, feature_vector_multiscale, feature_vector_efficientnet"
    models = "single_model_id, multiscale_model_id, partner_model_id"
    break_it(
        herd,
        *(f"DROP INDEX {name}" for name in VECTOR_INDEXES),  # row by row they would take minutes
        f"INSERT INTO deer (number, name, {vectors}, {models}, embedding_version) "
        f"SELECT n, 'D' || n, v, v, v, {models}, 'v3_stage' FROM generate_series(10, 2500) n, LATERAL "
        "(SELECT l2_normalize(array_agg(random() - 0.5)::vector(512)) AS v FROM generate_series(1, 512) "
        f"WHERE n > 0) r, (SELECT {models} FROM deer WHERE number = 1) d",
    )
    index = (
        "CREATE INDEX deer_ensemble_hnsw ON deer USING hnsw "
        "(((feature_vector_multiscale || feature_vector_efficientnet)::halfvec(1024)) {})"
    )
    break_it(herd, index.format("halfvec_ip_ops"), "ANALYZE deer")
    assert "hot_query" not in failed(herd)
    break_it(herd, "DROP INDEX deer_ensemble_hnsw", index.format("halfvec_cosine_ops"))
    assert "hot_query" in failed(herd)
