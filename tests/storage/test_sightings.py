"""Encounters, sightings, decisions, and deciding one at a time however many workers there are."""

import hashlib
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from deertrack.domain.decision import Belief, Candidate, Decision, Outcome, Policy
from deertrack.domain.embedding import DIMENSIONS, EmbeddingVersion, Output, Vectors, normalise
from deertrack.domain.errors import DatabaseError
from deertrack.domain.fusion import Weights
from deertrack.domain.records import Box, DetectedAnimal, PhotoFacts, Sex
from deertrack.storage import embeddings, gallery, images, sightings
from deertrack.storage.db import Connection, Database
from deertrack.storage.embeddings import RegisteredVersion
from deertrack.storage.images import OfferedPhoto

DAWN = datetime(2024, 11, 3, 6, 0, tzinfo=UTC)
GAP = timedelta(seconds=60)
VERSION = EmbeddingVersion("v3_x", 3, "x", {o: hashlib.sha256(o.encode()).hexdigest() for o in Output})


def at(seconds: float) -> datetime:
    return DAWN + timedelta(seconds=seconds)


def vectors_for(n: int, seed: int = 0) -> dict[Output, Vectors]:
    rng = np.random.default_rng(seed)
    return {output: normalise(rng.normal(size=(n, DIMENSIONS))) for output in Output}


def add_photo(
    connection: Connection, name: str, seconds: float | None, *, animals: int = 1, station: str = "Oak"
) -> list[int]:
    """A photo at a station, taken so many seconds after dawn; the ids of its detections, from the left."""
    clock = None if seconds is None else at(seconds).replace(tzinfo=None)
    facts = PhotoFacts(hashlib.sha256(name.encode()).digest(), 1, 640, 480, clock)
    images.add_photos(connection, [OfferedPhoto(name, 1, 1, station, facts)], timezone="UTC")
    image_id = images.catalogued_files(connection, [name])[name].image_id
    seen = [DetectedAnimal(Box(i / 10, 0.1, 0.05, 0.5), 0.5 + i / 10, sex=Sex.FEMALE) for i in range(animals)]
    images.add_detections(connection, image_id, "md", seen)
    rows = connection.execute("SELECT id FROM detections WHERE image_id = %s ORDER BY bbox_x", [image_id])
    return [row["id"] for row in rows]


def register(connection: Connection) -> RegisteredVersion:
    return embeddings.register_version(connection, VERSION)


def station_id(connection: Connection, name: str = "Oak") -> int:
    return images.ensure_stations(connection, [name], timezone="UTC")[name]


# Grouping -----------------------------------------------------------------------------------------------


def test_two_detections_of_one_photo_cannot_be_one_animal(db: Database) -> None:
    with db.transaction() as connection:
        first, second = add_photo(connection, "a.jpg", 0, animals=2)
        encounter = sightings.add_encounter(connection, station_id(connection), at(0), at(0))
        sighting = sightings.put_sighting(connection, encounter, [first], Sex.FEMALE)
    with pytest.raises(DatabaseError, match="ix_detections_one_per_photo"), db.transaction() as connection:
        sightings.put_sighting(connection, encounter, [second], Sex.FEMALE, sighting_id=sighting)
    with pytest.raises(DatabaseError, match="ix_detections_one_per_photo"), db.transaction() as connection:
        sightings.put_sighting(connection, encounter, [first, second], Sex.FEMALE)


def test_a_track_grows_and_its_sex_becomes_known(db: Database) -> None:
    with db.transaction() as connection:
        (first,), (second,) = add_photo(connection, "a.jpg", 0), add_photo(connection, "b.jpg", 1)
        encounter = sightings.add_encounter(connection, station_id(connection), at(0), at(1))
        sighting = sightings.put_sighting(connection, encounter, [first], Sex.UNKNOWN)
        same = sightings.put_sighting(connection, encounter, [first, second], Sex.MALE, sighting_id=sighting)
        assert same == sighting
        rows = sightings.encounter_sightings(connection, encounter)
        assert [(r.sighting_id, r.detection_id, r.sex, r.state, r.deer_id) for r in rows] == [
            (sighting, first, Sex.MALE, "undecided", None),
            (sighting, second, Sex.MALE, "undecided", None),
        ]
        assert [r.confidence for r in rows] == [0.5, 0.5]
        assert [r.area for r in rows] == pytest.approx([0.025, 0.025])
        shots = sightings.encounter_shots(connection, encounter, [])
        assert [(s.detection_id, s.sighting_id, s.taken_at) for s in shots] == [
            (first, sighting, at(0)),
            (second, sighting, at(1)),
        ]


