"""What people read of the catalogue: totals, individuals, sightings, problems, and the audit trail."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from deertrack.domain.decision import Belief, Candidate, Decision, Outcome, Policy
from deertrack.domain.embedding import DIMENSIONS, EmbeddingVersion, Output, normalise
from deertrack.domain.errors import InputError, NotFoundError
from deertrack.domain.names import friendly_name
from deertrack.domain.records import Box, DetectedAnimal, PhotoFacts, Sex
from deertrack.storage import catalogue, embeddings, gallery, images, sightings
from deertrack.storage.db import Connection, Database
from deertrack.storage.images import OfferedPhoto

DAWN = datetime(2024, 11, 3, 6, 0, tzinfo=UTC)
VERSION = EmbeddingVersion("v3_x", 3, "x", {o: hashlib.sha256(o.encode()).hexdigest() for o in Output})


def meet(
    connection: Connection,
    name: str,
    *,
    hours: float | None = 0,
    station: str = "Oak",
    deer: int | None = None,
) -> tuple[int, int]:
    """One photo of one doe, decided: of a known individual, or of a new one. Its individual and sighting."""
    registered = embeddings.register_version(connection, VERSION)
    when = None if hours is None else DAWN + timedelta(hours=hours)
    facts = PhotoFacts(
        hashlib.sha256(name.encode()).digest(),
        1,
        640,
        480,
        when and when.replace(tzinfo=None),
        camera="Cam X",
    )
    images.add_photos(connection, [OfferedPhoto(name, 1, 1, station, facts)], timezone="UTC")
    image_id = images.catalogued_files(connection, [name])[name].image_id
    images.add_detections(connection, image_id, "md", [DetectedAnimal(Box(0.1, 0.2, 0.3, 0.4), 0.9)])
    row = connection.execute("SELECT id FROM detections WHERE image_id = %s", [image_id]).fetchone()
    station_id = images.ensure_stations(connection, [station], timezone="UTC")[station]
    encounter = sightings.add_encounter(connection, station_id, when, when)
    sighting = sightings.put_sighting(connection, encounter, [row["id"]], Sex.FEMALE)
    if deer is None:
        vectors = dict(
            zip(Output, normalise(np.random.default_rng(row["id"]).normal(size=(3, DIMENSIONS))), strict=True)
        )
        decision = Decision(Outcome.NEW, Belief())
        deer = gallery.add_deer(
            connection, registered, sex=Sex.FEMALE, profile_detection_id=row["id"], vectors=vectors
        )
    else:
        decision = Decision(Outcome.ASSIGN, Belief((Candidate(deer, 0.9, 0.96),), 0.04), deer)
    sightings.record_decision(
        connection, sighting, decision, deer_id=deer, policy=Policy(), registered=registered
    )
    gallery.note_sighting(connection, deer, Sex.FEMALE)
    return deer, sighting


def events(connection: Connection) -> list[tuple[str, str, str, dict[str, str]]]:
    rows = connection.execute("SELECT actor, kind, subject, detail FROM events ORDER BY id")
    return [(r["actor"], r["kind"], r["subject"], r["detail"]) for r in rows]


def test_an_empty_catalogue_reads_as_empty(db: Database) -> None:
    with db.transaction() as connection:
        assert set(catalogue.totals(connection).values()) == {0}
        assert catalogue.list_individuals(connection) == []
        assert catalogue.list_sightings(connection) == []
        assert catalogue.list_problems(connection) == []
        assert not catalogue.holds_drawn_photos(connection)
        assert catalogue.get_setting(connection, catalogue.ACTIVE_VERSION) is None
        with pytest.raises(NotFoundError, match="'1'"):
            catalogue.find_individual(connection, "1")


def test_totals_count_each_thing_once(db: Database) -> None:
    with db.transaction() as connection:
        deer, sighting = meet(connection, "a.jpg")
        meet(connection, "b.jpg", hours=1, deer=deer, station="Beech")
        gone, _ = meet(connection, "c.jpg", hours=2)
        connection.execute("UPDATE deer SET status = 'retired' WHERE id = %s", [gone])
        connection.execute("UPDATE sightings SET state = 'review', deer_id = NULL WHERE id = %s", [sighting])
        images.add_photos(connection, [OfferedPhoto("bad.jpg", 1, 1, "Oak", None, "empty")], timezone="UTC")
        images.mark_unreadable(
            connection, images.catalogued_files(connection, ["c.jpg"])["c.jpg"].image_id, "cut"
        )
        totals = catalogue.totals(connection)
        problems = catalogue.list_problems(connection)
    assert totals == {
        "photos": 3,
        "unreadable": 2,
        "detections": 3,
        "encounters": 3,
        "tracks": 3,
        "individuals": 1,
        "waiting": 1,
        "stations": 2,
    }
    assert problems == [("bad.jpg", "empty"), ("c.jpg", "cut")]


def test_individuals_are_listed_by_number_with_when_and_where_they_were_seen(db: Database) -> None:
    with db.transaction() as connection:
        first, _ = meet(connection, "a.jpg", hours=5)
        meet(connection, "b.jpg", hours=2, deer=first, station="Beech")
        meet(connection, "untimed.jpg", hours=None, deer=first)
        second, _ = meet(connection, "c.jpg", hours=None)
        third, _ = meet(connection, "d.jpg")
        connection.execute("UPDATE deer SET status = 'merged' WHERE id = %s", [third])
        one, two = catalogue.list_individuals(connection)
        assert [d.id for d in catalogue.list_individuals(connection, status="merged")] == [third]
        assert [d.id for d in catalogue.list_individuals(connection, status="all")] == [first, second, third]
    assert (one.id, one.number, one.name, one.sex) == (first, 1, friendly_name(1), "female")
    assert (one.first_seen, one.last_seen) == (DAWN + timedelta(hours=2), DAWN + timedelta(hours=5))
    assert (one.photos, one.sighting_count, one.stations) == (3, 3, ("Beech", "Oak"))
    assert one.embedding_version == "v3_x"
    assert (two.id, two.first_seen, two.last_seen, two.photos) == (second, None, None, 1)


def test_an_individual_is_found_by_name_in_any_case_or_by_number(db: Database) -> None:
    with db.transaction() as connection:
        meet(connection, "a.jpg")
        second, _ = meet(connection, "b.jpg", hours=1)
        name = friendly_name(2)
        for text in (name, name.upper(), name.lower(), "2"):
            assert catalogue.find_individual(connection, text).id == second
        for text in ("3", "02", "", "%", "nobody"):
            with pytest.raises(NotFoundError) as caught:
                catalogue.find_individual(connection, text)
            assert "deer list" in caught.value.hint


def test_renaming_keeps_the_old_name_in_the_audit_trail(db: Database) -> None:
    with db.transaction() as connection:
        deer, _ = meet(connection, "a.jpg")
        individual = catalogue.find_individual(connection, "1")
        catalogue.rename_individual(connection, individual, "  Old   Béla ", actor="ranger")
        assert catalogue.find_individual(connection, "old béla").id == deer
        with pytest.raises(NotFoundError):
            catalogue.find_individual(connection, friendly_name(1))
        assert events(connection) == [
            ("ranger", "rename", f"deer:{deer}", {"from": friendly_name(1), "to": "Old Béla"})
        ]


def test_an_individual_may_change_the_case_of_its_own_name(db: Database) -> None:
    with db.transaction() as connection:
        meet(connection, "a.jpg")
        individual = catalogue.find_individual(connection, "1")
        catalogue.rename_individual(connection, individual, friendly_name(1).upper(), actor="ranger")
        assert catalogue.find_individual(connection, "1").name == friendly_name(1).upper()


@pytest.mark.parametrize("name", ["", "   ", "x" * 81, "17", friendly_name(2), friendly_name(2).lower()])
def test_a_name_that_would_not_tell_is_refused(db: Database, name: str) -> None:
    with db.transaction() as connection:
        meet(connection, "a.jpg")
        meet(connection, "b.jpg", hours=1)
        individual = catalogue.find_individual(connection, "1")
        with pytest.raises(InputError):
            catalogue.rename_individual(connection, individual, name, actor="ranger")
        assert catalogue.find_individual(connection, "1").name == friendly_name(1)
        assert events(connection) == []


def test_sightings_come_in_time_with_their_photos_and_last_decision(db: Database) -> None:
    with db.transaction() as connection:
        deer, late = meet(connection, "/cards/late.jpg", hours=9)
        _, untimed = meet(connection, "/cards/untimed.jpg", hours=None)
        _, early = meet(connection, "/cards/early.jpg", hours=1, deer=deer, station="Beech")
        facts = PhotoFacts(hashlib.sha256(b"/cards/early.jpg").digest(), 1, 640, 480)
        images.add_photos(connection, [OfferedPhoto("/backup/e.jpg", 1, 1, "Oak", facts)], timezone="UTC")
        registered = embeddings.register_version(connection, VERSION)
        review = Decision(Outcome.REVIEW, Belief((Candidate(deer, 0.8, 0.6),), 0.3))
        sightings.record_decision(
            connection, late, review, deer_id=None, policy=Policy(), registered=registered
        )
        everything = catalogue.list_sightings(connection)
        of_deer = catalogue.list_sightings(connection, deer_id=deer)
    assert [s.id for s in everything] == [early, late, untimed]
    assert [s.id for s in of_deer] == [early]
    first, second, third = everything
    assert (first.deer_id, first.state, first.outcome, first.station) == (deer, "assigned", "assign", "Beech")
    assert (first.started_at, first.timezone) == (DAWN + timedelta(hours=1), "UTC")
    assert first.probability == 0.96
    assert first.candidates == ({"deer_id": deer, "similarity": 0.9, "probability": 0.96},)
    (photo,) = first.photos
    assert photo.paths == (Path("/backup/e.jpg"), Path("/cards/early.jpg"))
    assert photo.taken_at == first.started_at
    assert (photo.box.x, photo.box.y) == (0.1, 0.2)
    assert (second.deer_id, second.state, second.outcome) == (None, "review", "review")
    assert (third.started_at, third.outcome, third.candidates) == (None, "new", ())


def test_the_photos_of_a_sighting_come_in_time(db: Database) -> None:
    with db.transaction() as connection:
        _, sighting = meet(connection, "second.jpg", hours=2)
        _, other = meet(connection, "first.jpg", hours=1)
        moved = connection.execute("SELECT id FROM detections WHERE sighting_id = %s", [other]).fetchone()
        (found,) = [s for s in catalogue.list_sightings(connection) if s.id == sighting]
        sightings.put_sighting(
            connection, found.encounter_id, [moved["id"]], Sex.FEMALE, sighting_id=sighting
        )
        (found,) = catalogue.list_sightings(connection)  # the other has no photo left
        assert [p.taken_at for p in found.photos] == [DAWN + timedelta(hours=h) for h in (1, 2)]


def test_settings_hold_whatever_json_does_and_the_last_value_counts(db: Database) -> None:
    with db.transaction() as connection:
        for value in ("v3_x", {"weights": [0.6, 0.4], "name": "ü"}, None, 0, False):
            catalogue.put_setting(connection, "key", value)
            assert catalogue.get_setting(connection, "key") == value
        catalogue.put_setting(connection, "other", 1)
        assert catalogue.get_setting(connection, "key") is False


def test_the_last_event_of_a_subject_is_its_newest(db: Database) -> None:
    with db.transaction() as connection:
        assert catalogue.last_event(connection, "deer:1") is None
        catalogue.add_event(connection, "ranger", "note", "deer:1", {"text": "limps"})
        catalogue.add_event(connection, "machine", "rename", "deer:1", {"to": "Béla"})
        catalogue.add_event(connection, "ranger", "note", "deer:12", {})
        last = catalogue.last_event(connection, "deer:1")
    assert last is not None
    assert (last["actor"], last["kind"], last["detail"]) == ("machine", "rename", {"to": "Béla"})


def test_drawn_photos_are_known_by_their_camera(db: Database) -> None:
    with db.transaction() as connection:
        meet(connection, "a.jpg")
        assert not catalogue.holds_drawn_photos(connection)
        facts = PhotoFacts(b"d" * 32, 1, 640, 480, camera="deertrack (Drawn Sample herd)")
        images.add_photos(connection, [OfferedPhoto("drawn.jpg", 1, 1, "Oak", facts)], timezone="UTC")
        assert catalogue.holds_drawn_photos(connection)
