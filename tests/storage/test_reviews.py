"""A person's answers in the database: what waits, who is who, and what is refreshed in which columns."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from deertrack.domain.decision import Belief, Candidate, Decision, Outcome, Policy
from deertrack.domain.embedding import DIMENSIONS, EmbeddingVersion, Output, Vectors, normalise, pool
from deertrack.domain.records import Box, DetectedAnimal, PhotoFacts, Sex
from deertrack.storage import embeddings, gallery, images, reviews, sightings
from deertrack.storage.db import Connection, Database
from deertrack.storage.embeddings import RegisteredVersion
from deertrack.storage.images import OfferedPhoto
from deertrack.storage.reviews import Answer, Refreshed

DAWN = datetime(2024, 11, 3, 6, 0, tzinfo=UTC)
VERSION = EmbeddingVersion("v3_x", 3, "x", {o: hashlib.sha256(o.encode()).hexdigest() for o in Output})
DROP = "ALTER TABLE deer DROP COLUMN feature_vector"
RENAME = (
    "ALTER TABLE deer RENAME COLUMN feature_vector_multiscale TO feature_vector_primary;"
    "ALTER TABLE deer RENAME COLUMN feature_vector_efficientnet TO feature_vector_secondary"
)


def look(seed: int) -> Vectors:
    return normalise(np.random.default_rng(seed).normal(size=(1, DIMENSIONS)))


@pytest.fixture
def registered(db: Database) -> RegisteredVersion:
    with db.transaction() as connection:
        return embeddings.register_version(connection, VERSION)


def sighting(
    connection: Connection,
    registered: RegisteredVersion,
    name: str,
    *,
    boxes: int = 1,
    confidence: float = 0.5,
    width: float = 0.05,
    seconds: float | None = 0,
    sex: Sex = Sex.UNKNOWN,
) -> list[int]:
    """A photo of some animals, each a sighting; detection n looks like ``look(n)``. Returns the sightings' ids."""
    when = None if seconds is None else DAWN + timedelta(seconds=seconds)
    clock = when and when.replace(tzinfo=None)
    facts = PhotoFacts(hashlib.sha256(name.encode()).digest(), 1, 640, 480, clock)
    images.add_photos(connection, [OfferedPhoto(name, 1, 1, "Oak", facts)], timezone="UTC")
    image = images.catalogued_files(connection, [name])[name].image_id
    animals = [DetectedAnimal(Box(i / 10, 0.1, width, 0.5), confidence, sex=sex) for i in range(boxes)]
    images.add_detections(connection, image, "md", animals)
    station = images.ensure_stations(connection, ["Oak"], timezone="UTC")["Oak"]
    encounter = sightings.add_encounter(connection, station, when, when)
    rows = connection.execute("SELECT id FROM detections WHERE image_id = %s ORDER BY id", [image])
    made = []
    for row in rows.fetchall():
        looks = dict.fromkeys(Output, look(row["id"]))
        embeddings.store_vectors(connection, registered, [row["id"]], looks)
        made.append(sightings.put_sighting(connection, encounter, [row["id"]], sex))
    return made


def decide(
    connection: Connection,
    registered: RegisteredVersion,
    sighting_id: int,
    deer_id: int | None,
    candidates: tuple[Candidate, ...] = (),
    outcome: Outcome | None = None,
) -> None:
    outcome = outcome or (Outcome.ASSIGN if deer_id else Outcome.REVIEW)
    sightings.record_decision(
        connection,
        sighting_id,
        Decision(outcome, Belief(candidates, 0.25), deer_id),
        deer_id=deer_id,
        policy=Policy(),
        registered=registered,
    )


def make(connection: Connection, registered: RegisteredVersion, sighting_id: int, sex: Sex) -> int:
    """A new individual with the looks of this sighting, which has the same id as its only detection."""
    vectors = dict.fromkeys(Output, look(sighting_id)[0])
    deer = gallery.add_deer(
        connection, registered, sex=sex, profile_detection_id=sighting_id, vectors=vectors
    )
    decide(connection, registered, sighting_id, deer, outcome=Outcome.NEW)
    gallery.note_sighting(connection, deer, sex)
    return deer


def answer(connection: Connection, registered: RegisteredVersion, *answers: Answer) -> list[Refreshed]:
    """Record answers and refresh everybody."""
    reviews.record_answers(connection, answers, actor="Ann", registered=registered)
    everybody = [row["id"] for row in connection.execute("SELECT id FROM deer")]
    return reviews.refresh_individuals(connection, everybody)


def state(connection: Connection, columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in connection.execute(f"SELECT {columns} FROM deer ORDER BY number")]