def test_only_what_is_fully_embedded_is_grouped_in_the_order_in_which_it_was_taken(db: Database) -> None:
    with db.transaction() as connection:
        registered = register(connection)
        models = list(registered.models.values())
        untimed = add_photo(connection, "untimed.jpg", None)
        late = add_photo(connection, "late.jpg", 20)
        early = add_photo(connection, "early.jpg", 10, animals=2)
        grouped = add_photo(connection, "grouped.jpg", 5)
        half = add_photo(connection, "half.jpg", 6)
        add_photo(connection, "bare.jpg", 7)
        damaged = add_photo(connection, "damaged.jpg", 8)
        elsewhere = add_photo(connection, "elsewhere.jpg", 9, station="Beech")
        for ids in (untimed, late, early, grouped, damaged, elsewhere):
            embeddings.store_vectors(connection, registered, ids, vectors_for(len(ids)))
        some = {Output.SINGLE: vectors_for(1)[Output.SINGLE]}
        embeddings.store_vectors(connection, registered, half, some)
        broken = images.catalogued_files(connection, ["damaged.jpg"])["damaged.jpg"].image_id
        images.mark_unreadable(connection, broken, "truncated")
        encounter = sightings.add_encounter(connection, station_id(connection), at(5), at(5))
        sightings.put_sighting(connection, encounter, grouped, Sex.UNKNOWN)

        oak = sightings.ungrouped(connection, station_id(connection), models)
        assert [d.detection_id for d in oak] == [*early, *late, *untimed]
        assert [d.taken_at for d in oak] == [at(10), at(10), at(20), None]
        assert oak[1].box == Box(0.1, 0.1, 0.05, 0.5)
        assert oak[0].sex is Sex.FEMALE
        assert [name for _, name in sightings.stations_to_group(connection)] == ["Beech", "Oak"]


@pytest.mark.parametrize(
    ("first", "last", "near"),
    [
        (159.999, 200, True),
        (160, 200, False),  # a pause of the whole gap
        (-30, -19.999, True),
        (-100, -20, False),
        (50, 60, True),  # inside
        (-500, 500, True),  # around
    ],
)
def test_late_photos_continue_an_encounter_that_is_less_than_the_gap_away(
    db: Database, first: float, last: float, near: bool
) -> None:
    with db.transaction() as connection:
        oak, beech = station_id(connection), station_id(connection, "Beech")
        encounter = sightings.add_encounter(connection, oak, at(40), at(100))
        sightings.add_encounter(connection, oak, None, None)
        found = sightings.encounter_near(connection, oak, at(first), at(last), GAP)
        assert found == (encounter if near else None)
        assert sightings.encounter_near(connection, beech, at(first), at(last), GAP) is None


def test_an_encounter_only_ever_widens(db: Database) -> None:
    with db.transaction() as connection:
        encounter = sightings.add_encounter(connection, station_id(connection), at(40), at(100))

        def span() -> tuple[datetime, datetime]:
            row = connection.execute("SELECT started_at, ended_at FROM encounters").fetchone()
            return row["started_at"], row["ended_at"]

        sightings.extend_encounter(connection, encounter, at(50), at(60))
        assert span() == (at(40), at(100))
        sightings.extend_encounter(connection, encounter, at(20), at(60))
        sightings.extend_encounter(connection, encounter, at(60), at(150))
        assert span() == (at(20), at(150))


def test_what_waits_for_a_decision_comes_in_the_order_of_meeting(db: Database) -> None:
    with db.transaction() as connection:
        oak, beech = station_id(connection), station_id(connection, "Beech")
        places = [("untimed", oak, None), ("late", oak, 500), ("same", oak, 100), ("before", beech, 100)]
        encounters = {}
        for name, station, seconds in places:
            when = None if seconds is None else at(seconds)
            encounters[name] = sightings.add_encounter(connection, station, when, when)
            ids = add_photo(connection, f"{name}.jpg", seconds)
            sightings.put_sighting(connection, encounters[name], ids, Sex.UNKNOWN)
        sightings.add_encounter(connection, oak, at(0), at(0))  # nobody in it
        waiting = sightings.undecided_encounters(connection)
        assert waiting == [encounters[name] for name in ("before", "same", "late", "untimed")]


# Decisions ----------------------------------------------------------------------------------------------


