"""Evidence for a cut-over, and the labelled sightings that it comes from."""

import hashlib
from datetime import UTC, datetime

import numpy as np
import pytest

from deertrack.domain.embedding import DIMENSIONS, EmbeddingVersion, Output, normalise
from deertrack.domain.errors import DatabaseError
from deertrack.domain.records import Box, DetectedAnimal, PhotoFacts, Sex
from deertrack.storage import embeddings, images, sightings, validations
from deertrack.storage.db import Connection, Database
from deertrack.storage.embeddings import RegisteredVersion
from deertrack.storage.images import OfferedPhoto


def version(name: str, stage: int, outputs: tuple[Output, ...] = tuple(Output)) -> EmbeddingVersion:
    return EmbeddingVersion(
        name, stage, "x", {o: hashlib.sha256(f"{name}{o}".encode()).hexdigest() for o in outputs}
    )


def register(connection: Connection) -> tuple[RegisteredVersion, RegisteredVersion]:
    old = embeddings.register_version(connection, version("v1_x", 1, (Output.SINGLE,)))
    return old, embeddings.register_version(connection, version("v3_x", 3))


def keep(connection: Connection, outcome: str = "pass", old: str = "v1_x") -> int:
    return validations.add_validation(
        connection,
        new=version("v3_x", 3),
        old=version(old, 1, (Output.SINGLE,)),
        weights={"multiscale": 0.6, "partner": 0.4},
        outcome=outcome,
        report={"outcome": outcome, "what": ["was", {"found": 0.25}]},
    )


def decide(connection: Connection, sighting: int, actor: str, version_name: str) -> None:
    """Log who said, with which version, that the sighting shows the deer that it is assigned to."""
    connection.execute(
        "INSERT INTO decisions (sighting_id, outcome, deer_id, version, actor, fingerprints, policy, candidates) "
        "SELECT id, 'assign', deer_id, %s, %s, '{}', '{}', '[]' FROM sightings WHERE id = %s",
        [version_name, actor, sighting],
    )


def one_sighting(
    connection: Connection, photos: int = 1, deer: str | None = None, decided: tuple[str, str] | None = None
) -> tuple[int, list[int]]:
    """A sighting with one detection a photo, in an encounter of its own; its id and the detections'."""
    ids = []
    count = connection.execute("SELECT count(*) FROM images").fetchone()
    assert count is not None
    for number in range(count["count"], count["count"] + photos):
        path = f"/cards/Oak/IMG_{number:04}.JPG"
        facts = PhotoFacts(hashlib.sha256(path.encode()).digest(), 1, 640, 480, datetime(2025, 10, 1, 12))  # noqa: DTZ001
        images.add_photos(connection, [OfferedPhoto(path, 1, 1, "Oak", facts)], timezone="UTC")
        image_id = images.catalogued_files(connection, [path])[path].image_id
        confidence = 0.5 + 0.1 * (number % 5)
        images.add_detections(
            connection, image_id, "md", [DetectedAnimal(Box(0.1, 0.2, 0.3, 0.4), confidence)]
        )
        row = connection.execute("SELECT id FROM detections WHERE image_id = %s", [image_id]).fetchone()
        assert row is not None
        ids.append(row["id"])
    station = connection.execute("SELECT id FROM stations").fetchone()
    assert station is not None
    when = datetime(2025, 10, 1, 12, tzinfo=UTC)
    encounter = sightings.add_encounter(connection, station["id"], when, when)
    sighting = sightings.put_sighting(connection, encounter, ids, Sex.FEMALE)
    if deer is not None:
        connection.execute(
            "INSERT INTO deer (number, name, sex) SELECT coalesce(max(number), 0) + 1, %s, 'female' FROM deer "
            "ON CONFLICT (name) DO NOTHING",
            [deer],
        )
        connection.execute(
            "UPDATE sightings g SET state = 'assigned', deer_id = r.id FROM deer r WHERE r.name = %s AND g.id = %s",
            [deer, sighting],
        )
        if decided:
            decide(connection, sighting, *decided)
    return sighting, ids


def test_a_validation_comes_back_as_it_was_kept(db: Database) -> None:
    with db.transaction() as connection:
        register(connection)
        number = keep(connection)
        found = validations.latest_validation(connection, "v3_x", "v1_x")
    assert found is not None
    assert (found.id, found.new_version, found.old_version, found.outcome) == (number, "v3_x", "v1_x", "pass")
    assert found.report == {"outcome": "pass", "what": ["was", {"found": 0.25}]}
    assert found.weights == {"multiscale": 0.6, "partner": 0.4}
    # What a search compares, and nothing else: it is these models that were judged.
    assert found.fingerprints == {
        "v1_x": {"feature_vector": version("v1_x", 1).fingerprints[Output.SINGLE]},
        "v3_x": {str(o): version("v3_x", 3).fingerprints[o] for o in (Output.MULTISCALE, Output.PARTNER)},
    }


