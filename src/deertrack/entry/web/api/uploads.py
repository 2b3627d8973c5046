"""Cards that a browser sends, in pieces that can be sent again."""

from dataclasses import asdict
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from deertrack.entry.web.access import Reviewer
from deertrack.entry.web.once import Once
from deertrack.entry.web.site import Site
from deertrack.services import archives, uploads
from deertrack.storage.uploads import Upload

_BUFFER = 2**20  # bytes written at a time: a thread is asked for each


class OfferedFile(BaseModel):
    """A file to send."""

    path: str = Field(max_length=4096, description="As on the card, with its folders: they name stations.")
    size: int = Field(ge=0, le=2**53, description="Bytes.")


class Offer(BaseModel):
    """Files to send."""

    name: str = Field(
        default="",
        max_length=100,
        description="What to call the card; the station where no folder names one.",
    )
    files: list[OfferedFile]


class Ending(BaseModel):
    """How to read what was sent."""

    detections: str | None = Field(
        default=None,
        max_length=4096,
        description="Path of the MegaDetector or SpeciesNet results among the files, or within an archive.",
    )
    whole_photo: bool = Field(default=False, description="Every photo is cropped to one animal already.")
    timezone: str = Field(default="UTC", max_length=64, description="IANA zone of stations that are new.")
    min_confidence: float | None = Field(default=None, ge=0, le=1, description="Least detection confidence.")
    incomplete: bool = Field(default=False, description="Leave out files that have not arrived whole.")
    root: str | None = Field(
        default=None,
        max_length=4096,
        description="The folder whose folders are the stations. Default: the one in which the photos' folders lie.",
    )


def routes(site: Site) -> APIRouter:
    """Routes of uploads."""
    router = APIRouter()
    db, home = site.db, site.settings.home

    @router.get("/api/v1/uploads")
    def list_uploads(_: Reviewer) -> dict[str, Any]:
        """Uploads of which something is still to come, newest first."""
        items = [
            {**_upload(found.upload), "files": found.files, "size": found.size}
            for found in uploads.unfinished(db)
        ]
        return {"items": items, "total": len(items)}

    @router.post("/api/v1/uploads", status_code=201, dependencies=[Once])
    def begin(offer: Offer, who: Reviewer, response: Response) -> dict[str, Any]:
        """Announce files. The same files again go on with what has arrived (200)."""
        files = [(file.path, file.size) for file in offer.files]
        begun = uploads.begin(db, home, offer.name, files, actor=who.name)
        if not begun.new:
            response.status_code = 200
        return {
            **_standing(begun.standing),
            "chunk": uploads.PIECE,
            "left_out": [asdict(file) for file in begun.left_out],
        }

    @router.get("/api/v1/uploads/{upload}")
    def show(upload: UUID, _: Reviewer) -> dict[str, Any]:
        """What has arrived of each file."""
        return _standing(uploads.show(db, home, upload))

    @router.put("/api/v1/uploads/{upload}/files/{n}", openapi_extra=_BYTES)
    async def put_piece(
        upload: UUID,
        n: Annotated[int, Path(ge=0, lt=archives.MOST_FILES)],
        request: Request,
        _: Reviewer,
        offset: Annotated[int, Query(ge=0, le=2**53, description="Where in the file the bytes begin.")] = 0,
    ) -> dict[str, int]:
        """Bytes of a file (application/octet-stream) from an offset on. What arrived before may come again."""
        piece = await run_in_threadpool(uploads.open_piece, db, home, upload, n, offset)
        received = 0
        try:
            buffer = bytearray()
            async for data in request.stream():
                buffer += data
                if len(buffer) >= _BUFFER:
                    await run_in_threadpool(piece.write, bytes(buffer))
                    buffer.clear()
            await run_in_threadpool(piece.write, bytes(buffer))
        finally:
            received = piece.close()
        return {"received": received}

    @router.post("/api/v1/uploads/{upload}/done", status_code=202)
    def finish(upload: UUID, ending: Ending, who: Reviewer) -> dict[str, int]:
        """Read what was sent: orders the job. The same again gives the same job."""
        job = uploads.finish(db, home, site.queue, upload, **ending.model_dump(), actor=who.name)
        return {"job": job}

    @router.delete("/api/v1/uploads/{upload}", status_code=204)
    def forget(upload: UUID, _: Reviewer) -> None:
        """Forget an unfinished upload with all that has arrived."""
        uploads.forget(db, home, upload)

    return router


_BYTES = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


def _upload(upload: Upload) -> dict[str, Any]:
    return {
        "id": str(upload.id),
        "name": upload.name,
        "by": upload.actor,
        "created_at": upload.created_at,
        "job": upload.job_id,
    }


def _standing(standing: uploads.Standing) -> dict[str, Any]:
    return {
        **_upload(standing.upload),
        "files": [asdict(file) for file in standing.files],
        "stations": standing.stations,
    }
