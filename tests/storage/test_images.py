"""Photos, the files that hold them, their instants, and the first word of a detector."""

import hashlib
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from deertrack.domain.errors import DatabaseError, InputError, NotFoundError
from deertrack.domain.records import AgeClass, Box, DetectedAnimal, PhotoFacts, Sex
from deertrack.storage import images, sightings
from deertrack.storage.db import Connection, Database
from deertrack.storage.images import OfferedPhoto, Station

BERLIN, CHICAGO = "Europe/Berlin", "America/Chicago"
NOON = datetime(2024, 11, 3, 12, 0)  # noqa: DTZ001  a camera's clock has no zone


def offered(
    path: str,
    *,
    content: str = "",
    station: str = "Oak ridge",
    clock: datetime | None = NOON,
    offset: int | None = None,
) -> OfferedPhoto:
    facts = PhotoFacts(
        sha256=hashlib.sha256((content or path).encode()).digest(),
        size=1000,
        width=4000,
        height=3000,
        clock=clock,
        offset_minutes=offset,
        camera="Cam X",
    )
    return OfferedPhoto(path, 1000, 1_700_000_000_000_000_000, station, facts)


def bad(path: str, error: str = "not a picture") -> OfferedPhoto:
    return OfferedPhoto(path, 3, 5, "Oak ridge", None, error)


def add(connection: Connection, *photos: OfferedPhoto, timezone: str = "UTC") -> int:
    return images.add_photos(connection, photos, timezone=timezone)


def taken_at(connection: Connection, path: str) -> datetime | None:
    return images.catalogued_files(connection, [path])[path].taken_at


def image_id(connection: Connection, path: str) -> int:
    return images.catalogued_files(connection, [path])[path].image_id


def count(connection: Connection, table: str) -> int:
    return connection.execute(f"SELECT count(*) AS n FROM {table}").fetchone()["n"]


def set_station(
    connection: Connection, name: str, *, timezone: str = "UTC", shift: timedelta = timedelta(0)
) -> None:
    images.put_station(connection, Station(name, timezone=timezone, clock_shift=shift))


# Photos and files ---------------------------------------------------------------------------------------


def test_a_photo_is_known_by_its_content_however_many_files_hold_it(db: Database) -> None:
    with db.transaction() as connection:
        added = add(
            connection,
            offered("/a/1.jpg", content="one"),
            offered("/b/copy of 1.jpg", content="one", station="Elsewhere"),
            offered("/a/2.jpg", content="two"),
        )
        assert added == 2
        assert add(connection, offered("/c/again.jpg", content="one")) == 0
        paths = ["/a/1.jpg", "/b/copy of 1.jpg", "/c/again.jpg", "/a/2.jpg", "/never/seen.jpg"]
        found = images.catalogued_files(connection, paths)
        assert count(connection, "images") == 2
    assert set(found) == set(paths) - {"/never/seen.jpg"}
    assert len({found[path].image_id for path in paths[:3]}) == 1
    assert [found[path].duplicate for path in paths[:4]] == [False, True, True, False]


def test_facts_are_stored_as_they_were_read(db: Database) -> None:
    with db.transaction() as connection:
        add(connection, offered("/ü/Hirsch 'röhrt'.jpg", clock=NOON, offset=-300))
        row = connection.execute("SELECT * FROM images").fetchone()
    assert (row["width"], row["height"], row["camera"]) == (4000, 3000, "Cam X")
    assert (row["clock"], row["offset_minutes"]) == (NOON, -300)
    assert row["sha256"] == hashlib.sha256("/ü/Hirsch 'röhrt'.jpg".encode()).digest()
    assert row["detector"] is row["error"] is None


def test_a_bad_file_is_remembered_with_its_reason_and_makes_no_photo(db: Database) -> None:
    with db.transaction() as connection:
        assert add(connection, bad("/a/broken.jpg", "empty file"), offered("/a/1.jpg")) == 1
        known = images.known_files(connection, ["/a/broken.jpg", "/a/1.jpg", "/a/other.jpg"])
        assert set(known) == {"/a/broken.jpg", "/a/1.jpg"}
        broken = known["/a/broken.jpg"]
        assert (broken.image_id, broken.error, broken.size, broken.mtime_ns) == (None, "empty file", 3, 5)
        assert known["/a/1.jpg"].error is None
        assert images.catalogued_files(connection, ["/a/broken.jpg"]) == {}
        # A bad file alone does not make its station.
        assert [s["name"] for s in images.list_stations(connection)] == ["Oak ridge"]


