"""Reading the catalogue for people: totals, individuals, sightings, problems; names, settings, events."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from psycopg.types.json import Jsonb

from deertrack.domain.errors import InputError, NotFoundError
from deertrack.domain.records import Box
from deertrack.storage.db import Connection
from deertrack.storage.queries import load_queries

_SQL = load_queries("catalogue")

LONGEST_NAME = 80

# Keys of catalogue-wide settings.
ACTIVE_VERSION = "active_version"
CALIBRATION = "calibration"  # by version: a calibration file with its curve
PREVIOUS_VERSION = "previous_version"  # before the last cut-over; null after a rollback
POLICY = "policy"  # what was set of domain.decision.Policy: assign_at, new_at
TUNING = "tuning"  # by version: what its cut-over set, see services.versions.Tuning
JOINT_PLAN = "joint_plan"  # what services.joint is about to decide, else null
AB = "ab_test"  # {"version", "share", "since"} while one is under way, else null


@dataclass(frozen=True, slots=True)
class Individual:
    """A known deer. Times are instants (UTC); None where all its photos lack one."""

    id: int
    number: int
    name: str
    sex: str
    status: str
    notes: str
    sighting_count: int
    embedding_version: str
    profile_detection_id: int | None
    first_seen: datetime | None
    last_seen: datetime | None
    photos: int
    stations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SightingPhoto:
    """One photo of a sighting, with where the animal is in it. ``paths`` are all files that hold it."""

    detection_id: int
    image_id: int
    taken_at: datetime | None
    confidence: float
    box: Box
    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Sighting:
    """One animal across one encounter, with the last decision about it and its photos in time."""

    id: int
    encounter_id: int
    deer_id: int | None
    state: str
    station: str
    timezone: str
    started_at: datetime | None
    outcome: str | None
    by_person: bool
    probability: float | None
    candidates: tuple[dict[str, Any], ...]
    photos: tuple[SightingPhoto, ...]


def totals(connection: Connection, *, brief: bool = False) -> dict[str, int]:
    """Counts: photos, tracks, individuals, waiting, stations; not ``brief``: unreadable, detections, encounters."""
    found: dict[str, int] = {}
    for query in ["totals"] if brief else ["totals", "more_totals"]:
        row = connection.execute(_SQL[query]).fetchone()
        assert row is not None
        found |= row
    return found


def list_individuals(
    connection: Connection, *, status: str = "active", only: int | None = None
) -> list[Individual]:
    """Individuals by number; ``status`` is active, retired, merged or all. ``only`` the one with this id."""
    rows = connection.execute(_SQL["list_deer"], {"status": status, "id": only})
    return [Individual(**{**row, "stations": tuple(row["stations"] or ())}) for row in rows]


def find_individual(connection: Connection, text: str) -> Individual:
    """An individual by name (any case) or number.

    Raises:
        NotFoundError: there is none.
    """
    row = connection.execute(_SQL["find_deer"], {"text": text}).fetchone()
    if row is None:
        raise NotFoundError(
            f"no individual is called {text!r} or has that number", hint="`deertrack deer list` shows all."
        )
    return list_individuals(connection, status="all", only=row["id"])[0]


def described(connection: Connection, deer_id: int) -> dict[str, Any]:
    """What people can say of an individual: notes, sex, sex_said, age_class, aliases, status."""
    row = connection.execute(_SQL["described"], {"id": deer_id}).fetchone()
    assert row is not None
    return row


def describe_individual(connection: Connection, deer_id: int, fields: Mapping[str, Any]) -> None:
    """Keep what people say of an individual: all of :func:`described`."""
    connection.execute(_SQL["describe_deer"], {**fields, "id": deer_id})


def rename_individual(connection: Connection, individual: Individual, name: str, *, actor: str) -> None:
    """Give an individual another name; the old one stays in the events.

    Raises:
        InputError: an empty name, or one that another individual has.
    """
    name = " ".join(name.split())
    if not 0 < len(name) <= LONGEST_NAME:
        raise InputError(f"expected a name of 1 to {LONGEST_NAME} characters, got {len(name)}")
    other = connection.execute(_SQL["find_deer"], {"text": name}).fetchone()
    if name.isdigit() or (other is not None and other["id"] != individual.id):
        raise InputError(f"the name {name!r} is taken or is a number", hint="Choose another name.")
    connection.execute(_SQL["rename_deer"], {"id": individual.id, "name": name})
    add_event(connection, actor, "rename", f"deer:{individual.id}", {"from": individual.name, "to": name})


def list_sightings(connection: Connection, *, deer_id: int | None = None) -> list[Sighting]:
    """All sightings in time, or those of one individual, with their photos."""
    rows = connection.execute(_SQL["sightings_with_photos"], {"deer_id": deer_id}).fetchall()
    grouped: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(row["sighting_id"], []).append(row)
    return [
        Sighting(
            id=sighting_id,
            encounter_id=photos[0]["encounter_id"],
            deer_id=photos[0]["deer_id"],
            state=photos[0]["state"],
            station=photos[0]["station"],
            timezone=photos[0]["timezone"],
            started_at=photos[0]["started_at"],
            outcome=photos[0]["outcome"],
            by_person=photos[0]["by_person"],
            probability=photos[0]["probability"],
            candidates=tuple(photos[0]["candidates"] or ()),
            photos=tuple(
                SightingPhoto(
                    row["detection_id"],
                    row["image_id"],
                    row["taken_at"],
                    row["confidence"],
                    Box(row["x"], row["y"], row["width"], row["height"]),
                    tuple(Path(p) for p in row["paths"] or ()),
                )
                for row in photos
            ),
        )
        for sighting_id, photos in grouped.items()
    ]


def holds_drawn_photos(connection: Connection) -> bool:
    """Whether photos of the drawn sample herd are among the rest: their camera says so."""
    return connection.execute(_SQL["drawn_photos"]).fetchone() is not None


def list_problems(connection: Connection) -> list[tuple[str, str]]:
    """Every file that could not be used and why: (path, reason), by path."""
    return [(row["path"], row["reason"]) for row in connection.execute(_SQL["problems"])]


def add_event(
    connection: Connection, actor: str, kind: str, subject: str, detail: Mapping[str, object]
) -> None:
    """Write one line of the audit trail."""
    connection.execute(
        _SQL["add_event"],
        {"actor": actor, "kind": kind, "subject": subject, "detail": Jsonb(dict(detail))},
    )


def last_event(connection: Connection, subject: str) -> dict[str, Any] | None:
    """The newest line of the audit trail about a subject: its kind, detail, actor and instant."""
    return connection.execute(_SQL["last_event"], {"subject": subject}).fetchone()


def get_setting(connection: Connection, key: str) -> Any:
    """The value of a catalogue-wide setting, or None."""
    row = connection.execute(_SQL["get_setting"], {"key": key}).fetchone()
    return row["value"] if row else None


def settings_changed_at(connection: Connection) -> datetime | None:
    """When a setting that decisions depend on changed last; None while there is none."""
    row = connection.execute(_SQL["settings_changed_at"], {"passing": [JOINT_PLAN]}).fetchone()
    return row["at"] if row else None


def put_setting(connection: Connection, key: str, value: object) -> None:
    """Set a catalogue-wide setting (anything that JSON holds)."""
    connection.execute(_SQL["put_setting"], {"key": key, "value": Jsonb(value)})
