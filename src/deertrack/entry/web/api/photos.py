"""Photos, crops and matched features, by id and never by path."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response

from deertrack.entry.web.access import Viewer
from deertrack.entry.web.parameters import Id
from deertrack.entry.web.site import Site
from deertrack.services.pictures import Order, Pictures

_JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}, "description": "The picture."}}
# A detection's box never changes, but another catalogue at this address would have the same numbers.
_KEEP = "private, max-age=3600, immutable"

CropSide = Annotated[int, Query(ge=32, le=2048, description="Longer side in pixels, at most.")]
PhotoSide = Annotated[
    int | None, Query(ge=32, le=8192, description="Longer side in pixels, at most. Default: full resolution.")
]
IfNoneMatch = Annotated[str | None, Header(include_in_schema=False)]


def routes(site: Site) -> APIRouter:
    """Routes that serve pictures."""
    router = APIRouter()
    pictures = Pictures(site.db, site.settings.home / "cache" / "pictures")

    @router.head("/api/v1/detections/{detection}/crop", include_in_schema=False)
    @router.get("/api/v1/detections/{detection}/crop", response_class=Response, responses=_JPEG)
    def crop(detection: Id, _: Viewer, side: CropSide = 320, if_none_match: IfNoneMatch = None) -> Response:
        """The animal of a detection with a little around it."""
        return _answer(pictures, pictures.crop(detection, side=side), if_none_match)

    @router.get("/api/v1/detections/{detection}/matches/{other}")
    def matches(detection: Id, other: Id, _: Viewer) -> dict[str, Any]:
        """Spots that look alike on two animals, as fractions of their crops: for the eye, and no evidence."""
        found = pictures.matches(detection, other)
        sizes = {
            name: {"width": width, "height": height}
            for name, (width, height) in (("a", found.a), ("b", found.b))
        }
        return {**sizes, "pairs": [asdict(pair) for pair in found.pairs], "inliers": len(found.pairs)}

    @router.head("/api/v1/photos/{image}", include_in_schema=False)
    @router.get("/api/v1/photos/{image}", response_class=Response, responses=_JPEG)
    def photo(image: Id, _: Viewer, side: PhotoSide = None, if_none_match: IfNoneMatch = None) -> Response:
        """A whole photo, upright."""
        return _answer(pictures, pictures.photo(image, side=side), if_none_match)

    return router


def _answer(pictures: Pictures, order: Order, seen: str | None) -> Response:
    headers = {"ETag": f'"{order.tag}"', "Cache-Control": _KEEP}
    if seen is not None and (seen.strip() == "*" or order.tag in seen):
        return Response(status_code=304, headers=headers)
    return Response(pictures.make(order), media_type="image/jpeg", headers=headers)
