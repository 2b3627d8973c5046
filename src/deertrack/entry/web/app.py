"""The web application: its routes, who may use them, and how errors are told."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from deertrack import __version__, wiring
from deertrack.domain.errors import DeertrackError
from deertrack.entry.web.api import (
    accounts,
    audit,
    catalogue,
    dashboard,
    detections,
    edits,
    individuals,
    jobs,
    photos,
    reviews,
    stations,
    uploads,
    versions,
)
from deertrack.entry.web.once import AnsweredError, replay
from deertrack.entry.web.pages import account, history, home, ingest
from deertrack.entry.web.pages import dashboard as dashboard_pages
from deertrack.entry.web.pages import individuals as individual_pages
from deertrack.entry.web.pages import review as review_pages
from deertrack.entry.web.pages import versions as version_pages
from deertrack.entry.web.problems import answer_to
from deertrack.entry.web.site import Site
from deertrack.entry.web.templating import STATIC
from deertrack.entry.web.walls import Guard, Headers
from deertrack.services.health import Doctor
from deertrack.settings import Settings
from deertrack.storage.db import Database
from deertrack.storage.jobs import JobQueue

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_PARTS = (
    accounts, audit, catalogue, dashboard, detections, edits, individuals, jobs, photos, reviews, stations,
    uploads, versions, account, history, home, ingest, dashboard_pages, individual_pages, review_pages,
    version_pages,
)  # fmt: skip


def make_app(settings: Settings, db: Database, queue: JobQueue) -> FastAPI:
    """The application. ``settings.login`` says whether requests must say who makes them; see docs/adr/0011."""
    site = Site(settings, db, queue)
    # No /docs page: it would load its scripts from a network. /openapi.json is there.
    app = FastAPI(title="deertrack", version=__version__, docs_url=None, redoc_url=None)
    for kind in (DeertrackError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, answer_to)
    app.add_exception_handler(AnsweredError, replay)  # type: ignore[arg-type]
    # The last one added is the outermost.
    app.add_middleware(Guard, site=site)
    # Against pages elsewhere that point their names at us.
    hosts = [*LOOPBACK, *(name.strip() for name in settings.hosts.split(",") if name.strip())]
    in_urls = [f"[{host}]" if ":" in host else host for host in hosts]
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=in_urls, www_redirect=False)
    app.add_middleware(Headers)

    doctor = Doctor(db.url, lambda: wiring.load_pack(settings, db).card.name)

    @app.get("/health")
    def health(request: Request) -> JSONResponse:
        """Whether the database, the model and the queue are well: 200, or 503 with what fails. Open to anybody."""
        found = doctor.examine()
        told: dict[str, Any] = {"status": "failing" if found.failing else "ok"}
        if found.failing:
            told["failing"] = found.failing
        if request.state.who:
            told["parts"] = found.parts
        return JSONResponse(told, 503 if found.failing else 200)

    for part in _PARTS:
        app.include_router(part.routes(site))
    app.state.site = site
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app