def test_what_waits(db: Database, registered: RegisteredVersion) -> None:
    with db.transaction() as connection:
        (known,) = sighting(connection, registered, "known.jpg")
        (gone,) = sighting(connection, registered, "gone.jpg", seconds=1)
        deer, ghost = (make(connection, registered, s, Sex.UNKNOWN) for s in (known, gone))
        (late,) = sighting(connection, registered, "late.jpg", seconds=50)
        (untimed,) = sighting(connection, registered, "untimed.jpg", seconds=None)
        (early,) = sighting(connection, registered, "early.jpg", seconds=10, sex=Sex.FEMALE)
        sighting(connection, registered, "undecided.jpg")
        likely = (Candidate(ghost, 0.9, 0.5), Candidate(deer, 0.8, 0.25))
        for waits in (late, untimed, early):
            decide(connection, registered, waits, None, likely)
        total, found = reviews.list_waiting(connection, None)
        assert (total, [s.id for s in found]) == (3, [early, late, untimed])
        assert [s.started_at for s in found] == [
            DAWN + timedelta(seconds=10),
            DAWN + timedelta(seconds=50),
            None,
        ]
        assert [c.deer_id for c in found[0].candidates] == [ghost, deer]
        assert (found[0].sex, found[0].new_probability, found[0].station) == (Sex.FEMALE, 0.25, "Oak")
        assert [str(path) for photo in found[0].photos for path in photo.paths] == ["early.jpg"]
        answer(connection, registered, Answer(gone, deer))
        total, found = reviews.list_waiting(connection, 1)
        assert (total, [s.id for s in found]) == (3, [early])
        (left,) = found[0].candidates  # who has no sighting left is nobody any more
        assert (left.deer_id, left.similarity, left.probability) == (deer, 0.8, 0.25)


def test_standings_tell_who_said_so_last(db: Database, registered: RegisteredVersion) -> None:
    with db.transaction() as connection:
        (first,) = sighting(connection, registered, "b.jpg", seconds=9)
        (second,) = sighting(connection, registered, "a.jpg", seconds=5)
        deer = make(connection, registered, first, Sex.UNKNOWN)
        before = reviews.standings(connection, [first, second, 99])
        assert [(s.sighting_id, s.state, s.deer_id, s.outcome, s.by_person) for s in before] == [
            (second, "undecided", None, None, False),
            (first, "assigned", deer, "new", False),
        ]
        assert [s.best_detection for s in before] == [second, first]
        answer(connection, registered, Answer(second, deer))
        now = reviews.standings(connection, [second])[0]
        assert (now.state, now.number, now.outcome, now.by_person) == ("assigned", 1, "assign", True)


def test_rivals_are_the_others_in_a_photo(db: Database, registered: RegisteredVersion) -> None:
    with db.transaction() as connection:
        left, right, third = sighting(connection, registered, "three.jpg", boxes=3)
        (alone,) = sighting(connection, registered, "alone.jpg", seconds=99)
        deer = make(connection, registered, right, Sex.UNKNOWN)
        found = reviews.rivals(connection, [left, alone])
        assert [(r.sighting_id, r.other, r.deer_id, r.path) for r in found] == [
            (left, right, deer, "three.jpg"),
            (left, third, None, "three.jpg"),
        ]


def test_names_are_found_in_any_case(db: Database, registered: RegisteredVersion) -> None:
    with db.transaction() as connection:
        deer = [
            make(connection, registered, sighting(connection, registered, f"{n}.jpg")[0], Sex.UNKNOWN)
            for n in range(2)
        ]
        reviews.name_new(connection, deer[1], "Šárka")
        found = reviews.called(connection, ["ŠÁRKA", "nobody", "šárka"])
        assert {f.name: f.deer_id for f in found} == {"ŠÁRKA": deer[1], "šárka": deer[1], "nobody": None}
        assert len({f.name_key for f in found}) == 2


def test_founded_individuals_still_have_the_sighting_they_were_made_for(
    db: Database, registered: RegisteredVersion
) -> None:
    with db.transaction() as connection:
        first, second, third = (sighting(connection, registered, f"{n}.jpg", seconds=n)[0] for n in range(3))
        deer = make(connection, registered, first, Sex.UNKNOWN)
        other = make(connection, registered, second, Sex.UNKNOWN)
        decide(connection, registered, third, other)
        assert [(f.deer_id, f.number, f.sighting_id) for f in reviews.founded(connection, [1, 2, 3])] == [
            (deer, 1, first),
            (other, 2, second),
        ]
        assert reviews.founded(connection, [third]) == []
        answer(connection, registered, Answer(second, deer))
        assert [f.deer_id for f in reviews.founded(connection, [1, 2, 3])] == [deer]