def test_a_file_that_changed_is_what_it_was_last(db: Database) -> None:
    with db.transaction() as connection:
        add(connection, bad("/a/1.jpg"))
        assert add(connection, offered("/a/1.jpg", content="mended")) == 1
        known = images.known_files(connection, ["/a/1.jpg"])["/a/1.jpg"]
        assert known.error is None
        assert known.image_id is not None
        add(connection, bad("/a/1.jpg", "cut off"))
        known = images.known_files(connection, ["/a/1.jpg"])["/a/1.jpg"]
        assert (known.image_id, known.error) == (None, "cut off")
        assert count(connection, "images") == 1  # the photo itself stays


def test_nothing_offered_is_nothing_done(db: Database) -> None:
    with db.transaction() as connection:
        assert add(connection) == 0
        assert add(connection, timezone="No/Where") == 0
        assert images.known_files(connection, []) == {}


def test_an_unreadable_photo_is_kept_with_its_reason(db: Database) -> None:
    with db.transaction() as connection:
        add(connection, offered("/a/1.jpg"))
        images.mark_unreadable(connection, image_id(connection, "/a/1.jpg"), "truncated")
        assert images.catalogued_files(connection, ["/a/1.jpg"])["/a/1.jpg"].error == "truncated"


# Time ---------------------------------------------------------------------------------------------------


def test_an_instant_is_the_cameras_clock_in_its_stations_zone_in_summer_and_winter(db: Database) -> None:
    clocks = [datetime(2024, month, 15, 23, 30) for month in range(1, 13)]  # noqa: DTZ001
    with db.transaction() as connection:
        for zone in (BERLIN, CHICAGO, "Asia/Kathmandu"):
            photos = [offered(f"/{zone}/{c:%m}.jpg", station=zone, clock=c) for c in clocks]
            add(connection, *photos, timezone=zone)
            for clock, photo in zip(clocks, photos, strict=True):
                assert taken_at(connection, photo.path) == clock.replace(tzinfo=ZoneInfo(zone))


def test_around_the_change_of_clocks(db: Database) -> None:
    wanted = {
        datetime(2024, 3, 31, 1, 59): datetime(2024, 3, 31, 0, 59, tzinfo=UTC),  # noqa: DTZ001
        datetime(2024, 3, 31, 3, 0): datetime(2024, 3, 31, 1, 0, tzinfo=UTC),  # noqa: DTZ001
        datetime(2024, 10, 27, 1, 59): datetime(2024, 10, 26, 23, 59, tzinfo=UTC),  # noqa: DTZ001
        datetime(2024, 10, 27, 3, 0): datetime(2024, 10, 27, 2, 0, tzinfo=UTC),  # noqa: DTZ001
    }
    with db.transaction() as connection:
        for i, (clock, instant) in enumerate(wanted.items()):
            add(connection, offered(f"/{i}.jpg", clock=clock), timezone=BERLIN)
            assert taken_at(connection, f"/{i}.jpg") == instant


def test_an_offset_that_the_camera_wrote_outranks_the_zone(db: Database) -> None:
    with db.transaction() as connection:
        add(connection, offered("/a.jpg", offset=-360), offered("/b.jpg"), timezone=BERLIN)
        assert taken_at(connection, "/a.jpg") == datetime(2024, 11, 3, 18, 0, tzinfo=UTC)
        assert taken_at(connection, "/b.jpg") == datetime(2024, 11, 3, 11, 0, tzinfo=UTC)
        set_station(connection, "Oak ridge", timezone=CHICAGO)
        assert taken_at(connection, "/a.jpg") == datetime(2024, 11, 3, 18, 0, tzinfo=UTC)
        assert taken_at(connection, "/b.jpg") == datetime(2024, 11, 3, 18, 0, tzinfo=UTC)
        # A wrongly set clock was wrong in both.
        set_station(connection, "Oak ridge", timezone=CHICAGO, shift=timedelta(minutes=-90))
        assert taken_at(connection, "/a.jpg") == datetime(2024, 11, 3, 16, 30, tzinfo=UTC)
        assert taken_at(connection, "/b.jpg") == datetime(2024, 11, 3, 16, 30, tzinfo=UTC)


def test_a_clock_shift_is_made_on_the_clock_so_that_it_lands_in_the_right_season(db: Database) -> None:
    # Half a year off: the camera thought it was summer, and the zone must be taken as it is in winter.
    with db.transaction() as connection:
        add(connection, offered("/a.jpg", clock=datetime(2024, 7, 1, 6, 0)), timezone=BERLIN)  # noqa: DTZ001
        assert taken_at(connection, "/a.jpg") == datetime(2024, 7, 1, 4, 0, tzinfo=UTC)
        set_station(connection, "Oak ridge", timezone=BERLIN, shift=timedelta(days=184))
        assert taken_at(connection, "/a.jpg") == datetime(2025, 1, 1, 5, 0, tzinfo=UTC)
        set_station(connection, "Oak ridge", timezone=BERLIN)
        assert taken_at(connection, "/a.jpg") == datetime(2024, 7, 1, 4, 0, tzinfo=UTC)


