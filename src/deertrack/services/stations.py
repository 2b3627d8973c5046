"""Stations: where the cameras stand, which zone their clocks show, and how wrong they went."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from deertrack.domain.errors import ConflictError, InputError, NotFoundError
from deertrack.formats.stations import LONGEST_SHIFT, StationRow, parse_timezone
from deertrack.storage import catalogue, dashboard, images
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


def station_names(db: Database) -> list[str]:
    """All stations by name, without counting what they saw."""
    with db.transaction() as connection:
        return dashboard.station_names(connection)


def list_stations(db: Database) -> list[dict[str, Any]]:
    """All stations with their photo counts and the span of their photos, by name."""
    with db.transaction() as connection:
        return images.list_stations(connection)


def show_station(db: Database, station_id: int) -> dict[str, Any]:
    """One station as in the list, with its ``revision``: another one after each change.

    Raises:
        NotFoundError: there is none.
    """
    with db.transaction() as connection:
        return _show(connection, station_id)


def change_station(
    db: Database, station_id: int, given: Mapping[str, object], *, expected: str | None = None, actor: str
) -> dict[str, Any]:
    """Change what is given of latitude, longitude (degrees, or None for both) and timezone; the station after that.

    Args:
        expected: its revision when it was looked at; None for whatever it is.

    Raises:
        NotFoundError: there is none.
        InputError: an unknown time zone, or half a place.
        ConflictError: it is not as expected any more.
    """
    if "timezone" in given:
        given = {**given, "timezone": parse_timezone(str(given["timezone"]))}
    with db.transaction() as connection:
        before = _expect(connection, station_id, expected)
        _change(connection, before["name"], dict(given), actor=actor)
        return _show(connection, station_id)


def move_clock(
    db: Database,
    station_id: int,
    by: timedelta,
    *,
    expected: str | None = None,
    dry_run: bool = False,
    actor: str,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Repair a wrongly set clock, as :func:`shift_clock`; returns the station before and after.

    Args:
        expected: as for :func:`change_station`.
        dry_run: take everything back at the end.

    Raises:
        NotFoundError: there is none.
        InputError: the clock would be off by more than a century.
        ConflictError: it is not as expected any more.
    """
    with db.transaction() as connection:
        before = _expect(connection, station_id, expected)
        shift = before["clock_shift"] + by
        if abs(shift) > LONGEST_SHIFT:
            raise InputError(f"expected a shift of at most a century in all, got {shift.days:,} days")
        _change(connection, before["name"], {"clock_shift": shift}, actor=actor)
        after = _show(connection, station_id)
        if dry_run:
            connection.rollback()
        return before, after


def _show(connection: Connection, station_id: int) -> dict[str, Any]:
    found = images.list_stations(connection, only=station_id)
    if not found:
        raise NotFoundError(f"there is no station {station_id}")
    return found[0] | {"revision": _revision(found[0])}


def _expect(connection: Connection, station_id: int, revision: str | None) -> dict[str, Any]:
    name = _show(connection, station_id)["name"]
    images.get_station(connection, name)  # which locks it
    now = _show(connection, station_id)
    if revision not in (None, now["revision"]):
        raise ConflictError(
            f"somebody changed the station {name!r} meanwhile",
            current={field: _plain(value) for field, value in now.items()},
            hint="Look at it again.",
        )
    return now


def _plain(value: Any) -> Any:
    """In JSON's types: instants as text, a shift in seconds."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value.isoformat() if isinstance(value, datetime) else value


def _revision(row: Mapping[str, Any]) -> str:
    fields = [row[name] for name in ("latitude", "longitude", "timezone", "clock_shift")]
    return sha256(repr(fields).encode()).hexdigest()[:16]


def _change(connection: Connection, name: str, given: dict[str, object], *, actor: str = "user") -> Station:
    before = images.get_station(connection, name)
    after = replace(before, **given)  # type: ignore[arg-type]
    if (after.latitude is None) != (after.longitude is None):
        raise InputError(
            f"station {name!r} has no place yet: expected latitude and longitude, got one of them"
        )
    if after != before:
        images.put_station(connection, after)
        detail = {field: [str(getattr(before, field)), str(getattr(after, field))] for field in given}
        catalogue.add_event(connection, actor, "change station", f"station:{name}", detail)
    return after