@pytest.mark.parametrize(
    "change", ["", DROP, RENAME, f"{DROP};{RENAME}"], ids=["full", "drop", "rename", "both"]
)
def test_profiles_are_refreshed_in_every_layout(
    db: Database, registered: RegisteredVersion, change: str
) -> None:
    """Best: highest confidence, then largest box, then the first."""
    with db.transaction() as connection:
        found = [
            sighting(connection, registered, f"{n}.jpg", confidence=confidence, width=width)[0]
            for n, (confidence, width) in enumerate([(0.5, 0.05), (0.8, 0.05), (0.8, 0.09), (0.8, 0.09)])
        ]
        deer = make(connection, registered, found[0], Sex.UNKNOWN)
        other = make(connection, registered, found[1], Sex.UNKNOWN)
        if DROP in change:
            connection.execute("UPDATE deer SET single_model_id = NULL")
        for statement in filter(None, change.split(";")):
            connection.execute(statement)
        refreshed = answer(connection, registered, *(Answer(s, deer) for s in found[2:]))
        assert refreshed == [
            Refreshed(deer, refreshed[0].name, "active", "active"),
            Refreshed(other, refreshed[1].name, "active", "active"),
        ]
        names = ["feature_vector_multiscale", "feature_vector_efficientnet"]
        if RENAME in change:
            names = ["feature_vector_primary", "feature_vector_secondary"]
        if DROP not in change:
            names.append("feature_vector")
        held = state(connection, ", ".join(["profile_detection_id", *names]))
        own = [(found[0], found[2], found[3]), (found[1],)]
        for (best, *vectors), expected, members in zip(held, (found[2], found[1]), own, strict=True):
            assert best == expected
            mean = pool(np.concatenate([look(member) for member in members]))
            for vector in vectors:
                np.testing.assert_allclose(vector.to_numpy(), mean, atol=1e-6)
        answer(connection, registered, Answer(found[1], deer))
        gone = state(connection, ", ".join(["status", "profile_detection_id", "single_model_id", *names]))[1]
        assert set(gone) == {"retired", None}


def test_a_sex_is_kept_while_one_sighting_shows_it(db: Database, registered: RegisteredVersion) -> None:
    with db.transaction() as connection:
        sexes = [Sex.MALE, Sex.FEMALE, Sex.FEMALE, Sex.UNKNOWN]
        found = [sighting(connection, registered, f"{n}.jpg", sex=sex)[0] for n, sex in enumerate(sexes)]
        deer = make(connection, registered, found[0], Sex.MALE)
        other = make(connection, registered, found[3], Sex.UNKNOWN)
        answer(connection, registered, Answer(found[1], deer), Answer(found[2], deer))
        assert state(connection, "sex, sighting_count") == [("male", 3), ("unknown", 1)]
        answer(connection, registered, Answer(found[0], other))
        assert state(connection, "sex, sighting_count") == [("female", 2), ("male", 2)]


def test_who_was_retired_with_sightings_stays_so(db: Database, registered: RegisteredVersion) -> None:
    """A deer that died: old photos of it may still turn up."""
    with db.transaction() as connection:
        (first,) = sighting(connection, registered, "a.jpg")
        (second,) = sighting(connection, registered, "b.jpg", seconds=9)
        deer = make(connection, registered, first, Sex.UNKNOWN)
        connection.execute("UPDATE deer SET status = 'retired'")
        (refreshed,) = answer(connection, registered, Answer(second, deer))
        assert (refreshed.before, refreshed.after) == ("retired", "retired")
        assert state(connection, "sighting_count, profile_detection_id") == [(2, first)]


def test_the_log_copies_the_machines_last_word_not_a_persons(
    db: Database, registered: RegisteredVersion
) -> None:
    with db.transaction() as connection:
        (first,) = sighting(connection, registered, "a.jpg")
        (second,) = sighting(connection, registered, "b.jpg", seconds=9)
        deer, other = (make(connection, registered, s, Sex.UNKNOWN) for s in (first, second))
        (asked,) = sighting(connection, registered, "c.jpg", seconds=99)
        decide(connection, registered, asked, None, (Candidate(deer, 0.7, 0.5),))
        decide(connection, registered, asked, None, (Candidate(other, 0.75, 0.625),))
        for individual in (deer, other):
            answer(connection, registered, Answer(asked, individual))
        rows = connection.execute(
            "SELECT outcome, deer_id, probability, candidates FROM decisions WHERE actor = 'Ann' ORDER BY id"
        ).fetchall()
        likely = [{"deer_id": other, "similarity": 0.75, "probability": 0.625}]
        assert [tuple(row.values()) for row in rows] == [
            ("assign", deer, 0.625, likely),
            ("assign", other, 0.625, likely),
        ]
