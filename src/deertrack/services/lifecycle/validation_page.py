"""A validation as a page to look at, with the photos of its failure cases."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any
from zoneinfo import ZoneInfo

from deertrack.domain.errors import PhotoError
from deertrack.reporting.report import Picture
from deertrack.reporting.validation import SHOWN_CASES, render_validation
from deertrack.services.lifecycle.validate import ValidationReport, as_json
from deertrack.services.progress import SILENT, Progress
from deertrack.storage import catalogue, validations
from deertrack.storage.db import Database
from deertrack.storage.validations import DetectionPhoto
from deertrack.vision.thumbnails import thumbnail

_SIDE = 260  # pixels
_ROLES = ("asked", "wrong", "right")  # of a confusion's photos


def validation_page(db: Database, report: ValidationReport, *, progress: Progress = SILENT) -> str:
    """The report as one HTML file."""
    return _render(db, as_json(report), progress)


def stored_page(db: Database, number: int) -> str:
    """A stored validation as one HTML file, without the paths of its photos: it is for anybody who may look.

    Raises:
        NotFoundError: there is none of that number.
    """
    with db.transaction() as connection:
        stored = validations.find_validation(connection, number)
    report = {**stored.report, "id": stored.id}
    if report["findings"]:
        failures = report["findings"]["failures"]
        for confusion in failures["new_confusions"] + failures["gone_confusions"]:
            for role in _ROLES:
                confusion[role]["photo"] = PurePath(confusion[role]["photo"]).name
    return _render(db, report, SILENT)


def _render(db: Database, report: Mapping[str, Any], progress: Progress) -> str:
    wanted: set[int] = set()
    if report["findings"]:
        failures = report["findings"]["failures"]
        wanted = {
            confusion[role]["detection_id"]
            for kind in ("new_confusions", "gone_confusions")
            for confusion in failures[kind][:SHOWN_CASES]
            for role in _ROLES
        }
    with db.transaction() as connection:
        photos = validations.photos_of_detections(connection, sorted(wanted))
        drawn = catalogue.holds_drawn_photos(connection)
    progress.start("Drawing the report", len(photos))
    pictures = {}
    for detection_id, photo in photos.items():
        pictures[detection_id] = _picture(photo)
        progress.advance()
    return render_validation(report, pictures, made_at=datetime.now(UTC), drawn=drawn)


def _picture(photo: DetectionPhoto) -> Picture:
    path = next((path for path in photo.paths if path.exists()), None)
    when = photo.taken_at.astimezone(ZoneInfo(photo.timezone)) if photo.taken_at else None
    caption = f"{when:%Y-%m-%d %H:%M} · {photo.station}" if when else photo.station
    if path is None:
        return Picture(b"", f"{caption} · the photo's file is gone")
    try:
        return Picture(thumbnail(path, photo.box, side=_SIDE), caption)
    except (PhotoError, OSError):
        return Picture(b"", f"{caption} · the photo cannot be read")
