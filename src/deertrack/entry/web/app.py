"""The web application: its routes, who may use them, and how errors are told."""

import hmac
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.trustedhost import TrustedHostMiddleware

from deertrack import __version__
from deertrack.domain.errors import DatabaseError, DeertrackError, NotFoundError
from deertrack.entry.web.access import Role, Who
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
from deertrack.entry.web.pages import account, history, home, ingest
from deertrack.entry.web.pages import dashboard as dashboard_pages
from deertrack.entry.web.pages import individuals as individual_pages
from deertrack.entry.web.pages import review as review_pages
from deertrack.entry.web.pages import versions as version_pages
from deertrack.entry.web.site import Site
from deertrack.entry.web.templating import STATIC
from deertrack.services.individuals import overview
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
    """The application."""
    site = Site(settings, db, queue)
    # No /docs page: it would load its scripts from a network. /openapi.json is there.
    app = FastAPI(title="deertrack", version=__version__, docs_url=None, redoc_url=None)
    # Against pages elsewhere that point their names at us.
    hosts = [*LOOPBACK, *(name for name in settings.hosts.split(",") if name)]
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    app.add_exception_handler(DeertrackError, _problem)  # type: ignore[arg-type]

    @app.middleware("http")
    async def identify(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        request.state.who = _who(request, settings.api_token)
        return await call_next(request)

    @app.get("/health")
    def health() -> dict[str, str]:
        """Whether the database answers."""
        overview(db)
        return {"status": "ok"}

    for part in _PARTS:
        app.include_router(part.routes(site))
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app


def _who(request: Request, token: str | None) -> Who | None:
    if token is None:
        return Who("user", Role.ADMIN)
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    right = scheme.lower() == "bearer" and hmac.compare_digest(given.encode(), token.encode())
    return Who("token", Role.ADMIN) if right else None


def _problem(_: Request, error: DeertrackError) -> JSONResponse:
    """An error of ours as problem+json (RFC 9457)."""
    status = 404 if isinstance(error, NotFoundError) else 503 if isinstance(error, DatabaseError) else 422
    body = {"title": error.message, "status": status, "detail": error.hint}
    return JSONResponse(body, status, media_type="application/problem+json")