def test_later_photos_of_a_shifted_station_are_shifted_too(db: Database) -> None:
    with db.transaction() as connection:
        add(connection, offered("/a.jpg"))
        set_station(connection, "Oak ridge", timezone=BERLIN, shift=timedelta(hours=-2))
        add(connection, offered("/b.jpg", clock=NOON + timedelta(days=1)))
        assert taken_at(connection, "/b.jpg") == datetime(2024, 11, 4, 9, 0, tzinfo=UTC)


def test_a_photo_without_a_time_never_gets_one(db: Database) -> None:
    with db.transaction() as connection:
        add(connection, offered("/a.jpg", clock=None))
        set_station(connection, "Oak ridge", timezone=BERLIN, shift=timedelta(hours=5))
        assert taken_at(connection, "/a.jpg") is None


def test_a_shift_moves_a_stations_encounters_and_nobody_elses(db: Database) -> None:
    with db.transaction() as connection:
        clocks = {"Oak ridge": NOON, "Beech hollow": NOON + timedelta(minutes=1)}
        encounters = {}
        for station, clock in clocks.items():
            photos = [
                offered(f"/{station}/{i}.jpg", station=station, clock=clock + timedelta(seconds=i))
                for i in (0, 5)
            ]
            add(connection, *photos, timezone=BERLIN)
            first, last = (taken_at(connection, photo.path) for photo in photos)
            assert first is not None
            assert last is not None
            for photo in photos:
                images.add_detections(
                    connection, image_id(connection, photo.path), "md", [DetectedAnimal(Box(0, 0, 1, 1), 0.9)]
                )
            station_id = images.ensure_stations(connection, [station], timezone=BERLIN)[station]
            encounters[station] = sightings.add_encounter(connection, station_id, first, last)
            detections = connection.execute(
                "SELECT d.id FROM detections d JOIN images i ON i.id = d.image_id WHERE i.station_id = %s",
                [station_id],
            )
            sightings.put_sighting(
                connection, encounters[station], [r["id"] for r in detections], Sex.UNKNOWN
            )
        add(connection, offered("/no time.jpg", clock=None))
        untimed = sightings.add_encounter(connection, 1, None, None)

        def span(encounter_id: int) -> tuple[datetime | None, datetime | None]:
            row = connection.execute(
                "SELECT started_at, ended_at FROM encounters WHERE id = %s", [encounter_id]
            ).fetchone()
            return row["started_at"], row["ended_at"]

        set_station(connection, "Oak ridge", timezone=BERLIN, shift=timedelta(days=1, hours=2))
        start = datetime(2024, 11, 4, 13, 0, tzinfo=UTC)
        assert span(encounters["Oak ridge"]) == (start, start + timedelta(seconds=5))
        beech = datetime(2024, 11, 3, 11, 1, tzinfo=UTC)
        assert span(encounters["Beech hollow"]) == (beech, beech + timedelta(seconds=5))
        assert span(untimed) == (None, None)


# Stations -----------------------------------------------------------------------------------------------


def test_a_known_station_keeps_its_zone_whatever_a_later_run_says(db: Database) -> None:
    with db.transaction() as connection:
        add(connection, offered("/a.jpg"), timezone=CHICAGO)
        add(connection, offered("/b.jpg"), offered("/c.jpg", station="New"), timezone=BERLIN)
        zones = {s["name"]: s["timezone"] for s in images.list_stations(connection)}
    assert zones == {"Oak ridge": CHICAGO, "New": BERLIN}


def test_a_station_is_read_back_as_it_was_put(db: Database) -> None:
    station = Station("Oak ridge", 51.25, -7.5, BERLIN, timedelta(days=-400, hours=3, seconds=7))
    with db.transaction() as connection:
        assert set(images.ensure_stations(connection, ["Oak ridge", "Beech"], timezone="UTC")) == {
            "Oak ridge",
            "Beech",
        }
        images.put_station(connection, station)
        assert images.get_station(connection, "Oak ridge") == station
        assert images.get_station(connection, "Beech") == Station("Beech")


