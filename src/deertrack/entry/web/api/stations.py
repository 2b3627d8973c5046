"""Stations: their zones, places and clocks."""

from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from deertrack.entry.web.access import Reviewer, Viewer
from deertrack.entry.web.parameters import IfMatch, StationId, revision, tag
from deertrack.entry.web.site import Site
from deertrack.formats.stations import parse_shift
from deertrack.services import stations


class StationChange(BaseModel):
    """What to change; what is left out stays. Null for both degrees: the place is not known."""

    latitude: float | None = Field(default=None, ge=-90, le=90)
    longitude: float | None = Field(default=None, ge=-180, le=180)
    timezone: str = Field(
        default="UTC", min_length=1, max_length=64, description="IANA zone of the camera's clock."
    )


class Shift(BaseModel):
    """How far to move the clock."""

    by: str = Field(
        max_length=40, description="-1h, +1h30m, -00:07:30 (hours:minutes:seconds), 3600 (seconds)"
    )
    dry_run: bool = Field(default=False, description="Only show what would come of it.")


def routes(site: Site) -> APIRouter:
    """Routes of stations."""
    router = APIRouter()

    @router.get("/api/v1/stations")
    def list_stations(_: Viewer) -> dict[str, Any]:
        """All stations with how much they saw, and when, by name."""
        items = [_told(row) for row in stations.list_stations(site.db)]
        return {"items": items, "total": len(items)}

    @router.get("/api/v1/stations/{station}")
    def show_station(station: StationId, _: Viewer, response: Response) -> dict[str, Any]:
        """One station."""
        return _tagged(stations.show_station(site.db, station), response)

    @router.patch("/api/v1/stations/{station}")
    def change_station(
        station: StationId, change: StationChange, who: Reviewer, response: Response, if_match: IfMatch = None
    ) -> dict[str, Any]:
        """Change a station's place or zone. A new zone moves all its photos in time."""
        given = change.model_dump(exclude_unset=True)
        changed = stations.change_station(
            site.db, station, given, expected=revision(if_match), actor=who.name
        )
        return _tagged(changed, response)

    @router.post("/api/v1/stations/{station}/shift")
    def shift_clock(
        station: StationId, shift: Shift, who: Reviewer, response: Response, if_match: IfMatch = None
    ) -> dict[str, Any]:
        """Repair a wrongly set clock: moves the times of all the station's photos, past and future."""
        before, after = stations.move_clock(
            site.db,
            station,
            parse_shift(shift.by),
            expected=revision(if_match),
            dry_run=shift.dry_run,
            actor=who.name,
        )
        return {"before": _told(before), "after": _tagged(after, response), "done": not shift.dry_run}

    return router


def _tagged(station: dict[str, Any], response: Response) -> dict[str, Any]:
    tag(response, station["revision"])
    return _told(station)


def _told(station: dict[str, Any]) -> dict[str, Any]:
    """``clock_shift`` in seconds."""
    return station | {"clock_shift": station["clock_shift"].total_seconds()}
