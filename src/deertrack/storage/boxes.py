"""The boxes of a photo: which animals are where in it, as detectors and people say."""

from dataclasses import dataclass
from datetime import datetime

from deertrack.domain.records import AgeClass, Box, Sex
from deertrack.storage.db import Connection
from deertrack.storage.queries import load_queries

_SQL = load_queries("boxes")


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo: its size in pixels as it is seen, where and when it was taken, and all files that hold it.

    ``error``: why its pixels cannot be read, None if they can. ``before`` and ``after``: the photos of the station
    next to it in time.
    """

    id: int
    width: int
    height: int
    taken_at: datetime | None
    camera: str
    detector: str | None
    error: str | None
    station_id: int
    station: str
    timezone: str
    paths: tuple[str, ...]
    before: int | None
    after: int | None


@dataclass(frozen=True, slots=True)
class PhotoBox:
    """A box in a photo, and the sighting and individual that it belongs to, if any.

    ``rejected``: a person says that it is no animal. ``drawn_by``: the person who drew it, None for a detector's.
    """

    id: int
    image_id: int
    box: Box
    confidence: float
    label: str
    sex: Sex
    age_class: AgeClass
    flank: str
    rejected: bool
    drawn_by: str | None
    sighting_id: int | None
    encounter_id: int | None
    state: str | None
    deer_id: int | None
    number: int | None
    name: str | None


def find_photo(connection: Connection, image_id: int) -> Photo | None:
    """A photo by id."""
    row = connection.execute(_SQL["photo"], {"id": image_id}).fetchone()
    return None if row is None else Photo(**{**row, "paths": tuple(row["paths"] or ())})


def boxes_of(connection: Connection, image_id: int) -> list[PhotoBox]:
    """A photo's boxes from left to right, the rejected ones last."""
    return _boxes(connection, image_id=image_id)


def find_box(connection: Connection, detection_id: int) -> PhotoBox | None:
    """A box by its detection's id."""
    return next(iter(_boxes(connection, detection_id=detection_id)), None)


def add_box(connection: Connection, like: PhotoBox, box: Box, *, drawn_by: str) -> int | None:
    """A new detection where a person says an animal is; all but place, confidence and id is as in ``like``.

    Returns its id; None if there is a detection with just this box already.
    """
    row = connection.execute(
        _SQL["add"],
        {
            "image_id": like.image_id,
            "x": box.x,
            "y": box.y,
            "width": box.width,
            "height": box.height,
            "label": like.label,
            "sex": like.sex,
            "age_class": like.age_class,
            "flank": like.flank,
            "drawn_by": drawn_by,
            "sighting_id": like.sighting_id,
        },
    ).fetchone()
    return None if row is None else int(row["id"])


def reject_box(connection: Connection, detection_id: int) -> None:
    """Say that a box is no animal; it leaves its sighting."""
    connection.execute(_SQL["reject"], {"id": detection_id})


def restore_box(connection: Connection, detection_id: int) -> None:
    """Say that a rejected box is an animal after all; it belongs to no sighting yet."""
    connection.execute(_SQL["restore"], {"id": detection_id})


def describe_box(connection: Connection, detection_id: int, *, sex: str, flank: str) -> None:
    """Set what a person sees: sex (male, female, unknown) and flank (left, right, unknown)."""
    connection.execute(_SQL["describe"], {"id": detection_id, "sex": sex, "flank": flank})


def sexes_of(connection: Connection, sighting_id: int) -> list[Sex]:
    """What each box of a sighting says."""
    return [Sex(row["sex"]) for row in connection.execute(_SQL["sexes"], {"sighting_id": sighting_id})]


def _boxes(
    connection: Connection, *, image_id: int | None = None, detection_id: int | None = None
) -> list[PhotoBox]:
    rows = connection.execute(_SQL["boxes"], {"image_id": image_id, "id": detection_id})
    return [
        PhotoBox(
            box=Box(row.pop("x"), row.pop("y"), row.pop("width"), row.pop("height")),
            sex=Sex(row.pop("sex")),
            age_class=AgeClass(row.pop("age_class")),
            **row,
        )
        for row in rows
    ]
