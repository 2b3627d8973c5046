"""The API's routes: each parses, calls one service, and answers."""

import hmac
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, Field
from starlette.middleware.trustedhost import TrustedHostMiddleware

from deertrack import __version__
from deertrack.domain.errors import DatabaseError, DeertrackError, NotFoundError
from deertrack.entry.web.metrics import Exporter
from deertrack.services import individuals
from deertrack.services.queue import defer_run, job_outcome
from deertrack.services.report import make_report
from deertrack.storage.db import Database
from deertrack.storage.jobs import JobQueue


class RunOrder(BaseModel):
    """Folders to work on, as the workers see them."""

    photos: list[Path] = Field(min_length=1, description="Folders or photos.")
    detections: Path | None = Field(default=None, description="MegaDetector or SpeciesNet results.")
    whole_photo: bool = Field(default=False, description="Every photo is cropped to one animal already.")


def make_app(
    db: Database, queue: JobQueue, *, token: str | None, photos: Path | None, hosts: list[str]
) -> FastAPI:
    """The application.

    Args:
        token: every request but /health must carry it (``Authorization: Bearer …``); None asks for none.
        photos: the only folder that a run may read; None for any.
        hosts: names that this server answers to, against pages elsewhere that point their names at us.
    """
    # No /docs page: it would load its scripts from a network. /openapi.json is there.
    app = FastAPI(title="deertrack", version=__version__, docs_url=None, redoc_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    app.add_exception_handler(DeertrackError, _problem)  # type: ignore[arg-type]

    @app.get("/health")
    def health() -> dict[str, str]:
        """Whether the database answers."""
        individuals.overview(db)
        return {"status": "ok"}

    app.include_router(_routes(db, queue, photos), dependencies=[Depends(_guard(token))])
    return app


def _routes(db: Database, queue: JobQueue, photos: Path | None) -> APIRouter:
    router = APIRouter()
    exporter = Exporter(db)

    @router.get("/", response_class=HTMLResponse)
    def page() -> str:
        """The report: every individual with its photos."""
        return make_report(db)

    @router.get("/api/v1/status")
    def status() -> dict[str, Any]:
        """What the catalogue holds."""
        return asdict(individuals.overview(db))

    @router.get("/api/v1/individuals")
    def list_individuals(status: str = "active") -> list[dict[str, Any]]:
        """All known individuals."""
        return [asdict(individual) for individual in individuals.list_individuals(db, status=status)]

    @router.get("/api/v1/individuals/{number}")
    def show_individual(number: int) -> dict[str, Any]:
        """One individual with its sightings and photos."""
        return asdict(individuals.show_individual(db, str(number)))

    @router.post("/api/v1/runs", status_code=202)
    def order_run(order: RunOrder) -> dict[str, int]:
        """Put a run over folders of photos into the queue."""
        job = defer_run(queue, order.photos, order.detections, whole_photo=order.whole_photo, below=photos)
        return {"job": job}

    @router.get("/api/v1/runs/{job}")
    def show_run(job: int) -> dict[str, Any]:
        """Where a queued run stands, and its report once it has ended."""
        return {"job": job, "status": queue.status(job), "outcome": job_outcome(db, job)}

    @router.get("/metrics")
    def metrics(request: Request) -> Response:
        """Everything that Prometheus may watch."""
        body, content_type = exporter.scrape(request.headers.get("accept", ""))
        return Response(body, media_type=content_type)

    return router


def _guard(token: str | None) -> Callable[..., None]:
    bearer = HTTPBearer(auto_error=False)

    def check(given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> None:
        if token is None:
            return
        if given is None or not hmac.compare_digest(given.credentials.encode(), token.encode()):
            raise HTTPException(401, "a valid token is needed", {"WWW-Authenticate": "Bearer"})

    return check


def _problem(_: Request, error: DeertrackError) -> JSONResponse:
    """An error of ours as problem+json (RFC 9457)."""
    status = 404 if isinstance(error, NotFoundError) else 503 if isinstance(error, DatabaseError) else 422
    body = {"title": error.message, "status": status, "detail": error.hint}
    return JSONResponse(body, status, media_type="application/problem+json")
