"""Embedding versions for admins."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from deertrack.entry.web.access import Viewer
from deertrack.entry.web.parameters import Id
from deertrack.entry.web.site import Site
from deertrack.entry.web.templating import document, page
from deertrack.services.lifecycle.overview import lifecycle
from deertrack.services.lifecycle.validation_page import stored_page
from deertrack.services.versions import describe


def routes(site: Site) -> APIRouter:
    """Pages of the lifecycle."""
    router = APIRouter()

    @router.get("/versions", response_class=HTMLResponse)
    def show(request: Request, _: Viewer) -> HTMLResponse:
        """Which version decides, which could, and the evidence; admins change it here."""
        flag = site.settings.use_enhanced_reid
        found = lifecycle(site.db, site.settings.home)
        return page(request, "versions.html", found=found, flag=flag, described=describe(site.db, flag))

    @router.get("/validations/{number}", response_class=HTMLResponse)
    def validation(number: Id, _: Viewer) -> HTMLResponse:
        """A validation's report, as a page to keep."""
        return document(stored_page(site.db, number))

    return router
