"""Stations, photos, the files that hold them, and what a detector saw in them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from deertrack.domain.errors import InputError, NotFoundError
from deertrack.domain.records import DetectedAnimal, PhotoFacts
from deertrack.storage.db import Connection
from deertrack.storage.queries import load_queries

_SQL = load_queries("images")


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file as it was when last read. ``image_id`` is None where ``error`` says why."""

    path: str
    size: int
    mtime_ns: int
    image_id: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class OfferedPhoto:
    """A file that was read just now: its photo's facts, or why there are none."""

    path: str
    size: int
    mtime_ns: int
    station: str
    facts: PhotoFacts | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class CataloguedFile:
    """A good file and its photo. A duplicate holds a photo that another file (``first_path``) brought."""

    path: str
    image_id: int
    detector: str | None
    error: str | None
    taken_at: datetime | None
    first_path: str

    @property
    def duplicate(self) -> bool:
        """Whether another file holds the same photo and comes first."""
        return self.path != self.first_path


@dataclass(frozen=True, slots=True)
class Station:
    """A place with a camera. Degrees are decimal (WGS 84); ``clock_shift`` is added to its cameras' clocks."""

    name: str
    latitude: float | None = None
    longitude: float | None = None
    timezone: str = "UTC"
    clock_shift: timedelta = timedelta(0)


def known_files(connection: Connection, paths: Sequence[str]) -> dict[str, KnownFile]:
    """Those of ``paths`` that were read before, by path."""
    rows = connection.execute(_SQL["known_files"], {"paths": list(paths)})
    return {row["path"]: KnownFile(**row) for row in rows}


def add_photos(connection: Connection, offered: Sequence[OfferedPhoto], *, timezone: str) -> int:
    """Store what was read; a photo whose content is known gains a file, not a row. Returns the new photos.

    ``timezone`` is given to stations that are met for the first time.
    """
    good = [photo for photo in offered if photo.facts is not None]
    stations = ensure_stations(connection, sorted({photo.station for photo in good}), timezone=timezone)
    with connection.cursor() as cursor:
        cursor.executemany(
            _SQL["add_image"],
            [
                {
                    "sha256": photo.facts.sha256,
                    "station_id": stations[photo.station],
                    "width": photo.facts.width,
                    "height": photo.facts.height,
                    "camera": photo.facts.camera,
                    "clock": photo.facts.clock,
                    "offset_minutes": photo.facts.offset_minutes,
                }
                for photo in good
                if photo.facts
            ],
        )
        added = max(cursor.rowcount, 0)
        cursor.executemany(
            _SQL["record_good_file"],
            [
                {"path": p.path, "size": p.size, "mtime_ns": p.mtime_ns, "sha256": p.facts.sha256}
                for p in good
                if p.facts
            ],
        )
        cursor.executemany(
            _SQL["record_bad_file"],
            [
                {"path": p.path, "size": p.size, "mtime_ns": p.mtime_ns, "error": p.error}
                for p in offered
                if p.facts is None
            ],
        )
    return added


def catalogued_files(connection: Connection, paths: Sequence[str]) -> dict[str, CataloguedFile]:
    """Those of ``paths`` that hold a photo, by path."""
    rows = connection.execute(_SQL["images_of_files"], {"paths": list(paths)})
    return {row["path"]: CataloguedFile(**row) for row in rows}


def add_detections(
    connection: Connection, image_id: int, detector: str, animals: Iterable[DetectedAnimal]
) -> int:
    """Store a detector's first answer for a photo; later answers are left out. Returns the detections added."""
    claimed = connection.execute(_SQL["claim_for_detector"], {"image_id": image_id, "detector": detector})
    if claimed.fetchone() is None:
        return 0
    rows = [
        {
            "image_id": image_id,
            "confidence": animal.confidence,
            "x": animal.box.x,
            "y": animal.box.y,
            "width": animal.box.width,
            "height": animal.box.height,
            "label": animal.label,
            "label_confidence": animal.label_confidence,
            "sex": animal.sex,
            "age_class": animal.age_class,
        }
        for animal in animals
    ]
    with connection.cursor() as cursor:
        cursor.executemany(_SQL["add_detection"], rows)
        return max(cursor.rowcount, 0)


def mark_unreadable(connection: Connection, image_id: int, reason: str) -> None:
    """Remember that a photo's pixels cannot be read: it is kept and listed, and never tried again."""
    connection.execute(_SQL["mark_unreadable"], {"image_id": image_id, "error": reason})


def ensure_stations(connection: Connection, names: Sequence[str], *, timezone: str) -> dict[str, int]:
    """Ids by name; stations that do not exist yet are made, with ``timezone``."""
    if names:
        check_timezone(connection, timezone)
    with connection.cursor() as cursor:
        cursor.executemany(_SQL["ensure_station"], [{"name": n, "timezone": timezone} for n in names])
    return {row["name"]: row["id"] for row in connection.execute(_SQL["station_ids"], {"names": list(names)})}


def list_stations(connection: Connection, *, only: int | None = None) -> list[dict[str, Any]]:
    """All stations with how many photos they took, and when, by name. ``only`` the one with this id."""
    return connection.execute(_SQL["list_stations"], {"id": only}).fetchall()


def get_station(connection: Connection, name: str) -> Station:
    """One station, locked until the transaction ends.

    Raises:
        NotFoundError: there is none of that name.
    """
    row = connection.execute(_SQL["station_by_name"], {"name": name}).fetchone()
    if row is None:
        known = [r["name"] for r in list_stations(connection)]
        raise NotFoundError(
            f"there is no station {name!r}", hint=f"Known stations: {', '.join(known) or 'none'}."
        )
    return Station(**{k: v for k, v in row.items() if k != "id"})


def put_station(connection: Connection, station: Station) -> None:
    """Change an existing station; a new zone or clock shift moves all its photos and encounters in time."""
    check_timezone(connection, station.timezone)
    row = connection.execute(_SQL["station_by_name"], {"name": station.name}).fetchone()
    assert row is not None, "ensure_stations first"
    connection.execute(
        _SQL["update_station"],
        {
            "id": row["id"],
            "latitude": station.latitude,
            "longitude": station.longitude,
            "timezone": station.timezone,
            "clock_shift": station.clock_shift,
        },
    )
    if (row["timezone"], row["clock_shift"]) != (station.timezone, station.clock_shift):
        connection.execute(_SQL["retime_images"], {"id": row["id"]})
        connection.execute(_SQL["retime_encounters"], {"id": row["id"]})


def check_timezone(connection: Connection, name: str) -> None:
    """Insist on a time zone that the database knows.

    Raises:
        InputError: it does not.
    """
    if connection.execute(_SQL["known_zones"], {"name": name}).fetchone() is None:
        raise InputError(
            f"{name!r} is not a time zone", hint="Use an IANA name such as America/Chicago or Europe/Berlin."
        )
