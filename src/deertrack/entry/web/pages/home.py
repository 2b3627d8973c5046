"""The first page, and the report."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from deertrack.entry.web.access import Viewer
from deertrack.entry.web.site import Site
from deertrack.entry.web.templating import document, page
from deertrack.services.history import answers_to_learn_from
from deertrack.services.individuals import overview, page_of_individuals
from deertrack.services.report import make_report

_NEWEST = 8  # individuals
_ENOUGH = 200  # answers: docs/reviewing.md


def routes(site: Site) -> APIRouter:
    """The first page and the report."""
    router = APIRouter()

    @router.get("/", response_class=HTMLResponse)
    def home(request: Request, _: Viewer) -> HTMLResponse:
        """Where things stand, and what to do next."""
        newest = page_of_individuals(site.db, order="last_seen", limit=_NEWEST).individuals
        answers = answers_to_learn_from(site.db)
        return page(
            request,
            "home.html",
            overview=overview(site.db, brief=True),
            newest=newest,
            learn_from=answers if answers >= _ENOUGH else 0,
        )

    @router.get("/report", response_class=HTMLResponse)
    def report(_: Viewer) -> HTMLResponse:
        """The report: every individual with its photos, as one page to keep."""
        return document(make_report(site.db))

    return router