def test_the_latest_one_counts(db: Database) -> None:
    with db.transaction() as connection:
        register(connection)
        embeddings.register_version(connection, version("v2_x", 2))
        assert validations.latest_validation(connection, "v3_x") is None
        keep(connection, "pass")
        last = keep(connection, "fail")
        other = keep(connection, "not enough data", old="v2_x")
        against_v1 = validations.latest_validation(connection, "v3_x", "v1_x")
        against_any = validations.latest_validation(connection, "v3_x")
        reverse = validations.latest_validation(connection, "v1_x", "v3_x")
    assert against_v1 is not None
    assert (against_v1.id, against_v1.outcome) == (last, "fail")
    assert against_any is not None
    assert against_any.id == other
    assert reverse is None


def test_a_validation_cannot_be_changed(db: Database) -> None:
    with db.transaction() as connection:
        register(connection)
        keep(connection, "fail")
    with pytest.raises(DatabaseError, match="validations rows are immutable"), db.transaction() as connection:
        connection.execute("UPDATE validations SET outcome = 'pass'")


def test_an_outcome_is_one_of_three(db: Database) -> None:
    with db.transaction() as connection:
        register(connection)
    with pytest.raises(DatabaseError, match="validations_outcome_check"), db.transaction() as connection:
        keep(connection, "excellent")


def test_a_validation_is_of_known_versions(db: Database) -> None:
    with pytest.raises(DatabaseError, match="foreign key"), db.transaction() as connection:
        keep(connection)


def test_versions_come_back_with_their_models(db: Database) -> None:
    with db.transaction() as connection:
        old, new = register(connection)
        found = validations.registered_versions(connection)
    assert [r.version for r in found] == [old.version, new.version]
    assert [dict(r.models) for r in found] == [dict(old.models), dict(new.models)]


def test_a_versions_own_decisions_are_no_witness_for_it(db: Database) -> None:
    with db.transaction() as connection:
        register(connection)
        by_old, _ = one_sighting(connection, deer="Flora", decided=("machine", "v1_x"))
        by_person, _ = one_sighting(connection, deer="Flora", decided=("anna", "v3_x"))
        one_sighting(connection, deer="Flora", decided=("machine", "v3_x"))
        one_sighting(connection, deer="Fauna", decided=("machine", "v3_x"))
        one_sighting(connection)  # nobody knows who that is
        found = validations.named_sightings(connection, "v3_x")
    assert [(d.name, d.sex, set(d.sightings), d.own, d.by_person) for d in found] == [
        ("Flora", Sex.FEMALE, {by_old, by_person}, 1, 1),
        ("Fauna", Sex.FEMALE, set(), 1, 0),
    ]


def test_the_last_decision_tells_who_named_a_sighting(db: Database) -> None:
    with db.transaction() as connection:
        register(connection)
        sighting, _ = one_sighting(connection, deer="Flora", decided=("machine", "v3_x"))
        decide(connection, sighting, "anna", "v3_x")
        found = validations.named_sightings(connection, "v3_x")
    assert [(d.sightings, d.own, d.by_person) for d in found] == [((sighting,), 0, 1)]


def test_detections_without_all_vectors_are_told_apart(db: Database) -> None:
    with db.transaction() as connection:
        old, new = register(connection)
        sighting, ids = one_sighting(connection, photos=3)
        bare, bare_ids = one_sighting(connection)
        rng = np.random.default_rng(0)
        rows = normalise(rng.normal(size=(3, DIMENSIONS)))
        embeddings.store_vectors(connection, old, ids, {Output.SINGLE: rows})
        embeddings.store_vectors(connection, new, ids[:2], dict.fromkeys(Output, rows[:2]))
        models = [*old.models.values(), *new.models.values()]
        found = validations.sightings_to_compare(connection, [sighting, bare], models)
    # Confidences rise with the photo's number: the best quality comes first.
    assert [(s.sighting_id, s.covered, s.uncovered) for s in found] == [
        (sighting, (ids[1], ids[0]), (ids[2],)),
        (bare, (), tuple(bare_ids)),
    ]
    assert found[0].encounter_id != found[1].encounter_id
    assert found[0].sex is Sex.FEMALE


def test_where_a_detection_can_be_looked_at(db: Database) -> None:
    with db.transaction() as connection:
        _, (detection,) = one_sighting(connection)
        found = validations.photos_of_detections(connection, [detection])
    assert found[detection].box == Box(0.1, 0.2, 0.3, 0.4)
    assert (found[detection].station, found[detection].timezone) == ("Oak", "UTC")
    assert [str(path) for path in found[detection].paths] == ["/cards/Oak/IMG_0000.JPG"]
