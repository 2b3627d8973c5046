"""The catalogue at a glance, runs over folders that the workers see, and Prometheus."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from deertrack.entry.web.access import Admin, Viewer
from deertrack.entry.web.metrics import Exporter
from deertrack.entry.web.site import Site
from deertrack.services import individuals
from deertrack.services.queue import defer_run, job_outcome


class RunOrder(BaseModel):
    """Folders to work on, as the workers see them."""

    photos: list[Path] = Field(min_length=1, description="Folders or photos.")
    detections: Path | None = Field(default=None, description="MegaDetector or SpeciesNet results.")
    whole_photo: bool = Field(default=False, description="Every photo is cropped to one animal already.")


def routes(site: Site) -> APIRouter:
    """Routes about the whole."""
    router = APIRouter()
    exporter = Exporter(site.db)

    @router.get("/api/v1/status")
    def status(_: Viewer) -> dict[str, Any]:
        """What the catalogue holds."""
        return asdict(individuals.overview(site.db))

    @router.post("/api/v1/runs", status_code=202)
    def order_run(order: RunOrder, _: Admin) -> dict[str, int]:
        """Put a run over folders of photos into the queue."""
        job = defer_run(
            site.queue,
            order.photos,
            order.detections,
            whole_photo=order.whole_photo,
            below=site.settings.photos,
        )
        return {"job": job}

    @router.get("/api/v1/runs/{job}")
    def show_run(job: int, _: Viewer) -> dict[str, Any]:
        """Where a queued run stands, and its report once it has ended."""
        return {"job": job, "status": site.queue.status(job), "outcome": job_outcome(site.db, job)}

    @router.get("/metrics")
    def metrics(request: Request, _: Viewer) -> Response:
        """Everything that Prometheus may watch."""
        body, content_type = exporter.scrape(request.headers.get("accept", ""))
        return Response(body, media_type=content_type)

    return router
