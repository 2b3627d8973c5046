"""Stations: where the cameras stand, which zone their clocks show, and how wrong they went."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from deertrack.domain.errors import InputError
from deertrack.formats.stations import StationRow
from deertrack.storage import catalogue, images
from deertrack.storage.db import Connection, Database
from deertrack.storage.images import Station


def apply_stations(db: Database, rows: Sequence[StationRow], *, timezone: str = "UTC") -> None:
    """Make or update stations from a file's rows. Empty fields leave what is known; all rows or none count.

    Args:
        timezone: IANA zone of new stations whose row names none.
    """
    with db.transaction() as connection:
        images.ensure_stations(connection, [row.station for row in rows], timezone=timezone)
        for row in rows:
            given = {
                "latitude": row.latitude,
                "longitude": row.longitude,
                "timezone": row.timezone,
                "clock_shift": row.clock_shift,
            }
            _change(connection, row.station, {k: v for k, v in given.items() if v is not None})


def set_station(
    db: Database,
    name: str,
    *,
    latitude: float | None = None,
    longitude: float | None = None,
    timezone: str | None = None,
) -> Station:
    """Change what is given of an existing station; returns it as it is now.

    Raises:
        NotFoundError: no such station.
        InputError: an unknown time zone, or half a place.
    """
    given = {"latitude": latitude, "longitude": longitude, "timezone": timezone}
    with db.transaction() as connection:
        return _change(connection, name, {k: v for k, v in given.items() if v is not None})


def shift_clock(db: Database, name: str, by: timedelta) -> Station:
    """Repair a wrongly set clock: all times of the station's photos move by so much, from now on and back.

    Shifts add up, so the opposite shift undoes one.

    Raises:
        NotFoundError: no such station.
    """
    with db.transaction() as connection:
        station = images.get_station(connection, name)
        return _change(connection, name, {"clock_shift": station.clock_shift + by})


def list_stations(db: Database) -> list[dict[str, Any]]:
    """All stations with their photo counts and the span of their photos."""
    with db.transaction() as connection:
        return images.list_stations(connection)


def _change(connection: Connection, name: str, given: dict[str, object]) -> Station:
    before = images.get_station(connection, name)
    after = replace(before, **given)  # type: ignore[arg-type]
    if (after.latitude is None) != (after.longitude is None):
        raise InputError(
            f"station {name!r} has no place yet: expected latitude and longitude, got one of them"
        )
    if after != before:
        images.put_station(connection, after)
        detail = {field: [str(getattr(before, field)), str(getattr(after, field))] for field in given}
        catalogue.add_event(connection, "user", "change station", f"station:{name}", detail)
    return after
