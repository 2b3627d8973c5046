"""The catalogue counted for charts: everything is summed in the database."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from psycopg import sql

from deertrack.storage.db import Connection
from deertrack.storage.queries import load_queries

_SQL = load_queries("dashboard")
_EVER, _NEVER = datetime(1000, 1, 1), datetime(9999, 12, 31)  # noqa: DTZ001 (clocks of stations)


@dataclass(frozen=True, slots=True)
class Limits:
    """Which sightings count: from ``since`` through ``until`` by the stations' clocks, at one station or all."""

    since: date | None = None
    until: date | None = None
    station: str | None = None

    @property
    def none(self) -> bool:
        """Whether everything counts."""
        return self == Limits()

    def parameters(self) -> dict[str, object]:
        """For the queries: local times without a zone."""
        return {
            "since": datetime.combine(self.since, datetime.min.time()) if self.since else _EVER,
            "until": datetime.combine(self.until, datetime.min.time()) + timedelta(days=1)
            if self.until and self.until < _NEVER.date()
            else _NEVER,
            "station": self.station,
        }


Row = Mapping[str, Any]


class Sightings:
    """Dated sightings within limits, for several questions.

    Valid until the transaction of ``connection`` ends, and one at a time: they are kept in a temporary table.
    """

    def __init__(self, connection: Connection, limits: Limits) -> None:
        self._connection, self._limits = connection, limits
        connection.execute(_SQL["room_to_count"])
        connection.execute(_SQL["keep"].format(station=sql.Literal(limits.station)))

    def individuals_by_period(self, by: str) -> list[Row]:
        """period, sightings, individuals, new, known (so far), without gaps. ``by``: "day", "week" or "month"."""
        return self._ask("individuals_by_period", by=by)

    def discovery(self) -> list[Row]:
        """day, sightings so far, individuals so far; from the very first sighting on, whatever the period."""
        return self._ask("discovery")

    def by_hour(self) -> list[Row]:
        """station, hour (0…23 by its clock), sightings."""
        return self._ask("by_hour")

    def by_station(self, by: str) -> list[Row]:
        """station, period, sightings, individuals."""
        return self._ask("by_station", by=by)

    def composition(self) -> list[Row]:
        """sex, age_class, individuals."""
        return self._ask("composition", all=self._limits.none)

    def nights(self, by: str) -> list[Row]:
        """station, period, nights with photos, photos."""
        return self._ask("nights", by=by)

    def _ask(self, query: str, **more: object) -> list[Row]:
        parameters = self._limits.parameters() | more
        return [dict(row) for row in self._connection.execute(_SQL[query], parameters)]


def waiting(connection: Connection) -> list[Row]:
    """week (its Monday), sightings of it that wait for a person."""
    return [dict(row) for row in connection.execute(_SQL["waiting"])]


def answered(connection: Connection, since: datetime) -> list[Row]:
    """day (UTC), answers, people who gave them."""
    return [dict(row) for row in connection.execute(_SQL["answered"], {"since": since})]


def station_names(connection: Connection) -> list[str]:
    """All stations by name."""
    return [row["name"] for row in connection.execute(_SQL["station_names"])]
