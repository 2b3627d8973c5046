"""Adding photos, jobs, stations, boxes."""

from zoneinfo import available_timezones

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from deertrack.entry.web.access import Role, Viewer
from deertrack.entry.web.parameters import Id
from deertrack.entry.web.site import Site
from deertrack.entry.web.templating import page
from deertrack.services import boxes, jobs, stations, uploads
from deertrack.services.detections import megadetector_installed

_RECENT = 10  # jobs


def routes(site: Site) -> APIRouter:
    """Pages of ingest."""
    router = APIRouter()
    zones = sorted(available_timezones())

    @router.get("/ingest", response_class=HTMLResponse)
    def ingest(request: Request, who: Viewer) -> HTMLResponse:
        """Send photos, or name a folder that the server sees; and what is under way."""
        total, recent = jobs.list_jobs(site.db, limit=_RECENT)
        return page(
            request,
            "ingest.html",
            zones=zones,
            detector=megadetector_installed(),
            unfinished=uploads.unfinished(site.db) if who.role >= Role.REVIEWER else [],
            jobs=recent,
            more=total > len(recent),
            below=site.settings.photos,
        )

    @router.get("/jobs/{job}", response_class=HTMLResponse)
    def job(request: Request, job: Id, _: Viewer) -> HTMLResponse:
        """A job: how far it is, and what came of it."""
        return page(request, "job.html", job=jobs.show_job(site.db, job))

    @router.get("/stations", response_class=HTMLResponse)
    def list_stations(request: Request, _: Viewer) -> HTMLResponse:
        """Stations with their zones, places and clocks."""
        return page(request, "stations.html", stations=stations.list_stations(site.db), zones=zones)

    @router.get("/photos/{image}", response_class=HTMLResponse)
    def photo(request: Request, image: Id, _: Viewer) -> HTMLResponse:
        """A photo with its boxes, to mend them."""
        shown, _boxes = boxes.show_photo(site.db, image)
        return page(request, "photo.html", photo=shown)

    return router
