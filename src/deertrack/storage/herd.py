"""Individuals as pages show them: some at a time, and one from all sides."""

from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, Literal

from psycopg import sql

from deertrack.storage.db import Connection
from deertrack.storage.queries import load_queries

_SQL = load_queries("herd")

Order = Literal["sightings", "name", "number", "last_seen"]
_ORDER: dict[Order, sql.SQL] = {
    "sightings": sql.SQL("sighting_count DESC, number"),
    "name": sql.SQL("name, number"),
    "number": sql.SQL("number"),
    "last_seen": sql.SQL("last_seen DESC NULLS LAST, number"),
}
# A list of more is read by nobody.
_COMPANIONS, _INSTANTS = 12, 5_000
# Encounters that are looked at for who was met last: for a start, and for each individual up to the page's end.
_LATELY, _ENCOUNTERS_EACH = 1_000, 4


@dataclass(frozen=True, slots=True)
class Listed:
    """An individual in a list. Times are instants (UTC), None where all its photos lack one.

    ``timezone``: of the station that saw it last. ``merged_into``: the number of who it turned out to be.
    """

    id: int
    number: int
    name: str
    sex: str
    sex_said: bool
    age_class: str
    status: str
    notes: str
    aliases: tuple[str, ...]
    sighting_count: int
    profile_detection_id: int | None
    embedding_version: str
    merged_into: int | None
    first_seen: datetime | None
    last_seen: datetime | None
    photos: int
    stations: tuple[str, ...]
    timezone: str | None


@dataclass(frozen=True, slots=True)
class Companion:
    """Somebody who was in the same encounters, and in how many."""

    number: int
    name: str
    profile_detection_id: int | None
    encounters: int


@dataclass(frozen=True, slots=True)
class Place:
    """A station, and how often an individual was there. Degrees; None where nobody knows the place."""

    id: int
    name: str
    latitude: float | None
    longitude: float | None
    timezone: str
    sightings: int
    first_seen: datetime | None
    last_seen: datetime | None


@dataclass(frozen=True, slots=True)
class MetPhoto:
    """A photo of a sighting."""

    detection_id: int
    image_id: int
    flank: str
    taken_at: datetime | None


@dataclass(frozen=True, slots=True)
class Met:
    """A sighting of an individual. ``probability`` is the machine's, None where a person decided or it was new."""

    id: int
    sex: str
    started_at: datetime | None
    station: str
    timezone: str
    by_person: bool
    actor: str | None
    probability: float | None
    photos: tuple[MetPhoto, ...]


def page(
    connection: Connection,
    *,
    status: str = "active",
    search: str | None = None,
    sex: str | None = None,
    station: str | None = None,
    only: int | None = None,
    order: Order = "sightings",
    limit: int = 50,
    offset: int = 0,
) -> tuple[int, list[Listed]]:
    """How many individuals there are of these, and some of them; ``only`` the one with this id."""
    pattern = None
    if search:
        escaped = search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        pattern = f"%{escaped}%"
    parameters = {
        "status": status,
        "search": pattern,
        "exactly": search,
        "sex": sex,
        "station": station,
        "only": only,
        "limit": limit,
        "offset": offset,
        "lately": _LATELY + _ENCOUNTERS_EACH * (offset + limit),
    }
    # The last encounters show who was met last; only if too few of those asked for are in them, all are looked at.
    ways = [_SQL["seen_lately"], _SQL["seen_ever"]] if order == "last_seen" else [sql.SQL("matching")]
    rows: list[dict[str, Any]] = []
    for ranked in ways:
        query = _SQL["page"].format(
            ranked=ranked,
            order=_ORDER[order],
            order_again=sql.SQL("c.") + sql.SQL(_ORDER[order].as_string().replace(", ", ", c.")),
        )
        rows = connection.execute(query, parameters).fetchall()
        if len(rows) == limit:
            break
    total = rows[0]["total"] if rows else 0
    return total, [_listed(row) for row in rows]


def best_photos(connection: Connection, deer_id: int) -> dict[str, int]:
    """The best detection of each flank that was seen: left, right, unknown."""
    rows = connection.execute(_SQL["best_photos"], {"id": deer_id})
    return {row["flank"]: row["detection_id"] for row in rows}


def companions(connection: Connection, deer_id: int) -> list[Companion]:
    """Who was met with an individual most often."""
    rows = connection.execute(_SQL["companions"], {"id": deer_id, "limit": _COMPANIONS})
    return [Companion(**row) for row in rows]


def activity(connection: Connection, deer_id: int) -> tuple[list[int], list[int]]:
    """Encounters of an individual by hour (24) and by month (12), by the stations' clocks."""
    hours, months = [0] * 24, [0] * 12
    for row in connection.execute(_SQL["activity"], {"id": deer_id}):
        hours[row["hour"]] += row["encounters"]
        months[row["month"] - 1] += row["encounters"]
    return hours, months


def places(connection: Connection, deer_id: int) -> list[Place]:
    """Stations where an individual was, and all others whose place is known, by name."""
    return [Place(**row) for row in connection.execute(_SQL["places"], {"id": deer_id})]


def met(connection: Connection, deer_id: int, *, limit: int, offset: int) -> tuple[int, list[Met]]:
    """How many sightings an individual has, and some of them, newest first."""
    rows = connection.execute(_SQL["met"], {"id": deer_id, "limit": limit, "offset": offset}).fetchall()
    found = []
    for sighting_id, group in groupby(rows, key=lambda row: row["sighting_id"]):
        photos = list(group)
        told: dict[str, Any] = {
            name: photos[0][name]
            for name in ("sex", "started_at", "station", "timezone", "by_person", "actor", "probability")
        }
        seen = (MetPhoto(p["detection_id"], p["image_id"], p["flank"], p["taken_at"]) for p in photos)
        found.append(Met(id=sighting_id, **told, photos=tuple(seen)))
    return (rows[0]["total"] if rows else 0), found


def instants(connection: Connection, deer_id: int) -> list[tuple[str, str, datetime]]:
    """Station, its zone and the instant of an individual's encounters, in time; the first 5,000."""
    rows = connection.execute(_SQL["instants"], {"id": deer_id, "limit": _INSTANTS})
    return [(row["station"], row["timezone"], row["started_at"]) for row in rows]


def _listed(row: dict[str, Any]) -> Listed:
    del row["total"]
    return Listed(**{**row, "stations": tuple(row["stations"] or ()), "aliases": tuple(row["aliases"])})
