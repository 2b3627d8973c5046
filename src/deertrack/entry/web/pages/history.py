"""What people changed, and undoing it."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from deertrack.entry.web.access import Viewer
from deertrack.entry.web.parameters import Offset
from deertrack.entry.web.site import Site
from deertrack.entry.web.templating import page
from deertrack.services.history import list_edits

_CHANGES = 50


def routes(site: Site) -> APIRouter:
    """Pages of the history."""
    router = APIRouter()

    @router.get("/history", response_class=HTMLResponse)
    def history(
        request: Request,
        _: Viewer,
        *,
        individual: str = "",
        sighting: str = "",
        actor: str = "",
        offset: Offset = 0,
    ) -> HTMLResponse:
        """Changes, newest first: all, or of one individual, one sighting, one person."""
        found = list_edits(
            site.db,
            individual=individual.strip() or None,
            sighting=int(sighting) if sighting.isdecimal() else None,
            actor=actor.strip() or None,
            limit=_CHANGES,
            offset=offset,
        )
        return page(request, "history.html", history=found, limit=_CHANGES, offset=offset)

    return router
