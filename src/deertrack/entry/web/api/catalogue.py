"""The catalogue at a glance, runs over folders that the workers see, and Prometheus."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from deertrack.entry.web.access import Admin, Viewer
from deertrack.entry.web.metrics import Exporter
from deertrack.entry.web.once import Once
from deertrack.entry.web.parameters import Id
from deertrack.entry.web.site import Site
from deertrack.services import individuals
from deertrack.services.queue import defer_run, job_outcome, plan_folders


class Folders(BaseModel):
    """Folders to look at, as the server sees them."""

    photos: list[Path] = Field(min_length=1, max_length=100, description="Folders or photos.")


class RunOrder(Folders):
    """Folders to work on, as the workers see them."""

    detections: Path | None = Field(default=None, description="MegaDetector or SpeciesNet results.")
    whole_photo: bool = Field(default=False, description="Every photo is cropped to one animal already.")
    timezone: str = Field(default="UTC", max_length=64, description="IANA zone of stations that are new.")
    min_confidence: float | None = Field(default=None, ge=0, le=1, description="Least detection confidence.")


def routes(site: Site) -> APIRouter:
    """Routes about the whole."""
    router = APIRouter()
    exporter = Exporter(site.db)

    @router.get("/api/v1/status")
    def status(_: Viewer) -> dict[str, Any]:
        """What the catalogue holds."""
        return asdict(individuals.overview(site.db))

    @router.post("/api/v1/runs/plan")
    def plan_run(folders: Folders, _: Admin) -> dict[str, Any]:
        """Which photos a run over folders would read, by station; changes nothing."""
        return asdict(plan_folders(site.db, folders.photos, below=site.settings.photos))

    @router.post("/api/v1/runs", status_code=202, dependencies=[Once])
    def order_run(order: RunOrder, who: Admin) -> dict[str, int]:
        """Put a run over folders of photos into the queue."""
        job = defer_run(
            site.queue,
            order.photos,
            order.detections,
            whole_photo=order.whole_photo,
            below=site.settings.photos,
            timezone=order.timezone,
            min_confidence=order.min_confidence,
            actor=who.name,
        )
        return {"job": job}

    @router.get("/api/v1/runs/{job}")
    def show_run(job: Id, _: Viewer) -> dict[str, Any]:
        """Where a queued run stands, and its report once it has ended."""
        return {"job": job, "status": site.queue.status(job), "outcome": job_outcome(site.db, job)}

    @router.get("/metrics")
    def metrics(request: Request, _: Viewer) -> Response:
        """Everything that Prometheus may watch."""
        body, content_type = exporter.scrape(request.headers.get("accept", ""))
        return Response(body, media_type=content_type)

    return router
