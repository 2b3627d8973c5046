"""The review queue: one page, on which review.js asks the API for one sighting after the other."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from deertrack.entry.web.access import Viewer
from deertrack.entry.web.site import Site
from deertrack.entry.web.templating import page
from deertrack.services.stations import station_names

_FILTERS = ("station", "since", "until", "sex", "individual")


def routes(site: Site) -> APIRouter:
    """Pages of the review."""
    router = APIRouter()

    def desk(request: Request, sighting: int | None) -> HTMLResponse:
        filtered = sum(bool(request.query_params.get(name)) for name in _FILTERS)
        stations = station_names(site.db)
        return page(request, "review.html", sighting=sighting, filtered=filtered, stations=stations)

    @router.get("/review", response_class=HTMLResponse)
    def review(request: Request, _: Viewer) -> HTMLResponse:
        """The next sighting that waits for a person."""
        return desk(request, None)

    @router.get("/review/{sighting}", response_class=HTMLResponse)
    def review_one(request: Request, sighting: int, _: Viewer) -> HTMLResponse:
        """One sighting, whether it waits or was decided."""
        return desk(request, sighting)

    return router