def test_a_decision_is_logged_with_all_that_led_to_it_and_takes_effect(db: Database) -> None:
    with db.transaction() as connection:
        registered = register(connection)
        ids = add_photo(connection, "a.jpg", 0)
        encounter = sightings.add_encounter(connection, station_id(connection), at(0), at(0))
        sighting = sightings.put_sighting(connection, encounter, ids, Sex.FEMALE)
        row = {output: rows[0] for output, rows in vectors_for(1).items()}
        deer = gallery.add_deer(
            connection, registered, sex=Sex.FEMALE, profile_detection_id=ids[0], vectors=row
        )
        policy = Policy(assign_at=0.9, new_at=0.6, unmet=12.5)

        unsure = Decision(Outcome.REVIEW, Belief((Candidate(deer, 0.81, 0.7), Candidate(9, 0.5, 0.1)), 0.15))
        sightings.record_decision(
            connection, sighting, unsure, deer_id=None, policy=policy, registered=registered
        )
        (state,) = sightings.encounter_sightings(connection, encounter)
        assert (state.state, state.deer_id) == ("review", None)

        sure = Decision(Outcome.ASSIGN, Belief((Candidate(deer, 0.91, 0.97),), 0.03), deer)
        sightings.record_decision(
            connection, sighting, sure, deer_id=deer, policy=policy, registered=registered
        )
        (state,) = sightings.encounter_sightings(connection, encounter)
        assert (state.state, state.deer_id) == ("assigned", deer)

        first, second = connection.execute("SELECT * FROM decisions ORDER BY id").fetchall()
    assert (first["outcome"], first["deer_id"], first["probability"]) == ("review", None, 0.7)
    assert first["new_probability"] == 0.15
    assert first["version"] == "v3_x"
    assert first["fingerprints"] == {
        o.value: VERSION.fingerprints[o] for o in (Output.MULTISCALE, Output.PARTNER)
    }
    assert first["policy"] == {
        "assign_at": 0.9,
        "new_at": 0.6,
        "unmet": 12.5,
        "min_similarity": None,
    }
    assert first["candidates"] == [
        {"deer_id": deer, "similarity": 0.81, "probability": 0.7},
        {"deer_id": 9, "similarity": 0.5, "probability": 0.1},
    ]
    assert first["actor"] == "machine"
    assert abs(first["decided_at"] - datetime.now(UTC)) < timedelta(minutes=5)
    assert (second["outcome"], second["deer_id"], second["probability"]) == ("assign", deer, 0.97)


def test_a_new_animal_in_an_empty_gallery_has_no_candidates(db: Database) -> None:
    with db.transaction() as connection:
        registered = register(connection)
        ids = add_photo(connection, "a.jpg", 0)
        encounter = sightings.add_encounter(connection, station_id(connection), at(0), at(0))
        sighting = sightings.put_sighting(connection, encounter, ids, Sex.FEMALE)
        row = {output: rows[0] for output, rows in vectors_for(1).items()}
        deer = gallery.add_deer(
            connection, registered, sex=Sex.FEMALE, profile_detection_id=ids[0], vectors=row
        )
        new = Decision(Outcome.NEW, Belief())
        sightings.record_decision(
            connection, sighting, new, deer_id=deer, policy=Policy(), registered=registered
        )
        logged = connection.execute("SELECT * FROM decisions").fetchone()
    assert (logged["probability"], logged["new_probability"], logged["candidates"]) == (None, 1.0, [])


def test_a_new_outcome_without_an_individual_is_refused(db: Database) -> None:
    with db.transaction() as connection:
        registered = register(connection)
        encounter = sightings.add_encounter(connection, station_id(connection), at(0), at(0))
        sighting = sightings.put_sighting(connection, encounter, [], Sex.FEMALE)
    new = Decision(Outcome.NEW, Belief())
    with pytest.raises(DatabaseError), db.transaction() as connection:
        sightings.record_decision(
            connection, sighting, new, deer_id=None, policy=Policy(), registered=registered
        )


