"""Vectors of detections: exact, immutable, belonging to one model, and resumable photo by photo."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from psycopg import sql

from deertrack.domain.embedding import DIMENSIONS, EmbeddingVersion, Output, Vectors, normalise
from deertrack.domain.errors import DatabaseError, FingerprintMismatchError, InputError
from deertrack.domain.records import Box, DetectedAnimal, PhotoFacts
from deertrack.storage import embeddings, images
from deertrack.storage.db import Connection, Database
from deertrack.storage.embeddings import RegisteredVersion
from deertrack.storage.images import OfferedPhoto


def version(name: str = "v3_x", stage: int = 3, weights: str = "first") -> EmbeddingVersion:
    """A version of a pack that makes all three outputs from these weights."""
    fingerprints = {o: hashlib.sha256(f"{weights} {o}".encode()).hexdigest() for o in Output}
    return EmbeddingVersion(name, stage, "x", fingerprints)


def add_photo(connection: Connection, path: str, animals: int) -> tuple[int, list[int]]:
    """A photo with so many detections side by side; its id and theirs."""
    facts = PhotoFacts(hashlib.sha256(path.encode()).digest(), 1, 640, 480)
    images.add_photos(connection, [OfferedPhoto(path, 1, 1, "Oak ridge", facts)], timezone="UTC")
    image_id = images.catalogued_files(connection, [path])[path].image_id
    boxes = [Box(i / 10, 0.1, 0.05, 0.5) for i in range(animals)]
    images.add_detections(connection, image_id, "md", [DetectedAnimal(box, 0.9) for box in boxes])
    rows = connection.execute("SELECT id FROM detections WHERE image_id = %s ORDER BY id", [image_id])
    return image_id, [row["id"] for row in rows]


def vectors_for(n: int, seed: int = 0) -> dict[Output, Vectors]:
    rng = np.random.default_rng(seed)
    return {output: normalise(rng.normal(size=(n, DIMENSIONS))) for output in Output}


def stored(connection: Connection) -> int:
    return connection.execute("SELECT count(*) AS n FROM detection_embeddings").fetchone()["n"]


@pytest.fixture
def registered(db: Database) -> RegisteredVersion:
    with db.transaction() as connection:
        return embeddings.register_version(connection, version())


@pytest.fixture
def detections(db: Database) -> list[int]:
    with db.transaction() as connection:
        return add_photo(connection, "/cards/many.jpg", 10)[1]


# Storing and loading ------------------------------------------------------------------------------------


def test_vectors_come_back_bit_by_bit_whatever_the_order(
    db: Database, registered: RegisteredVersion, detections: list[int]
) -> None:
    vectors = vectors_for(10)
    vectors[Output.SINGLE][0] = 0
    vectors[Output.SINGLE][0, 511] = -1
    shuffled = [detections[i] for i in np.random.default_rng(1).permutation(10)]
    with db.transaction() as connection:
        embeddings.store_vectors(connection, registered, shuffled, vectors)
    with db.transaction() as connection:
        found = embeddings.load_vectors(connection, registered, [*detections, 10**9])
    assert set(found) == set(Output)
    for output, by_id in found.items():
        assert set(by_id) == set(detections)
        rows = embeddings.stack(by_id, shuffled)
        assert rows.dtype == np.float32
        assert rows.tobytes() == vectors[output].tobytes()


def test_what_is_there_already_stays(
    db: Database, registered: RegisteredVersion, detections: list[int]
) -> None:
    first, second = vectors_for(5, seed=1), vectors_for(10, seed=2)
    with db.transaction() as connection:
        embeddings.store_vectors(connection, registered, detections[:5], first)
    with db.transaction() as connection:
        embeddings.store_vectors(connection, registered, detections, second)
        embeddings.store_vectors(connection, registered, detections, vectors_for(10, seed=3))
        found = embeddings.load_vectors(connection, registered, detections)
    for output in Output:
        rows = embeddings.stack(found[output], detections)
        assert rows[:5].tobytes() == first[output].tobytes()
        assert rows[5:].tobytes() == second[output][5:].tobytes()


def test_nothing_to_store_or_load_is_fine(db: Database, registered: RegisteredVersion) -> None:
    with db.transaction() as connection:
        embeddings.store_vectors(connection, registered, [], vectors_for(0))
        assert embeddings.load_vectors(connection, registered, []) == {output: {} for output in Output}


@pytest.mark.parametrize("flaw", ["norm", "nan", "short", "double"])
def test_flawed_vectors_are_refused_and_the_good_ones_beside_them_too(
    db: Database, registered: RegisteredVersion, detections: list[int], flaw: str
) -> None:
    vectors = vectors_for(10)
    rows = vectors[Output.PARTNER]
    if flaw == "norm":
        rows[7] *= np.float32(1.001)
    elif flaw == "nan":
        rows[7, 7] = np.nan
    else:
        vectors[Output.PARTNER] = rows[:, :511] if flaw == "short" else rows.astype(np.float64)
    with db.transaction() as connection:
        with pytest.raises(InputError):
            embeddings.store_vectors(connection, registered, detections, vectors)
        assert stored(connection) == 0


def test_vectors_of_unknown_detections_are_refused_whole(
    db: Database, registered: RegisteredVersion, detections: list[int]
) -> None:
    with pytest.raises(DatabaseError), db.transaction() as connection:
        embeddings.store_vectors(connection, registered, [*detections[:9], 10**9], vectors_for(10))
    with db.transaction() as connection:
        assert stored(connection) == 0


def test_fewer_vectors_than_detections_store_nothing(
    db: Database, registered: RegisteredVersion, detections: list[int]
) -> None:
    with pytest.raises(ValueError, match="zip"), db.transaction() as connection:
        embeddings.store_vectors(connection, registered, detections, vectors_for(9))
    with db.transaction() as connection:
        assert stored(connection) == 0


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("detection_embeddings", "embedding"),
        ("models", "fingerprint"),
        ("embedding_versions", "stage"),
        ("decisions", "outcome"),
        ("events", "actor"),
    ],
)
def test_rows_that_history_rests_on_cannot_be_changed(
    db: Database, registered: RegisteredVersion, detections: list[int], table: str, column: str
) -> None:
    with db.transaction() as connection:
        embeddings.store_vectors(connection, registered, detections, vectors_for(10))
        connection.execute(
            """
            WITH e AS (INSERT INTO encounters (station_id) VALUES (1) RETURNING id),
                 s AS (INSERT INTO sightings (encounter_id) SELECT id FROM e RETURNING id)
            INSERT INTO decisions (sighting_id, outcome, version, fingerprints, policy, candidates)
            SELECT id, 'review', 'v3_x', '{}', '{}', '[]' FROM s;
            """
        )
        connection.execute("INSERT INTO events (actor, kind, subject) VALUES ('ranger', 'rename', 'deer:1')")
    change = sql.SQL("UPDATE {t} SET {c} = {c}").format(t=sql.Identifier(table), c=sql.Identifier(column))
    with pytest.raises(DatabaseError, match=f"{table} rows are immutable"), db.transaction() as connection:
        connection.execute(change)


# Versions -----------------------------------------------------------------------------------------------


def test_registering_again_is_harmless(db: Database, registered: RegisteredVersion) -> None:
    for _ in range(2):
        with db.transaction() as connection:
            assert embeddings.register_version(connection, version()) == registered
    with db.transaction() as connection:
        counts = connection.execute(
            "SELECT (SELECT count(*) FROM models) AS models, (SELECT count(*) FROM embedding_versions) AS versions"
        ).fetchone()
    assert counts == {"models": 3, "versions": 1}


def test_versions_of_one_pack_share_its_models(db: Database, registered: RegisteredVersion) -> None:
    with db.transaction() as connection:
        single = embeddings.register_version(connection, version("v1_x", stage=1))
        assert single.models == registered.models
        other = embeddings.register_version(connection, version("v3_y", weights="others"))
        assert not set(other.models.values()) & set(registered.models.values())


@pytest.mark.parametrize(
    "other",
    [
        version(weights="others"),
        version(stage=2),
        EmbeddingVersion(
            "v3_x", 3, "x", {o: f for o, f in version().fingerprints.items() if o is not Output.SINGLE}
        ),
    ],
    ids=["other weights", "other stage", "one output fewer"],
)
def test_a_name_never_changes_its_meaning(
    db: Database, registered: RegisteredVersion, other: EmbeddingVersion
) -> None:
    with pytest.raises(FingerprintMismatchError, match="'v3_x'") as caught, db.transaction() as connection:
        embeddings.register_version(connection, other)
    assert "new version name" in caught.value.hint
    with db.transaction() as connection:
        assert embeddings.register_version(connection, version()) == registered


def test_vectors_of_another_model_are_not_loaded(
    db: Database, registered: RegisteredVersion, detections: list[int]
) -> None:
    with db.transaction() as connection:
        other = embeddings.register_version(connection, version("v3_y", weights="others"))
        embeddings.store_vectors(connection, other, detections, vectors_for(10))
        assert embeddings.load_vectors(connection, registered, detections) == {o: {} for o in Output}
        assert len(embeddings.load_vectors(connection, other, detections)[Output.SINGLE]) == 10


def test_a_pack_with_fewer_outputs_leaves_the_others_out(db: Database, detections: list[int]) -> None:
    only_single = EmbeddingVersion("v1_y", 1, "y", {Output.SINGLE: "f" * 64})
    with db.transaction() as connection:
        registered = embeddings.register_version(connection, only_single)
        assert set(registered.models) == {Output.SINGLE}
        vectors = {Output.SINGLE: vectors_for(10)[Output.SINGLE]}
        embeddings.store_vectors(connection, registered, detections, vectors)
        assert set(embeddings.load_vectors(connection, registered, detections)) == {Output.SINGLE}


# What is still to do ------------------------------------------------------------------------------------


def pages(connection: Connection, models: list[int], limit: int) -> list[list[str]]:
    """Paths of the pending photos, page by page."""
    after, found = 0, []
    while page := embeddings.pending_photos(connection, models, after=after, limit=limit):
        found.append([photo.paths[0].name for photo in page])
        after = page[-1].image_id
    return found


def test_pending_photos_come_in_pages_and_go_on_after_a_stop(
    db: Database, registered: RegisteredVersion
) -> None:
    models = list(registered.models.values())
    with db.transaction() as connection:
        added = {f"{i}.jpg": add_photo(connection, f"/cards/{i}.jpg", animals=i % 3) for i in range(10)}
        with_animals = [f"{i}.jpg" for i in range(10) if i % 3]
        assert embeddings.count_pending(connection, models) == (6, 9)
        assert pages(connection, models, limit=4) == [with_animals[:4], with_animals[4:]]

        for name in with_animals[:3]:
            ids = added[name][1]
            embeddings.store_vectors(connection, registered, ids, vectors_for(len(ids)))
        # Half of a photo's vectors is not enough: a stop between two COPYs must not lose the rest.
        half = added[with_animals[3]][1]
        some = {Output.SINGLE: vectors_for(len(half))[Output.SINGLE]}
        embeddings.store_vectors(connection, registered, half, some)
        images.mark_unreadable(connection, added[with_animals[5]][0], "truncated")
        assert pages(connection, models, limit=4) == [with_animals[3:5]]
        assert embeddings.count_pending(connection, models) == (2, 3)

        single = [registered.models[Output.SINGLE]]
        assert pages(connection, single, limit=4) == [with_animals[4:5]]


def test_a_pending_photo_brings_only_the_detections_that_lack_vectors_with_their_boxes(
    db: Database, registered: RegisteredVersion
) -> None:
    with db.transaction() as connection:
        image_id, ids = add_photo(connection, "/cards/b.jpg", animals=4)
        facts = PhotoFacts(hashlib.sha256(b"/cards/b.jpg").digest(), 1, 640, 480)
        images.add_photos(connection, [OfferedPhoto("/backup/b.jpg", 1, 1, "Oak", facts)], timezone="UTC")
        embeddings.store_vectors(connection, registered, [ids[1]], vectors_for(1))
        (photo,) = embeddings.pending_photos(connection, list(registered.models.values()), after=0, limit=5)
    assert photo.image_id == image_id
    assert photo.paths == (Path("/backup/b.jpg"), Path("/cards/b.jpg"))
    assert photo.detection_ids == (ids[0], ids[2], ids[3])
    assert photo.boxes == (Box(0.0, 0.1, 0.05, 0.5), Box(0.2, 0.1, 0.05, 0.5), Box(0.3, 0.1, 0.05, 0.5))


def test_another_model_makes_everything_pending_again(
    db: Database, registered: RegisteredVersion, detections: list[int]
) -> None:
    with db.transaction() as connection:
        embeddings.store_vectors(connection, registered, detections, vectors_for(10))
        assert embeddings.count_pending(connection, list(registered.models.values())) == (0, 0)
        other = embeddings.register_version(connection, version("v3_y", weights="others"))
        assert embeddings.count_pending(connection, list(other.models.values())) == (1, 10)
