"""Queued work and how far it is."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from deertrack.entry.web.access import Reviewer, Viewer
from deertrack.entry.web.once import Once
from deertrack.entry.web.parameters import Id, Limit, Offset
from deertrack.entry.web.site import Site
from deertrack.services import jobs
from deertrack.services.jobs import Job

_EVERY = 1.0  # seconds between two looks at a job
_ALIVE = 15.0  # seconds after which a silent stream says that it lives


def routes(site: Site) -> APIRouter:
    """Routes of jobs."""
    router = APIRouter()

    @router.get("/api/v1/jobs")
    def list_jobs(_: Viewer, limit: Limit = 20, offset: Offset = 0) -> dict[str, Any]:
        """Jobs, newest first."""
        total, found = jobs.list_jobs(site.db, limit=limit, offset=offset)
        return {"items": [asdict(job) for job in found], "total": total}

    @router.get("/api/v1/jobs/{job}")
    def show_job(job: Id, _: Viewer) -> dict[str, Any]:
        """A job: how far it is, and its report or its error once it has ended."""
        return asdict(jobs.show_job(site.db, job))

    @router.get("/api/v1/jobs/{job}/problems")
    def list_problems(job: Id, _: Viewer, limit: Limit = 100, offset: Offset = 0) -> dict[str, Any]:
        """What a job could not use, and why."""
        total, items = jobs.problems(site.db, job, limit=limit, offset=offset)
        return {"items": items, "total": total}

    @router.get("/api/v1/jobs/{job}/events", response_class=StreamingResponse)
    async def follow(job: Id, _: Viewer) -> StreamingResponse:
        """Server-sent events: the job as it is now, again whenever that changes, until it has ended."""
        first = await run_in_threadpool(jobs.show_job, site.db, job)
        return StreamingResponse(
            _events(site, first),
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no"},  # of nginx: it would hold the events back
        )

    @router.post("/api/v1/jobs/{job}/stop")
    def stop(job: Id, who: Reviewer) -> dict[str, Any]:
        """Take a waiting job out of the queue, or stop a running one; what it has done stays."""
        return asdict(jobs.stop(site.db, site.queue, job, actor=who.name))

    @router.post("/api/v1/jobs/{job}/retry", status_code=202, dependencies=[Once])
    def again(job: Id, who: Reviewer) -> dict[str, int]:
        """Order a job that ended once more."""
        return {"job": jobs.again(site.db, site.queue, job, actor=who.name)}

    return router


async def _events(site: Site, job: Job) -> AsyncIterator[bytes]:
    """Between two looks nothing is held: no thread, no connection to the database."""
    told = _data(job)
    yield told
    silent = time.monotonic()
    while not job.ended:
        await asyncio.sleep(_EVERY)
        job = await run_in_threadpool(jobs.show_job, site.db, job.id)
        if (now := _data(job)) != told:
            told, silent = now, time.monotonic()
            yield now
        elif time.monotonic() - silent >= _ALIVE:
            silent = time.monotonic()
            yield b": still here\n\n"


def _data(job: Job) -> bytes:
    return b"event: job\ndata: " + bytes(JSONResponse(jsonable_encoder(job)).body) + b"\n\n"
