"""The gallery of individuals, and a page for each."""

from datetime import date
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from markupsafe import Markup

from deertrack.domain.records import Sex
from deertrack.entry.web.access import Viewer
from deertrack.entry.web.parameters import Offset
from deertrack.entry.web.site import Site
from deertrack.entry.web.templating import page
from deertrack.reporting.life_charts import Spot, bars, dots, station_map
from deertrack.services import history, individuals
from deertrack.services.individuals import Portrait
from deertrack.services.stations import station_names

_CARDS, _SIGHTINGS, _CHANGES = 48, 40, 8
_HOURS = [f"{hour}" for hour in range(24)]
_MONTHS = [f"{date(2000, month, 1):%b}" for month in range(1, 13)]

_Sort = Annotated[Literal["sightings", "name", "number", "last_seen"], Query()]
_Status = Annotated[Literal["active", "retired", "merged", "all"], Query()]


def routes(site: Site) -> APIRouter:
    """Pages of individuals."""
    router = APIRouter()

    @router.get("/individuals", response_class=HTMLResponse)
    def gallery(
        request: Request,
        _: Viewer,
        *,
        search: str = "",
        sort: _Sort = "sightings",
        sex: Sex | Literal[""] = "",
        station: str = "",
        status: _Status = "active",
        offset: Offset = 0,
    ) -> HTMLResponse:
        """All individuals, or those asked for, with a photo each."""
        found = individuals.page_of_individuals(
            site.db,
            status=status,
            search=search.strip() or None,
            sex=sex or None,
            station=station or None,
            order=sort,
            limit=_CARDS,
            offset=offset,
        )
        stations = station_names(site.db)
        return page(request, "individuals.html", found=found, stations=stations, limit=_CARDS, offset=offset)

    @router.get("/individuals/{individual}", response_class=HTMLResponse)
    def show(request: Request, individual: str, _: Viewer, offset: Offset = 0) -> HTMLResponse:
        """One individual, by number or name, with all that is known of it."""
        portrayed = individuals.portray(site.db, individual)
        number = str(portrayed.individual.number)
        return page(
            request,
            "individual.html",
            portrayed=portrayed,
            met=individuals.meetings(site.db, number, limit=_SIGHTINGS, offset=offset),
            history=history.list_edits(site.db, individual=number, limit=_CHANGES),
            lifelines=_lifelines(portrayed),
            activity=_activity(portrayed),
            map=_map(portrayed),
            limit=_SIGHTINGS,
            offset=offset,
        )

    return router


def _lifelines(portrayed: Portrait) -> list[tuple[str, Markup, int]]:
    """Each station's name, line and count."""
    instants = portrayed.instants
    if not instants:
        return []
    first, last = instants[0][2], instants[-1][2]
    span = (last - first).total_seconds() or 1.0
    shares: dict[str, list[float]] = {}
    for station, _, at in instants:
        shares.setdefault(station, []).append((at - first).total_seconds() / span)
    return [
        (station, dots(found, f"{len(found)} sightings at {station}"), len(found))
        for station, found in sorted(shares.items())
    ]


def _activity(portrayed: Portrait) -> list[tuple[str, Markup, list[str], tuple[int, ...]]]:
    hours = bars(portrayed.hours, _HOURS, "Encounters by hour of the day", every=3)
    months = bars(portrayed.months, _MONTHS, "Encounters by month")
    return [
        ("By hour of the day", hours, _HOURS, portrayed.hours),
        ("By month", months, _MONTHS, portrayed.months),
    ]


def _map(portrayed: Portrait) -> Markup | None:
    spots = [
        Spot(place.name, place.latitude, place.longitude, place.sightings)
        for place in portrayed.places
        if place.latitude is not None and place.longitude is not None
    ]
    return station_map(spots, f"Stations where {portrayed.individual.name} was") if spots else None