def test_detections_are_listed_with_the_files_and_the_individual(db: Database) -> None:
    with db.transaction() as connection:
        registered = register(connection)
        (early,), (late,) = add_photo(connection, "b.jpg", 0), add_photo(connection, "a.jpg", 500)
        add_photo(connection, "ungrouped.jpg", 900)
        facts = PhotoFacts(hashlib.sha256(b"b.jpg").digest(), 1, 640, 480)
        images.add_photos(connection, [OfferedPhoto("copy.jpg", 1, 1, "Oak", facts)], timezone="UTC")
        row = {output: rows[0] for output, rows in vectors_for(1).items()}
        deer = gallery.add_deer(
            connection, registered, sex=Sex.FEMALE, profile_detection_id=late, vectors=row
        )
        made = []
        for detection, seconds in ((late, 500), (early, 0)):
            encounter = sightings.add_encounter(connection, station_id(connection), at(seconds), at(seconds))
            made.append(sightings.put_sighting(connection, encounter, [detection], Sex.FEMALE))
        assigned = Decision(Outcome.ASSIGN, Belief((Candidate(deer, 0.9, 0.96),), 0.04), deer)
        sightings.record_decision(
            connection, made[0], assigned, deer_id=deer, policy=Policy(), registered=registered
        )
        first, second = sightings.detections_in_files(connection)
    assert (first.detection_id, first.sighting_id, first.deer_id) == (early, made[1], None)
    assert set(first.paths) == {"b.jpg", "copy.jpg"}
    assert (second.detection_id, second.deer_id, second.paths) == (late, deer, ("a.jpg",))
    assert second.box == Box(0.0, 0.1, 0.05, 0.5)


# Several workers ----------------------------------------------------------------------------------------

ANIMALS, WORKERS = 6, 6


def meet_all(
    db: Database, registered: RegisteredVersion, vectors: dict[Output, Vectors], profile: int
) -> None:
    """Search for each animal, and make those that are not there: what every worker does."""
    for i in range(ANIMALS):
        one = {output: rows[i] for output, rows in vectors.items()}
        with db.transaction() as connection:
            sightings.lock_deciding(connection)
            found = gallery.search(connection, registered, one, sex=Sex.UNKNOWN, weights=Weights(), limit=1)
            if not found or found[0].similarity < 0.99:
                time.sleep(0.01)  # time enough for the others to search in vain too, if they could
                gallery.add_deer(
                    connection, registered, sex=Sex.UNKNOWN, profile_detection_id=profile, vectors=one
                )


def check_herd(db: Database) -> None:
    with db.transaction() as connection:
        herd = connection.execute("SELECT number, name FROM deer ORDER BY number").fetchall()
    assert [row["number"] for row in herd] == list(range(1, ANIMALS + 1))
    assert len({row["name"] for row in herd}) == ANIMALS


def test_threads_that_meet_the_same_animals_at_once_make_each_of_them_once(db: Database) -> None:
    with db.transaction() as connection:
        registered = register(connection)
        (profile,) = add_photo(connection, "a.jpg", 0)
    vectors = vectors_for(ANIMALS)
    barrier = threading.Barrier(WORKERS)
    failures: list[BaseException] = []

    def worker() -> None:
        try:
            with Database(db.url, size=1) as own:
                barrier.wait(timeout=30)
                meet_all(own, registered, vectors, profile)
        except BaseException as error:  # noqa: BLE001  to be seen by the test, not only by the thread
            failures.append(error)

    threads = [threading.Thread(target=worker) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert failures == []
    check_herd(db)


def test_deciding_waits_for_the_other_transaction_in_another_process_too(db: Database) -> None:
    code = """
import sys
from deertrack.storage import sightings
from deertrack.storage.db import Database
with Database(sys.argv[1], size=1) as db, db.transaction() as connection:
    sightings.lock_deciding(connection)
    print(connection.execute("SELECT count(*) AS n FROM stations").fetchone()["n"])
"""

    def waiting() -> bool:
        with db.transaction() as connection:
            return bool(
                connection.execute(
                    "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                ).fetchone()
            )

    with db.transaction() as connection:
        sightings.lock_deciding(connection)
        sightings.lock_deciding(connection)  # twice in one transaction is once
        other = subprocess.Popen([sys.executable, "-c", code, db.url], stdout=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 20
        while not waiting():
            assert time.monotonic() < deadline
            assert other.poll() is None
            time.sleep(0.02)
        connection.execute("INSERT INTO stations (name) VALUES ('Oak')")
    # It sees what was committed before its turn came.
    assert other.communicate(timeout=30)[0] == "1\n"


def test_a_worker_that_fails_lets_the_next_one_decide(db: Database) -> None:
    def fail() -> None:
        with db.transaction() as connection:
            sightings.lock_deciding(connection)
            connection.execute("SELECT 1 / 0")

    with pytest.raises(DatabaseError):
        fail()
    with Database(db.url, size=1) as other, other.transaction() as connection:
        connection.execute("SET LOCAL lock_timeout = '2s'")
        sightings.lock_deciding(connection)