def test_stations_are_listed_with_their_photos_and_times(db: Database) -> None:
    with db.transaction() as connection:
        add(connection, offered("/1.jpg"), offered("/2.jpg", clock=NOON + timedelta(hours=1)))
        add(connection, offered("/3.jpg", clock=None))
        images.ensure_stations(connection, ["Empty"], timezone="UTC")
        empty, oak = images.list_stations(connection)
    assert (empty["name"], empty["photos"], empty["first_photo"]) == ("Empty", 0, None)
    assert (oak["name"], oak["photos"]) == ("Oak ridge", 3)
    assert oak["last_photo"] - oak["first_photo"] == timedelta(hours=1)


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "", "+02:00", "'; DROP TABLE images; --"])
def test_a_zone_that_the_database_does_not_know_is_refused(db: Database, zone: str) -> None:
    with db.transaction() as connection:
        with pytest.raises(InputError, match="is not a time zone"):
            add(connection, offered("/a.jpg"), timezone=zone)
        assert count(connection, "images") == count(connection, "stations") == 0
        add(connection, offered("/a.jpg"))
        with pytest.raises(InputError, match="is not a time zone"):
            set_station(connection, "Oak ridge", timezone=zone)


def test_an_unknown_station_is_answered_with_the_known_ones(db: Database) -> None:
    with db.transaction() as connection:
        with pytest.raises(NotFoundError) as caught:
            images.get_station(connection, "Oka")
        assert "none" in caught.value.hint
        images.ensure_stations(connection, ["Oak", "Beech"], timezone="UTC")
        with pytest.raises(NotFoundError, match="'Oka'") as caught:
            images.get_station(connection, "Oka")
        assert "Beech, Oak" in caught.value.hint


@pytest.mark.parametrize(("latitude", "longitude"), [(91, 0), (0, 181), (51, None), (None, 7)])
def test_places_off_the_globe_are_refused(
    db: Database, latitude: float | None, longitude: float | None
) -> None:
    with db.transaction() as connection:
        images.ensure_stations(connection, ["Oak"], timezone="UTC")
    with pytest.raises(DatabaseError), db.transaction() as connection:
        images.put_station(connection, Station("Oak", latitude, longitude))


# Detections ---------------------------------------------------------------------------------------------

BUCK = DetectedAnimal(Box(0.1, 0.2, 0.3, 0.4), 0.93, "deer", 0.8, Sex.MALE, AgeClass.ADULT)
FAWN = DetectedAnimal(Box(0.5, 0.2, 0.2, 0.3), 0.61, age_class=AgeClass.FAWN)


def test_the_first_answer_of_a_detector_stays(db: Database) -> None:
    with db.transaction() as connection:
        add(connection, offered("/a.jpg"))
        photo = image_id(connection, "/a.jpg")
        assert images.add_detections(connection, photo, "md_v5a", [BUCK, FAWN]) == 2
        assert images.add_detections(connection, photo, "md_v6", [DetectedAnimal(Box(0, 0, 1, 1), 0.5)]) == 0
        rows = connection.execute("SELECT * FROM detections ORDER BY bbox_x").fetchall()
        assert images.catalogued_files(connection, ["/a.jpg"])["/a.jpg"].detector == "md_v5a"
    assert [(r["sex"], r["age_class"], r["label"]) for r in rows] == [
        ("male", "adult", "deer"),
        ("unknown", "fawn", ""),
    ]
    assert [r["confidence"] for r in rows] == pytest.approx([0.93, 0.61])
    assert (rows[0]["bbox_x"], rows[0]["bbox_y"]) == (0.1, 0.2)
    assert (rows[0]["bbox_width"], rows[0]["bbox_height"]) == (BUCK.box.width, BUCK.box.height)
    assert rows[0]["label_confidence"] == pytest.approx(0.8)


def test_nothing_seen_is_an_answer_too(db: Database) -> None:
    with db.transaction() as connection:
        add(connection, offered("/a.jpg"))
        photo = image_id(connection, "/a.jpg")
        assert images.add_detections(connection, photo, "md", []) == 0
        assert images.add_detections(connection, photo, "md", [BUCK]) == 0
        assert count(connection, "detections") == 0


def test_one_box_twice_is_one_detection(db: Database) -> None:
    with db.transaction() as connection:
        add(connection, offered("/a.jpg"))
        assert (
            images.add_detections(connection, image_id(connection, "/a.jpg"), "md", [BUCK, FAWN, BUCK]) == 2
        )


@pytest.mark.parametrize("change", ["confidence = 1.2", "bbox_width = 0", "bbox_x = 0.9", "sex = 'buck'"])
def test_the_database_itself_refuses_nonsense(db: Database, change: str) -> None:
    with db.transaction() as connection:
        add(connection, offered("/a.jpg"))
        images.add_detections(connection, image_id(connection, "/a.jpg"), "md", [BUCK])
    with pytest.raises(DatabaseError), db.transaction() as connection:
        connection.execute(f"UPDATE detections SET {change}")
