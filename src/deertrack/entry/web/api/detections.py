"""Boxes in photos: add, mend, reject; sex and flank."""

from dataclasses import asdict
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from deertrack.domain.records import Box, Sex
from deertrack.entry.web.access import Reviewer, Viewer
from deertrack.entry.web.once import Once
from deertrack.entry.web.parameters import Id
from deertrack.entry.web.site import Site
from deertrack.services import boxes
from deertrack.services.queue import defer_catch_up
from deertrack.storage.boxes import PhotoBox

Flank = Literal["left", "right", "unknown"]


class Place(BaseModel):
    """A box in fractions of the photo's width and height as it is seen, from the upper left corner."""

    x: float = Field(ge=0, le=1)
    y: float = Field(ge=0, le=1)
    width: float = Field(gt=0, le=1)
    height: float = Field(gt=0, le=1)

    def box(self) -> Box:
        """The box, clipped to the photo."""
        return Box(self.x, self.y, self.width, self.height)


class NewBox(BaseModel):
    """An animal that the detector missed."""

    box: Place
    sex: Sex = Sex.UNKNOWN
    flank: Flank = "unknown"


class Description(BaseModel):
    """What a person sees in a box; what is left out stays."""

    sex: Sex | None = None
    flank: Flank | None = None


def routes(site: Site) -> APIRouter:
    """Routes of detections."""
    router = APIRouter()

    def told(mended: boxes.Mended, actor: str) -> dict[str, Any]:
        """The box as it is now; ``job`` embeds and decides, where that is needed."""
        return {
            "detection": _told(boxes.show_box(site.db, mended.detection_id)),
            "edit": mended.edit,
            "job": defer_catch_up(site.queue, site.db, actor=actor) if mended.waits else None,
            "consequences": asdict(mended.consequences),
        }

    @router.get("/api/v1/photos/{image}/detections")
    def list_boxes(image: Id, _: Viewer) -> dict[str, Any]:
        """A photo, where and when it was taken, and its boxes from left to right, rejected ones last."""
        photo, found = boxes.show_photo(site.db, image)
        return {**asdict(photo), "detections": [_told(box) for box in found]}

    @router.post("/api/v1/photos/{image}/detections", status_code=201, dependencies=[Once])
    def add_box(image: Id, new: NewBox, who: Reviewer) -> dict[str, Any]:
        """Draw a box around an animal that the detector missed."""
        mended = boxes.add(site.db, image, new.box.box(), sex=new.sex, flank=new.flank, actor=who.name)
        return told(mended, who.name)

    @router.patch("/api/v1/detections/{detection}")
    def describe(detection: Id, description: Description, who: Reviewer) -> dict[str, Any]:
        """Say which sex an animal shows, or which flank."""
        mended = boxes.describe(
            site.db, detection, sex=description.sex, flank=description.flank, actor=who.name
        )
        return told(mended, who.name)

    @router.put("/api/v1/detections/{detection}/box")
    def move(detection: Id, place: Place, who: Reviewer) -> dict[str, Any]:
        """Mend where a box is. It becomes a new detection in the same sighting; the old one is rejected."""
        return told(boxes.move(site.db, detection, place.box(), actor=who.name), who.name)

    @router.post("/api/v1/detections/{detection}/reject")
    def reject(detection: Id, who: Reviewer) -> dict[str, Any]:
        """Say that a box is no animal."""
        return told(boxes.reject(site.db, detection, actor=who.name), who.name)

    @router.post("/api/v1/detections/{detection}/restore")
    def restore(detection: Id, who: Reviewer) -> dict[str, Any]:
        """Say that a rejected box is an animal after all."""
        return told(boxes.restore(site.db, detection, actor=who.name), who.name)

    return router


def _told(box: PhotoBox) -> dict[str, Any]:
    fields = asdict(box)
    return {
        **{name: value for name, value in fields.items() if name not in ("deer_id", "number", "name")},
        "individual": None if box.number is None else {"number": box.number, "name": box.name},
    }
