"""Which photo a picture is made of: its content by hash, and the files that may hold it."""

from dataclasses import dataclass
from pathlib import Path

from deertrack.domain.errors import NotFoundError
from deertrack.domain.records import WHOLE_PHOTO, Box
from deertrack.storage.db import Connection
from deertrack.storage.queries import load_queries

_SQL = load_queries("pictures")


@dataclass(frozen=True, slots=True)
class PictureSource:
    """A box in a photo. ``paths`` are all files that held the photo when they were read, by name."""

    sha256: bytes
    box: Box
    paths: tuple[Path, ...]


def source_of_detection(connection: Connection, detection_id: int) -> PictureSource:
    """Where a detection can be seen.

    Raises:
        NotFoundError: there is no such detection.
    """
    row = connection.execute(_SQL["source_of_detection"], {"id": detection_id}).fetchone()
    if row is None:
        raise NotFoundError(f"there is no detection {detection_id}")
    box = Box(row["x"], row["y"], row["width"], row["height"])
    return PictureSource(row["sha256"], box, tuple(map(Path, row["paths"])))


def source_of_image(connection: Connection, image_id: int) -> PictureSource:
    """Where a whole photo can be seen.

    Raises:
        NotFoundError: there is no such photo.
    """
    row = connection.execute(_SQL["source_of_image"], {"id": image_id}).fetchone()
    if row is None:
        raise NotFoundError(f"there is no photo {image_id}")
    return PictureSource(row["sha256"], WHOLE_PHOTO, tuple(map(Path, row["paths"])))
